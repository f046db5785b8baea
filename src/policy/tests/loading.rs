//! Loading: sections, assignments, groups, imports, functions, rules.

use super::*;

fn get(program: &Program, name: &str) -> String {
    program.context.get(name).unwrap_or_default().to_string()
}

/// VAR-03, in the blank and in the tight form, gives the domain of the answer.
#[test]
fn var_03_the_domain_comes_from_a_command_with_quotes_made_of_variables() {
    let rule = "ExecResult(/bin/sh -c ${dblquote}nslookup `hostname`| awk ${quote}/Name:/ {print $2}${quote} | cut -d . -f 2-${dblquote})";
    let command = "/bin/sh -c \"nslookup `hostname`| awk '/Name:/ {print $2}' | cut -d . -f 2-\"";
    for form in [format!("( {rule} )"), format!("({rule})")] {
        let mut world = Table::default();
        world.outputs.insert(command.into(), ("Host.Example.NET\n".into(), 0));
        let program = try_load(&format!("control:\n  domain = {form}\n"), &mut world).unwrap();
        assert_eq!(world.ran, [(command.to_string(), false)]);
        assert_eq!(get(&program, "domain"), "host.example.net");
        assert_eq!(get(&program, "fqhost"), "orc.host.example.net");
        for class in ["host_example_net", "example_net", "net", "orc_host_example_net"] {
            assert!(program.context.has(class), "{class}");
        }
        assert!(!program.context.has("undefined_domain"));
    }
}

/// VAR-05: groups before control, a predicate inside control.
#[test]
fn var_05_an_address_range_selects_the_domain() {
    let mut world = Table {
        addresses: vec!["10.1.2.3".parse().unwrap()],
        ..Table::default()
    };
    let policy = "classes:\n  xyz_domain = ( IPRange(10.1.2.0/24))\n  abc_domain = (IPRange(10.9))\ncontrol:\n \
                  xyz_domain::\n  domain = ( \"xyz.example.com\" )\n abc_domain::\n  domain = ( \"abc.example.com\")\n";
    let program = try_load(policy, &mut world).unwrap();
    assert_eq!(get(&program, "domain"), "xyz.example.com");
}

#[test]
fn a_file_that_is_not_there_is_an_empty_program_but_a_missing_import_is_an_error() {
    let mut world = Table::default();
    let program = load("no.conf".into(), Phase::Main, &Options::default(), host(), &mut world).unwrap();
    assert!(program.files.is_empty() && program.rules.is_empty());
    assert_eq!(
        errors("import:\n  cf.gone\ncontrol:\n  a = ( b )\n"),
        ["2:3: Can't open file cf.gone: entity not found"]
    );
}

#[test]
fn imports_are_read_after_the_whole_file_each_once_nested_ones_last() {
    let mut world = Table::default();
    world.files.insert("a".into(), b"import:\n c\n a\nfiles:\n /a".to_vec());
    world.files.insert("b".into(), b"import:\n a\nfiles:\n /b".to_vec());
    world.files.insert("c".into(), b"files:\n /c mode=$(m)".to_vec());
    let policy = "import:\n a b\n nosuch::\n  gone\nfiles:\n /main\ncontrol:\n m = ( 600 )\n";
    let program = try_load(policy, &mut world).unwrap();
    let order: Vec<String> = program.rules.iter().map(|rule| rule.promiser.to_string()).collect();
    assert_eq!(order, ["/main", "/a", "/b", "/c"]);
    assert_eq!(program.files.len(), 4);
}

#[test]
fn the_class_of_an_import_may_be_set_later_in_the_importing_file() {
    let mut world = Table::default();
    world.files.insert("a".into(), b"files:\n /a".to_vec());
    let program = try_load("import:\n late::\n  a\nclasses:\n late = ( any )\n", &mut world).unwrap();
    assert_eq!(program.rules.len(), 1);
}

