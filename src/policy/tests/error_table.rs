//! Every row of the table of parse-time checks (cfengine2.md 8), once, with its line and column.

use super::*;

/// What a file is read as, the policy, and the error: `line:col: message`, or the beginning of it.
static ROWS: &[(Phase, &str, &str)] = &[
    (
        Phase::Main,
        "control:\n  x y\n",
        "2:3: syntax error: 'x' is no assignment",
    ),
    (
        Phase::Main,
        "files:\n  /x:\n",
        "2:3: There seems to be an action or class syntax error: /x:",
    ),
    (
        Phase::Main,
        "alerts:\n linux::\n  plain words\n",
        "3:3: Unknown command or name out of context: plain",
    ),
    (
        Phase::Main,
        "control:\n a = ( b )\nadmit:\n /x *\n",
        "3:1: This belongs in cfservd.conf",
    ),
    (
        Phase::Server,
        "control:\n a = ( b )\nfiles:\n /x mode=600\n",
        "3:1: This belongs in cfagent.conf",
    ),
    (
        Phase::Main,
        "files:\n  /x  age=3\n",
        "2:7: Illegal files attribute: 'age='",
    ),
    (
        Phase::Main,
        "copy:\n  /x  dest=/y colour=red\n",
        "2:15: Illegal copy attribute: 'colour='",
    ),
    (
        Phase::Main,
        "files:\n  /x mode= owner=root\n",
        "2:6: files attribute 'mode=' with no value",
    ),
    (
        Phase::Main,
        "homeservers:\n  a mode=600\n",
        "2:5: Options cannot be used in this context: mode=",
    ),
    (
        Phase::Main,
        "tidy:\n  /x pattern=*\n",
        "2:3: Must specify an age for tidy actions",
    ),
    (
        Phase::Main,
        "tidy:\n  /x pattern=/y age=1\n",
        "2:6: search pattern begins with /: /y",
    ),
    (
        Phase::Main,
        "shellcommands:\n  \"bin/x\"\n",
        "2:3: scripts or commands must have absolute path names",
    ),
    (
        Phase::Main,
        "groups:\n  a = ( \"bin/x\" )\n",
        "2:9: Quoted scripts must begin with /",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  Append \"y\"\n }\n",
        "3:3: Append used outside of Group - non-convergent",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  BeginGroupIfMatch \"y\"\n }\n",
        "3:3: Editfiles Begin/End mismatch before or at line",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  EndGroup\n }\n",
        "3:3: EndGroup without Begin",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  ReplaceAll \"y\"\n }\n",
        "3:3: ReplaceAll/With mismatch",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  ForEachLineIn \"/y\"\n }\n",
        "3:3: ForEachLineIn/EndLoop mismatch",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  ForEachLineIn \"/y\"\n  ForEachLineIn \"/z\"\n  EndLoop\n  EndLoop\n }\n",
        "4:3: Nested ForEach loops",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  ForEachLineIn \"/y\"\n   SetLine \"z\"\n  EndLoop\n }\n",
        "4:4: SetLine inside ForEachLineIn",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  DefineInGroup \"y\"\n }\n",
        "3:3: DefineInGroup outside a group",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  BeginGroupIfMatch \"y\"\n   DefineClasses \"z\"\n  EndGroup\n }\n",
        "4:4: Class definitions inside conditionals or loops",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  Polish \"y\"\n }\n",
        "3:3: Unknown edit action \"Polish\"",
    ),
    (
        Phase::Main,
        "control: l = ( a:b )\neditfiles:\n { /x\n  EditSplit \":\"\n  ReplaceAll \"$(l)\" With \"y\"\n }\n",
        "5:3: List variables are not currently supported in ReplaceAll/With",
    ),
    (
        Phase::Main,
        "control: l = ( a:b )\neditfiles:\n { /x\n  EditSplit \":\"\n  BeginGroupIfNoSuchLine \"$(l)\"\n  EndGroup\n }\n",
        "5:3: List variables are not currently supported in BeginGroup*",
    ),
    (
        Phase::Main,
        "editfiles:\n { /x\n  /y\n }\n",
        "3:3: Multiple filenames in editfiles: /y",
    ),
    (Phase::Main, "files:\n  /x mode=u*x\n", "2:6: Invalid mode string (u*x)"),
    (
        Phase::Main,
        "files:\n  /x define=a-b\n",
        "2:6: Illegal class list in define=a-b",
    ),
    (
        Phase::Main,
        "alerts:\n  \"x\"\n",
        "2:3: Alerts cannot be in class any - probably a mistake",
    ),
    (
        Phase::Main,
        "groups:\n  linux = ( any )\n",
        "2:3: Reserved class (linux)",
    ),
    (
        Phase::Main,
        "control:\n  AddClasses = ( hpux )\n",
        "2:18: You cannot add a reserved class! (hpux)",
    ),
    (
        Phase::Main,
        "control:\n  a = ( RandomInt(3,3) )\n",
        "2:9: RandomInt(a,b) must have different non-negative arguments",
    ),
    (
        Phase::Main,
        "groups:\n  a = ( ExecResult(/bin/x) )\n",
        "2:9: Use of Exec[Shell]Result(s) outside of variable assignment",
    ),
    (
        Phase::Main,
        "control:\n  a = ( FileExists(/x) )\n",
        "2:9: Function FileExists out of place",
    ),
    (
        Phase::Main,
        "groups:\n  a = ( FileExist(/x) )\n",
        "2:9: Internal function (FileExist) not recognized",
    ),
    (
        Phase::Main,
        "copy:\n  /x dest=y\n",
        "2:6: Image y needs an absolute pathname",
    ),
    (
        Phase::Main,
        "disable:\n  /x rotate=some\n",
        "2:6: disable/rotate value some is neither a number nor 'empty'",
    ),
    (
        Phase::Main,
        "disable:\n  /x size=big\n",
        "2:6: size value big is no size",
    ),
    (
        Phase::Main,
        "shellcommands:\n  \"/x\" timeout=long\n",
        "2:8: timeout value must be a decimal number > 0",
    ),
    (
        Phase::Main,
        "processes:\n  \"x\" matches=few\n",
        "2:7: matches attribute few is not a number",
    ),
    (Phase::Main, "files:\n  /x links=some\n", "2:6: Illegal links=some"),
    (
        Phase::Main,
        "shellcommands:\n  \"/x\" useshell=tcsh\n",
        "2:8: Illegal attribute for useshell=: tcsh",
    ),
    (
        Phase::Main,
        "copy:\n  /x dest=/y purge=maybe\n",
        "2:14: Illegal switch value: purge=maybe",
    ),
    (
        Phase::Main,
        "files:\n  /x ifelapsed=often\n",
        "2:6: Integer expected as argument to ifelapsed",
    ),
    (
        Phase::Main,
        "files:\n  /x expireafter=1000000\n",
        "2:6: expireafter is out of range",
    ),
    (
        Phase::Main,
        "control:\n  a = ( $(site) )\n",
        "2:9: faculty/site undefined variable",
    ),
    (
        Phase::Main,
        "files:\n  /x owner=$(sysadm)\n",
        "2:6: sysadm undefined variable",
    ),
    (
        Phase::Main,
        "shellcommands:\n  \"/x $(timezone)\"\n",
        "2:3: timezone undefined variable",
    ),
    (
        Phase::Main,
        "control:\n  site = ( a )\n  faculty = ( b )\n",
        "3:3: Multiple declaration of variable faculty/site",
    ),
    (
        Phase::Main,
        "control:\n  netmask = ( 255.0.0.0 )\n  netmask = ( 255.255.0.0 )\n",
        "3:3: Multiple declaration of variable netmask",
    ),
    (
        Phase::Main,
        "control:\n  repository = ( /a )\n  Repository = ( /b )\n",
        "3:3: Redefinition of system variable repository",
    ),
    (
        Phase::Main,
        "files:\n  /x owner=$(who\n",
        "2:6: Incomplete variable syntax or bracket mismatch",
    ),
    (
        Phase::Main,
        "copy:\n  ${src/a dest=/y\n",
        "2:3: Incomplete variable syntax or bracket mismatch",
    ),
    (
        Phase::Main,
        "files:\n (a.b::\n  /x mode=600\n",
        "2:2: Bracket mismatch, in [class=(a.b]",
    ),
    (
        Phase::Main,
        "links:\n  /x +> /y type=hard\n",
        "2:3: hard links inappropriate for multiple linkage",
    ),
    (
        Phase::Server,
        "admit:\n  host.example.org\n",
        "2:3: Missing absolute path to a directory",
    ),
    (
        Phase::Server,
        "control:\n  cfrunCommand = ( bin/cfagent )\n",
        "2:20: $(cfrunCommand) does not expand to an absolute filename",
    ),
    (
        Phase::Server,
        "control:\n  cfrunCommand = ( \"/nowhere/cfagent -q\" )\n",
        "2:20: $(cfrunCommand) points to a non-existent file: /nowhere/cfagent -q",
    ),
    (
        Phase::Main,
        "control:\n  ChecksumDatabase = ( /x )\n",
        "2:3: ChecksumDatabase variable is deprecated - comment it out",
    ),
];

