//! Errors: each at its place, with what was meant.

use super::*;

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
            "5:6: Unknown action type: polish (warnall, warndirs, warnplain, fixall, fixdirs, fixplain, touch, create, compress, alert, linkchildren)",
            "7:6: Image rel needs an absolute pathname",
            "8:1: syntax error: there is no section 'widgets:'",
            "11:3: Must specify an age for tidy actions",
            "12:6: search pattern begins with /: /x",
            "14:3: scripts or commands must have absolute path names",
            "15:8: Illegal class list in define=a-b",
            "15:19: Integer expected as argument to ifelapsed",
            "15:35: Illegal shellcommands attribute: 'timout='",
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
fn a_mode_whose_letters_do_not_say_whose_is_a_warning() {
    let warnings = |mode: &str| -> Vec<String> {
        let program = loaded(&format!("files:\n  /f mode={mode}\n"));
        program.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings("+x"),
        [
            "cfagent.conf:2:6: Symbolic and numeric form for modes mixed",
            "cfagent.conf:2:6: mode string is incomplete"
        ]
    );
    for fine in ["+111", "a+x", "u=rwx,og=rx", "g=rx,o=", "644", "-022"] {
        assert!(warnings(fine).is_empty(), "{fine}");
    }
}

#[test]
fn an_error_is_shown_with_its_line_a_caret_and_the_hint() {
    let error = &try_load("files:\n\t/f modes=600\n", &mut Table::default()).unwrap_err()[0];
    assert_eq!(
        format_error(error, true),
        "cfagent.conf:2:5: Illegal files attribute: 'modes='\n 2 |  /f modes=600\n   |     ^\n  hint: did you mean 'mode'?"
    );
    assert_eq!(
        format_error(error, false),
        "cfagent.conf:2:5: Illegal files attribute: 'modes='\n  hint: did you mean 'mode'?"
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
        ["3:1: Editfiles Begin/End mismatch before or at line: EndGroup is missing"]
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
fn a_forgotten_quote_is_looked_for_where_a_text_began_to_span_lines() {
    let hints = |policy: &str| {
        let errors = try_load(policy, &mut Table::default()).unwrap_err();
        errors
            .iter()
            .map(|error| (error.pos.line, error.hint.clone().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    // Never a command `/bin/b"`.
    assert_eq!(
        hints("shellcommands:\n  \"/bin/a\n  \"/bin/b\"\n  \"/bin/c\"\n"),
        [(2, "it would end in the middle of a later line".to_string())]
    );
    assert_eq!(
        hints("shellcommands:\n  \"/bin/a\n\n  \" \"/bin/b\n"),
        [(
            4,
            "the text that begins in line 2 spans lines; is its quote missing?".to_string()
        )]
    );
}