/// One policy with an error of each kind gives all of them, each at its place (cfengine2.md 8, quirk Q5).
#[test]
fn every_error_of_a_file_is_told_with_its_line_and_column() {
    let policy = "control:\n  a = ( b )\nfiles:\n  /f mode=u*x\n  /g action=polish\ncopy:\n  /a dest=rel\nwidgets:\n  /x y=z\n\
                  tidy:\n  /t pattern=*\n  /t pattern=/x age=1\nshellcommands:\n  \"bin/x\"\n  \"/x\" define=a-b ifelapsed=often timout=1\n\
                  links:\n  /l\n";
    assert_eq!(
        errors(policy),
        [
            "4:6: Invalid mode string (u*x)",
            "5:6: Unknown action type polish (warnall, warndirs, warnplain, fixall, fixdirs, fixplain, touch, create, compress, alert, linkchildren)",
            "7:6: Image rel needs an absolute pathname",
            "8:1: syntax error: there is no section 'widgets:'",
            "11:3: Must specify an age for tidy actions",
            "12:6: search pattern begins with /: /x",
            "14:3: scripts or commands must have absolute path names",
            "15:8: Illegal class list in define=a-b",
            "15:19: Integer expected as argument to ifelapsed",
            "15:35: Illegal shellcommands attribute 'timout='",
            "17:3: syntax error: '/l' is not followed by '->' or '+>'",
        ]
    );
}

#[test]
fn a_wrong_name_comes_with_the_name_that_was_meant() {
    let hint = |policy: &str| {
        try_load(policy, &mut Table::default()).unwrap_err()[0]
            .hint
            .clone()
            .unwrap_or_default()
    };
    assert_eq!(hint("flies:\n /x\n"), "did you mean 'files'?");
    assert_eq!(hint("shellcommands:\n \"/x\" timout=1\n"), "did you mean 'timeout'?");
    assert_eq!(
        hint("editfiles:\n { /x\n ApendIfNoSuchLine \"x\"\n }\n"),
        "did you mean 'AppendIfNoSuchLine'?"
    );
    assert_eq!(hint("classes:\n a = ( FileExist(/x) )\n"), "did you mean 'FileExists'?");
    assert_eq!(
        hint("links:\n /x -> /y deadlinks=kill\n"),
        "the program knows 'nofile=' for this"
    );
}

#[test]
fn an_error_is_shown_with_its_line_a_caret_and_the_hint() {
    let error = &try_load("files:\n\t/f modes=600\n", &mut Table::default()).unwrap_err()[0];
    assert_eq!(
        format_error(error, true),
        "cfagent.conf:2:5: Illegal files attribute 'modes='\n 2 |  /f modes=600\n   |     ^\n  hint: did you mean 'mode'?"
    );
    assert_eq!(
        format_error(error, false),
        "cfagent.conf:2:5: Illegal files attribute 'modes='\n  hint: did you mean 'mode'?"
    );
}

#[test]
fn forgotten_brackets_and_braces_are_told_where_they_were_opened() {
    assert_eq!(
        errors("control:\n  actionsequence = ( shellcommands\nshellcommands:\n  \"/bin/echo x\"\n"),
        ["2:20: syntax error: the bracket of 'actionsequence = (' is never closed"]
    );
    assert_eq!(
        errors("control:\n  a = ( b\n  c = ( d )\n any::\n  e = ( f\n"),
        [
            "2:7: syntax error: the bracket of 'a = (' is never closed",
            "5:7: syntax error: the bracket of 'e = (' is never closed"
        ]
    );
    assert_eq!(
        errors("editfiles:\n  { /f\n    AppendIfNoSuchLine \"x\"\n  { /g\n  }\nfiles:\n  /x\n"),
        ["2:3: syntax error: the brace is never closed"]
    );
    assert_eq!(
        errors("files:\n  \"/x\n"),
        ["2:3: syntax error: the quoted text has no end"]
    );
}