/// The warnings of the same section, each once, and a policy beside it that has none.
static WARNINGS: &[(&str, &str, &str)] = &[
    (
        "control:\n  a = ( b )\n  a = ( c )\n",
        "3:9: Redefinition of macro a=c",
        "control:\n  AllowRedefinitionOf = ( a )\n  a = ( b )\n  a = ( c )\n",
    ),
    (
        "tidy:\n  /x age=1 links=stop links=tidy\n",
        "2:23: redefinition of links= option",
        "tidy:\n  /x age=1 links=tidy\n",
    ),
    (
        "disable:\n  /x rotate=100000\n",
        "2:6: rotate value looks silly",
        "disable:\n  /x rotate=1000\n",
    ),
    (
        "files:\n  /x mode = 644\n",
        "2:11: '=' stands alone here, as the name of an object",
        "files:\n  /x mode=644\n",
    ),
    (
        "disable:\n  /x rotate=0\n",
        "2:6: rotate value looks silly",
        "disable:\n  /x rotate=empty\n",
    ),
];

#[test]
fn every_warning_of_the_table_is_told_at_its_place_and_only_where_it_is_due() {
    for (policy, warning, fine) in WARNINGS {
        let told: Vec<String> = loaded(policy).warnings.iter().map(ToString::to_string).collect();
        let wanted = format!("cfagent.conf:{warning}");
        assert!(told.len() == 1 && told[0].starts_with(&wanted), "{policy:?}: {told:?}");
        assert!(loaded(fine).warnings.is_empty(), "{fine:?}");
    }
}

