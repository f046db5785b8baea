//! Evaluation while reading: control, groups, functions, strategies.

use super::*;

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