#[test]
fn a_policy_of_comments_only_is_an_error() {
    assert_eq!(errors("# nothing\n\n"), ["1:1: syntax error: the policy is empty"]);
    assert_eq!(
        errors("/f mode=600\ncontrol:\n a = ( b )\n"),
        ["1:1: syntax error: text before the first section"]
    );
    assert!(errors("files:\n").is_empty());
}

#[test]
fn a_line_directive_sets_file_and_line() {
    let errors = try_load("files:\n#line 40 \"master.in\"\n  /f mode=u*x\n", &mut Table::default()).unwrap_err();
    assert_eq!(errors[0].pos.to_string(), "master.in:40:6");
    assert_eq!(errors[0].excerpt.as_ref().unwrap(), "  /f mode=u*x");
}

#[test]
fn sections_of_the_other_kind_of_file_are_named_as_such() {
    assert_eq!(errors("admit:\n  /x *.org\n"), ["1:1: This belongs in cfservd.conf"]);
    let mut world = Table::default();
    world.files.insert(
        "s".into(),
        b"control:\n a = ( b )\nfiles:\n /x mode=bad\nadmit:\n /x *.org\n".to_vec(),
    );
    let options = Options::default();
    let errors = load("s".into(), Phase::Server, &options, host(), &mut world).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "s:3:1: This belongs in cfagent.conf");
    let options = Options { any_section: true };
    world
        .files
        .insert("s".into(), b"files:\n /x\nadmit:\n /x *.org\n".to_vec());
    assert_eq!(
        load("s".into(), Phase::Main, &options, host(), &mut world)
            .unwrap()
            .rules
            .len(),
        2
    );
}

/// cfengine2.md 19: what begins with `/` once expanded is a path, the words after it are its members.
#[test]
fn access_rules_hold_a_path_its_members_and_options() {
    let mut world = Table::default();
    let policy = "control:\n  d = ( /srv )\n  domain_list = ( \"*.abc.com,*.cde.com\" )\nadmit:\n  $(d)/a $(domain_list) 10.1. \
                  root=h1,h2\n  /b \"*.org\" encrypt=true\n here::\n  /c fe80::1/10\ndeny:\n  /a/secret *\n";
    world.files.insert("cfservd.conf".into(), policy.into());
    let program = load(
        "cfservd.conf".into(),
        Phase::Server,
        &Options::default(),
        host(),
        &mut world,
    )
    .unwrap();
    let rules = &program.rules;
    assert_eq!(rules.len(), 4);
    let members = |rule: &Rule| match &rule.body {
        Body::Members(words) => words.iter().map(|(word, _)| word.to_string()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (rules[0].promiser.to_string(), members(&rules[0])),
        ("$(d)/a".into(), vec!["$(domain_list)".into(), "10.1.".into()])
    );
    assert_eq!(rules[0].attrs.get("root").unwrap().value, "h1,h2");
    assert_eq!(
        (members(&rules[1]), rules[1].attrs.get("encrypt").is_some()),
        (vec!["*.org".into()], true)
    );
    assert_eq!(
        (rules[2].class.text().to_string(), members(&rules[2])),
        ("here".into(), vec!["fe80::1/10".into()])
    );
    assert_eq!(rules[3].section, Section::Deny);
    world.files.insert("cfservd.conf".into(), b"admit:\n  *.org\n".to_vec());
    let errors = load(
        "cfservd.conf".into(),
        Phase::Server,
        &Options::default(),
        host(),
        &mut world,
    )
    .unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "cfservd.conf:2:3: Missing absolute path to a directory before *.org"
    );
}