#[test]
fn what_only_a_run_refuses_is_a_warning_where_a_file_is_only_checked() {
    let policy = "control:\n  ChecksumDatabase = ( /x )\n";
    let mut world = Table::default();
    world.files.insert("p".into(), policy.into());
    let options = Options {
        any_section: true,
        ..Options::default()
    };
    let program = load("p".into(), Phase::Main, &options, host(), &mut world).unwrap();
    assert!(
        program.warnings[0]
            .to_string()
            .contains("ChecksumDatabase variable is deprecated")
    );
}

#[test]
fn a_cfrun_command_that_is_there_or_not_known_yet_is_in_order() {
    let facts = FileFacts {
        kind: FileKind::Link,
        atime: 0,
        mtime: 0,
        ctime: 0,
    };
    for command in ["/sbin/cfagent -q", "/$(unknown)/cfagent"] {
        let mut world = Table::default();
        world.paths.insert("/sbin/cfagent".into(), facts);
        world.files.insert(
            "p".into(),
            format!("control:\n  cfrunCommand = ( \"{command}\" )\n").into(),
        );
        assert!(
            load("p".into(), Phase::Server, &Options::default(), host(), &mut world).is_ok(),
            "{command}"
        );
    }
}

fn told(phase: Phase, policy: &str) -> Vec<String> {
    let mut world = Table::default();
    world.files.insert("p".into(), policy.into());
    match load("p".into(), phase, &Options::default(), host(), &mut world) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}:{}: {}", error.pos.line, error.pos.col, error.message))
            .collect(),
    }
}

#[test]
fn every_row_of_the_table_is_an_error_at_its_place_and_the_only_one() {
    let mut wrong = Vec::new();
    for (phase, policy, error) in ROWS {
        let told = told(*phase, policy);
        if told.len() != 1 || !told[0].starts_with(error) {
            wrong.push(format!("{policy:?}\n  wanted {error}\n  told {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_error_comes_with_its_line_for_the_caret() {
    for (phase, policy, _) in ROWS {
        let mut world = Table::default();
        world.files.insert("p".into(), (*policy).into());
        let errors = load("p".into(), *phase, &Options::default(), host(), &mut world).unwrap_err();
        let line = policy.lines().nth(errors[0].pos.line as usize - 1).unwrap();
        assert_eq!(
            errors[0].excerpt.as_ref().map(ToString::to_string).as_deref(),
            Some(line),
            "{policy:?}"
        );
    }
}

/// In one file, one after the other: a file with five errors reports five.
#[test]
fn a_file_with_many_errors_reports_them_all() {
    // What ends a statement or a file early would hide the next row.
    let rows: Vec<_> = ROWS.iter().filter(|(phase, ..)| *phase == Phase::Main).collect();
    for five in rows.windows(5).filter(|five| {
        let policies: Vec<&str> = five.iter().map(|(_, policy, _)| *policy).collect();
        !policies
            .iter()
            .any(|policy| policy.contains("control:") || policy.contains("admit:"))
    }) {
        let policy: String = five.iter().map(|(_, policy, _)| *policy).collect();
        assert_eq!(told(Phase::Main, &policy).len(), 5, "{policy}");
    }
}

#[test]
fn a_near_miss_of_a_control_variable_is_a_warning_that_names_it() {
    let program = loaded("control:\n  actionsequense = ( files )\nfiles:\n  /x mode=600\n");
    let warning = &program.warnings[0];
    assert_eq!(
        warning.to_string(),
        "cfagent.conf:2:3: 'actionsequense' is a variable of your own that nothing uses"
    );
    assert_eq!(warning.hint.as_deref(), Some("did you mean 'actionsequence'?"));
    for fine in [
        "control:\n  timeouts = ( 5 )\nfiles:\n  /$(timeouts) mode=600\n",
        "control:\n  my_dir = ( /x )\n  ACTIONSEQUENCE = ( files )\n",
        "control:\n  actionsequence = ( files )\n  actionsequences = ( copy )\n",
    ] {
        assert!(loaded(fine).warnings.is_empty(), "{fine}");
    }
}
