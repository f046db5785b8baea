//! Loading: sections, imports, the shapes of rules.

use super::*;

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
    let options = Options {
        any_section: true,
        ..Options::default()
    };
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
