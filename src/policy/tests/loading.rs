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