/// Quirk Q2 and section 13: any case, and a prefix stands for the first name that begins so.
#[test]
fn attributes_are_abbreviated_by_the_order_of_their_names() {
    let program = loaded("FILES:\n /x Mode=600 o=root G=wheel act=fixall R=inf inc=a e=b i=c inf=on syslog=off\n");
    let names: Vec<&str> = program.rules[0].attrs.0.iter().map(|attr| attr.name).collect();
    let wanted = [
        "mode", "owner", "group", "action", "recurse", "include", "exclude", "include", "inform", "syslog",
    ];
    assert_eq!(names, wanted);
    let program = loaded("tidy:\n /t p=* AGE=1 rmd=true\ncopy:\n /a d=/b ser=h\n");
    assert_eq!(program.rules[0].attrs.0[2].name, "rmdirs");
    assert_eq!(program.rules[1].attrs.get("dest").unwrap().value, "/b");
    assert_eq!(program.rules[1].attrs.0[1].name, "server");
}

#[test]
fn each_irregular_section_has_its_own_shape() {
    let policy = "links:\n /a ->! ../b type=relative\n /c +> /d\nprocesses:\n SetOptionString \"auxw\"\n \"cron\" restart '/usr/sbin/cron' signal=hup\n \
                  \"x\" restart /usr/lib/x useshell=false\nalerts:\n went::\n  \"tell $(x)\" ifelapsed=5\n  PrintFile(\"/etc/motd\",\"3\")\n\
                  methods:\n  Simple(null, \"a b\") action=cf.simple server=localhost\nmiscmounts:\n h:/src /dst mode=ro\n h:/s2 /d2 ro\n\
                  acl:\n { zap\n  method:append\n  user:mark:rwx\n }\nfilters:\n { big FromSize: \"5k\" Result: \"Size\" }\n\
                  strategies:\n { pick\n  a: 1\n  b: \"3\"\n }\nresolve:\n 10.0.0.1 \"search x.org\"\nignore:\n *.bak /x\n";
    let rules = loaded(policy).rules;
    let body = |name: &str| {
        rules
            .iter()
            .find(|rule| rule.promiser == name)
            .map(|rule| rule.body.clone())
            .unwrap()
    };
    assert_eq!(
        body("/a"),
        Body::Link {
            to: "../b".into(),
            children: false,
            force: true
        }
    );
    assert_eq!(
        body("/c"),
        Body::Link {
            to: "/d".into(),
            children: true,
            force: false
        }
    );
    assert_eq!(body("auxw"), Body::SetOptionString);
    assert_eq!(body("cron"), Body::Restart("/usr/sbin/cron".into()));
    assert_eq!(body("x"), Body::Restart("/usr/lib/x".into()));
    assert_eq!(body("PrintFile"), Body::Call(vec!["/etc/motd".into(), "3".into()]));
    assert_eq!(body("Simple"), Body::Call(vec!["null".into(), "a b".into()]));
    let members = |name: &str| match body(name) {
        Body::Members(words) => words.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((members("h:/src"), members("h:/s2")), (1, 2));
    assert!(matches!(body("zap"), Body::Words(words) if words.len() == 2));
    assert!(
        matches!(body("big"), Body::Pairs(pairs) if pairs[0].0 == "FromSize" && pairs[0].1 == "5k" && pairs.len() == 2)
    );
    assert!(matches!(body("pick"), Body::Pairs(pairs) if pairs.len() == 2));
    assert_eq!(rules.iter().filter(|rule| rule.section == Section::Resolve).count(), 2);
    assert_eq!(rules.iter().filter(|rule| rule.section == Section::Ignore).count(), 2);
}

#[test]
fn edit_commands_are_found_in_any_case_and_their_structure_is_checked() {
    let program = loaded(
        "editfiles:\n  {/f\n   autocreate\n   ReplaceAll 'a' With \"b \\\"c\\\" \\d\"\n   BeginGroupIfNoSuchLine `x\\`\n   Append \"x\" EndGroup}\n",
    );
    let Body::Edit(commands) = &program.rules[0].body else {
        panic!()
    };
    let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
    assert_eq!(
        names,
        [
            "AutoCreate",
            "ReplaceAll",
            "With",
            "BeginGroupIfNoSuchLine",
            "Append",
            "EndGroup"
        ]
    );
    assert_eq!(commands[2].arg, "b \"c\" \\d");
    assert_eq!(commands[3].arg, "x\\");
    let wrong = |body: &str| errors(&format!("editfiles:\n{{ /f\n{body}\n}}\n"));
    assert_eq!(
        wrong("Append \"x\""),
        ["3:1: Append used outside of Group - non-convergent"]
    );
    assert_eq!(wrong("EndGroup"), ["3:1: EndGroup without Begin"]);
    assert_eq!(
        wrong("BeginGroupIfMatch \"x\""),
        ["3:1: Editfiles Begin/End mismatch: EndGroup is missing"]
    );
    assert_eq!(
        wrong("ReplaceAll \"x\"\nAutoCreate"),
        ["3:1: ReplaceAll/With mismatch: With does not follow"]
    );
    assert_eq!(
        wrong("With \"x\""),
        ["3:1: ReplaceAll/With mismatch: With without ReplaceAll or ReplaceFirst"]
    );
    assert_eq!(
        wrong("ForEachLineIn \"/a\"\nForEachLineIn \"/b\"\nSetLine \"x\"\nEndLoop\nEndLoop"),
        ["4:1: Nested ForEach loops", "5:1: SetLine inside ForEachLineIn"]
    );
    assert_eq!(wrong("DefineInGroup \"x\""), ["3:1: DefineInGroup outside a group"]);
    assert_eq!(
        wrong("PolishLines \"x\"\nAutoCreate"),
        ["3:1: Unknown edit action \"PolishLines\""]
    );
    assert_eq!(wrong("SetLine\nAutoCreate"), ["3:1: SetLine needs a quoted argument"]);
    assert_eq!(wrong("/g"), ["3:1: Multiple filenames in editfiles: /g"]);
}

/// 2.2.10 does not look into a group whose class cannot become true on this host: a warning, and the group is left out.
#[test]
fn edit_errors_under_a_class_of_other_hosts_are_warnings() {
    let program = loaded("editfiles:\n hpux::\n { /f\n  PolishLines \"x\"\n }\n");
    assert!(program.rules.is_empty());
    assert_eq!(program.warnings[0].message, "Unknown edit action \"PolishLines\"");
}

#[test]
fn class_predicates_hold_letters_digits_and_operators_only() {
    assert_eq!(
        errors("files:\n a,b::\n  /x\n foo-bar::\n  /y\n (a.b::\n  /z\n"),
        [
            "2:2: ',' is no operator of a class predicate, in [class=a,b]",
            "4:5: Illegal character (-) in a class predicate",
            "6:2: Bracket mismatch, in [class=(a.b]"
        ]
    );
    let program = loaded(
        "files:\n linux::\n  /a pattern=any::\ncontrol:\n  a = ( b )\n"
            .replace("pattern", "include")
            .as_str(),
    );
    assert_eq!(program.rules[0].attrs.0[0].value, "any::");
    let program = loaded("packages:\n  perl(Foo::Bar) action=install\n");
    assert_eq!(program.rules[0].promiser, "perl(Foo::Bar)");
}

#[test]
fn comments_begin_where_a_token_may_and_nowhere_else() {
    let program = loaded(
        "#!/usr/sbin/cfagent -f\ncontrol: # here\n a = ( b#c ) # there\ntidy:\n /a/b#c pattern=#* age=0 # end\n",
    );
    assert_eq!(get(&program, "a"), "b#c");
    assert_eq!(program.rules[0].promiser, "/a/b#c");
    assert_eq!(program.rules[0].attrs.get("pattern").unwrap().value, "#*");
}

#[test]
fn a_section_word_ends_the_one_before_and_sets_the_class_to_any() {
    let program = loaded("files:\n nosuch::\n  /a\ncopy:\n  /b dest=/c\n");
    assert_eq!(program.rules[0].class.text(), "nosuch");
    assert!(program.rules[1].class.is_any());
}

#[test]
fn groups_are_evaluated_in_order_with_what_is_known_then() {
    let mut world = Table::default();
    world.outputs.insert("/bin/yes".into(), ("shown\n".into(), 0));
    world.outputs.insert("/bin/no".into(), (String::new(), 1));
    world.netgroups.push("servers".into());
    let policy = "classes:\n  late = ( early )\n  early = ( any )\n  o = ( nosuch ORC )\n  n = ( any -linux )\n  m = ( -nosuch any )\n \
                  s = ( /bin/yes )\n  t = ( \"/bin/no\" )\n  g = ( +@servers )\n  h = ( any -@servers )\n  e = ( nosuch | early )\n  \
                  p = ( (early.!nosuch)|x )\n nosuch::\n  never = ( /bin/never )\n";
    let program = try_load(policy, &mut world).unwrap();
    let is = |class: &str| program.context.has(class);
    for class in ["early", "o", "m", "s", "g", "e", "p"] {
        assert!(is(class), "{class}");
    }
    for class in ["late", "n", "t", "h", "never"] {
        assert!(!is(class), "{class}");
    }
    assert_eq!(world.ran.len(), 2);
    assert_eq!(
        errors("classes:\n  linux = ( any )\n  x = ( \"date\" )\n"),
        ["2:3: Reserved class (linux)", "3:9: Quoted scripts must begin with /"]
    );
    assert_eq!(
        errors("classes:\n  x = ( ExecResult(/bin/date) )\n  y = ( Nosuch(1) )\n"),
        [
            "2:9: Use of Exec[Shell]Result(s) outside of variable assignment",
            "3:9: Internal function (Nosuch) not recognized"
        ]
    );
}

#[test]
fn class_functions_ask_the_machine() {
    let facts = |kind, time| FileFacts {
        kind,
        atime: time,
        mtime: time,
        ctime: time,
    };
    let mut world = Table::default();
    world.paths.insert("/old".into(), facts(FileKind::Plain, 1));
    world.paths.insert("/new".into(), facts(FileKind::Dir, 2));
    world.paths.insert("/ln".into(), facts(FileKind::Link, 2));
    world.users.push("ann".into());
    world.outputs.insert("echo (a) | grep \")\"".into(), (String::new(), 0));
    world.outputs.insert(
        "module:probe".into(),
        ("+from_module\n=mv=hello there\nstray\n".into(), 0),
    );
    let true_ones = [
        "IsNewerThan(/old,/new)",
        "!IsNewerThan(/new,/old)",
        "AccessedBefore(/old,/new)",
        "ChangedBefore(/old,/new)",
        "FileExists(/ln)",
        "IsDir(/new)",
        "IsLink(/ln)",
        "IsPlain(/old)",
        "!IsDir(/gone)",
        "UserExists(ann)",
        "!GroupExists(bob)",
        "ClassMatch(lin.*|zz)",
        "!ClassMatch(inu)",
        "RegCmp(\"b+\",\"a:bb:c\")",
        "Strcmp(a,\"a\")",
        "IsGreaterThan(10,9)",
        "IsLessThan(10,9a)",
        "IsDefined(v)",
        "!IsDefined(w)",
        "HostRange(or,1-2) any",
        "regcmp(\"$(v)\",\"x\")",
        "ReturnsZeroShell(/bin/echo $(v) && (true))",
        "PrepModule(probe,\"a b\")",
        "!PrepModule(gone,\"\")",
    ];
    let mut policy = String::from("control:\n  v = ( x )\nclasses:\n");
    for (number, function) in true_ones.iter().enumerate() {
        policy.push_str(&format!("  c{number} = ( {function} )\n"));
    }
    let program = try_load(&policy, &mut world).unwrap();
    for (number, function) in true_ones.iter().enumerate() {
        assert!(program.context.has(format!("c{number}")), "{function}");
    }
    assert_eq!(world.ran, [("/bin/echo x && (true)".to_string(), true)]);
    assert!(program.context.has("from_module"));
    assert_eq!(get(&program, "mv"), "hello there");
    assert_eq!(program.warnings[0].message, "module:probe: stray");
}

#[test]
fn value_functions_give_texts_and_fill_arrays() {
    let mut world = Table {
        drawn: 1,
        ..Table::default()
    };
    world
        .contents
        .insert("/list".into(), b"# names\nann\nbob # b\n\ncid\n".to_vec());
    world
        .contents
        .insert("/table".into(), b"host,b,c\nhost2,d,e\n".to_vec());
    world.contents.insert("/pairs".into(), b"k1=v 1\nk2=v=2\n".to_vec());
    world.contents.insert("/hosts".into(), b"orc\nelf\n".to_vec());
    world.outputs.insert("/bin/ls -a".into(), ("a\nb\n\n".into(), 3));
    let policy = "control:\n  l = ( ReadList(/list,lines,\"#\",500) )\n  t = ( ReadTable(/table,textkey,\",\",\"#\",500) )\n  \
                  u = ( ReadTable(/table,autokey,\",\",\"#\",500) )\n  p = ( ReadArray(/pairs,textkey,\"=\",\"#\",500) )\n  \
                  a = ( ReadArray(/table,autokey,\",\",\"#\",500) )\n  f = ( ReadFile(/list,7) )\n  g = ( ReadFile(/gone,7) )\n  \
                  x = ( ExecResult(/bin/ls -a) )\n  r = ( RandomInt(3,5) )\n  arr = ( A(k1,\"v one\") A(k2,v2) )\n  \
                  lead = ( SelectPartitionLeader(/hosts,\"#\",random,10) )\n  near = ( SelectPartitionNeighbours(/hosts,\"#\",random,10) )\n";
    let program = try_load(policy, &mut world).unwrap();
    let wanted = [
        ("l", "ann:bob:cid"),
        ("t[host][b]", "c"),
        ("t[host2][d]", "e"),
        ("u[2][3]", "e"),
        ("p[k2]", "v=2"),
        ("a[4]", "host2"),
        ("f", "# names"),
        ("g", ""),
        ("x", "a b"),
        ("r", "4"),
        ("arr[k1]", "v one"),
        ("arr[k2]", "v2"),
        ("near", "elf"),
    ];
    for (name, value) in wanted {
        assert_eq!(get(&program, name), value, "{name}");
    }
    assert!(!program.context.is_set("arr"));
    assert!(["orc", "elf"].contains(&get(&program, "lead").as_str()));
    assert!(
        program.warnings[0]
            .message
            .starts_with("Could not open ReadFile(/gone)")
    );
    assert_eq!(
        errors("control:\n  r = ( RandomInt(5,5) )\n  x = ( ExecResult(ls) )\n  y = ( FileExists(/x) )\n"),
        [
            "2:9: RandomInt(a,b) must have different non-negative arguments, a < b",
            "3:9: scripts or commands must have absolute path names: ls",
            "4:9: Function FileExists out of place: control: has no use for it"
        ]
    );
}

/// Quirk Q23: brackets in arguments nest; quoted arguments may hold them unbalanced.
#[test]
fn brackets_inside_of_function_arguments_may_nest() {
    let program = loaded(
        "control:\n  k = ( a )\n  arr = ( A($(k),\"one ) two\") A(b,x(y)z) A(c,$(k)) )\n  d = ( \"$(arr[$(k)])\" )\n",
    );
    assert_eq!(get(&program, "d"), "one ) two");
    assert_eq!(get(&program, "arr[b]"), "x(y)z");
    assert_eq!(get(&program, "arr[c]"), "a");
}

#[test]
fn control_variables_accumulate_or_replace_as_the_language_says() {
    let policy = "control:\n  ActionSequence = ( files copy.x )\n nosuch::\n  actionsequence = ( tidy )\n any::\n  AllowUsers = ( root )\n  \
                  allowusers = ( mark $(who) )\n  who = ( ann )\n  SplayTime = ( 1 2 )\n  AddClasses = ( one two:three )\n one.three::\n  \
                  lvl = ( a b )\n  TimeZone = ( MET CET )\n  tz = ( \"$(timezone)\" )\n";
    let program = loaded(policy);
    let list = |name: &str| {
        program
            .context
            .list(name)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(list("actionsequence"), ["files", "copy.x"]);
    assert_eq!(program.sequence.len(), 3);
    assert_eq!(program.sequence[2].class.text(), "nosuch");
    assert_eq!(program.sequence[2].pos.line, 4);
    assert_eq!(list("ALLOWUSERS"), ["root", "mark", "ann"]);
    assert_eq!(get(&program, "splaytime"), "2");
    assert_eq!(get(&program, "lvl"), "b");
    assert_eq!(get(&program, "tz"), "MET CET");
    assert_eq!(
        program.warnings[0].message,
        "Redefinition of macro lvl=b (or perhaps missing quote)"
    );
    assert_eq!(
        errors("control:\n AddClasses = ( linux )\n"),
        ["2:17: You cannot add a reserved class! (linux)"]
    );
    assert_eq!(
        errors("control:\n x = ( \"$(x) y\" )\n tz = ( $(timezone) )\n Split = ( ab )\n"),
        [
            "2:8: the value of 'x' names 'x' itself, which is not set",
            "3:9: timezone undefined variable",
            "4:12: Split is one character, and not '/'"
        ]
    );
    assert!(
        loaded("control:\n AllowRedefinitionOf = ( a )\n a = ( 1 2 )\n")
            .warnings
            .is_empty()
    );
}

#[test]
fn a_strategy_draws_one_class_by_weight() {
    for (drawn, class) in [(0, "a"), (1, "b"), (49, "b"), (50, "a")] {
        let mut world = Table {
            drawn,
            ..Table::default()
        };
        let policy = "strategies:\n  { pick\n   a: \"1\"\n   b: \"49\"\n  }\n nosuch::\n { other\n  c: 1\n }\nclasses:\n  seen = ( a )\n";
        let program = try_load(policy, &mut world).unwrap();
        assert!(program.context.has(class), "{drawn}");
        assert_eq!(program.context.has("seen"), class == "a");
        assert!(!program.context.has("c"));
    }
    assert_eq!(
        errors("strategies:\n  { pick\n    sa: \"0\"\n    sb: \"100\"\n  }\n"),
        ["3:5: strategy distribution weight must be an integer"]
    );
}

#[test]
fn alerts_need_a_class_and_know_their_functions() {
    assert_eq!(
        errors("alerts:\n any::\n  \"x\"\n linux::\n  Shout(\"x\")\n  plain words\n"),
        [
            "3:3: Alerts cannot be in class any - probably a mistake",
            "5:3: Internal function (Shout) not recognized",
            "6:3: Unknown command or name out of context: plain"
        ]
    );
}

#[test]
fn contexts_keep_the_variables_of_each_phase_apart() {
    let mut world = Table::default();
    world.files.insert(
        "update.conf".into(),
        b"control:\n  domain = ( Example.ORG )\n  v = ( update )\n  actionsequence = ( copy )\n".to_vec(),
    );
    world.files.insert(
        "cfagent.conf".into(),
        b"control:\n  w = ( \"$(v) $(update.v) $(domain)\" )\n  actionsequence = ( files )\n".to_vec(),
    );
    let update = load(
        "update.conf".into(),
        Phase::Update,
        &Options::default(),
        host(),
        &mut world,
    )
    .unwrap();
    let main = load(
        "cfagent.conf".into(),
        Phase::Main,
        &Options::default(),
        update.context,
        &mut world,
    )
    .unwrap();
    assert_eq!(get(&main, "w"), "$(v) update example.org");
    assert_eq!(get(&main, "main.w"), "$(v) update example.org");
    assert_eq!(main.sequence.len(), 1);
    assert_eq!(main.context.list("actionsequence"), ["files"]);
}
