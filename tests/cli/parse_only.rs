//! `cfagent -p`: checking a policy without doing anything. The rest of cfagent is in `cfagent.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn check(root: &TempDir, file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cfagent"))
        .args(["-p", "-K", "-q", "-f"])
        .arg(file)
        .env("DSAU_ROOT", root.path())
        .env_remove("CFINPUTS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_policy_without_errors_is_checked_silently_and_nothing_of_it_is_done() {
    let root = tempfile::tempdir().unwrap();
    let (file, made) = (root.path().join("p.conf"), root.path().join("made"));
    let policy = format!(
        "control:\n  actionsequence = ( files shellcommands)\nfiles:\n  {0} mode=600 action=touch\nshellcommands:\n  \"/bin/touch {0}\"\n",
        made.display()
    );
    fs::write(&file, policy).unwrap();
    let output = check(&root, &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    assert!(!made.exists());
}

#[test]
fn a_named_policy_that_is_not_there_is_not_taken_for_a_good_one_ms_04() {
    let root = tempfile::tempdir().unwrap();
    let output = check(&root, &root.path().join("cf.mian"));
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("there is no policy file ") && stderr.contains("cf.mian, so nothing was checked"),
        "{stderr}"
    );
}

/// cfengine2.md 8: all errors are told, then status 1.
#[test]
fn every_error_is_told_with_file_and_line_and_a_caret() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("p.conf");
    fs::write(
        &file,
        "files:\n  /a mode=u*x\nshelcommands:\n  \"/x\"\ntidy:\n  /t pattern=*\n",
    )
    .unwrap();
    let output = check(&root, &file);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    for part in [
        format!("{}:2: Invalid mode string (u*x)", file.display()),
        format!("{}:2:6", file.display()),
        "there is no section 'shelcommands:'".to_string(),
        "did you mean 'shellcommands'?".to_string(),
        format!("{}:6: Must specify an age for tidy actions", file.display()),
    ] {
        assert!(stderr.contains(&part), "{part} in\n{stderr}");
    }
    // The line itself and a caret are for people: on a terminal only.
    let excerpt = " 2 |   /a mode=u*x\n   |      ^";
    assert!(!stderr.contains(" 2 | "), "{stderr}");
    let shown = Command::new("script")
        .args(["-qec", "\"$CFAGENT\" -p -K -q -f \"$POLICY\"", "/dev/null"])
        .env("CFAGENT", env!("CARGO_BIN_EXE_cfagent"))
        .env("POLICY", &file)
        .env("DSAU_ROOT", root.path())
        .env_remove("CFINPUTS")
        .output()
        .unwrap();
    let shown = text(&shown.stdout).replace('\r', "");
    assert!(shown.contains(excerpt), "{shown}");
}

#[test]
fn an_import_that_is_not_there_is_an_error_at_its_name() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("p.conf");
    fs::write(
        &file,
        "import:\n  nosuch.conf\ncontrol:\n  actionsequence = ( files )\n",
    )
    .unwrap();
    let output = check(&root, &file);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(":2: Can't open file nosuch.conf"),
        "{}",
        text(&output.stderr)
    );
}

/// `-p` evaluates functions as the original does; a server's file is checked by it too.
#[test]
fn functions_are_evaluated_and_access_rules_are_accepted() {
    let root = tempfile::tempdir().unwrap();
    let (file, mark) = (root.path().join("cfservd.conf"), root.path().join("mark"));
    let policy = format!(
        "control:\n  x = ( ExecResult(/bin/touch {}) )\n  domain_list = ( \"*.abc.xyz.com,*.cde.xyz.com\" )\nadmit:\n  /srv $(domain_list)\n",
        mark.display()
    );
    fs::write(&file, policy).unwrap();
    let output = check(&root, &file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(mark.exists());
}

/// Must show 7 of the main job: what the original accepts is accepted.
#[test]
fn every_policy_the_original_accepts_passes_the_check() {
    let shared = std::env::var_os("DSAU_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), Into::into);
    let corpus = shared.join("corpus/cf2");
    let Ok(table) = fs::read_to_string(corpus.join("ORACLE.tsv")) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "there is no corpus at {}",
            corpus.display()
        );
        println!("skipped: there is no corpus at {}", corpus.display());
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    // Files that set where commands come from run some: those are left to the tests of the language.
    for row in table
        .lines()
        .skip(1)
        .filter(|row| row.split('\t').nth(3) == Some("accept"))
    {
        let file = corpus.join(row.split('\t').next().unwrap());
        let content = fs::read(&file).unwrap();
        let runs = ["Exec", "ReturnsZero", "PrepModule"]
            .iter()
            .any(|word| content.windows(word.len()).any(|part| part == word.as_bytes()));
        if runs {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_cfagent"))
            .args(["-p", "-K", "-q", "-w", "-f"])
            .arg(&file)
            .env("DSAU_ROOT", root.path())
            .env("CFINPUTS", file.parent().unwrap())
            .output()
            .unwrap();
        if output.status.code() != Some(0) {
            refused.push(format!("{}: {}", file.display(), text(&output.stderr)));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
