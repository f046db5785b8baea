//! The examples that are installed (FIL-07): each is correct, each runs, and a second run has nothing to change.

use std::path::Path;

use assert_cmd::Command;

fn cfagent() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("cfagent"))
}

fn examples() -> Vec<std::path::PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("share/examples");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    files
}

#[test]
fn every_example_is_correct_without_a_word() {
    for file in examples() {
        cfagent()
            .arg("-p")
            .arg("-f")
            .arg(&file)
            .assert()
            .success()
            .stdout("")
            .stderr("");
    }
}

#[test]
fn every_example_runs_and_its_second_run_changes_nothing() {
    for file in examples() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("example");
        let policy = dir.path().join("policy.cf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&policy, text.replace("/tmp/dsau-example", base.to_str().unwrap())).unwrap();
        let run = || {
            let mut command = cfagent();
            command
                .env("DSAU_ROOT", dir.path().join("root"))
                .args(["-K", "-q", "-I", "--exit-status", "-f"])
                .arg(&policy);
            let out = command.output().unwrap();
            let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            (out.status.code(), said)
        };
        let (status, said) = run();
        let failing = file.ends_with("shellcommands.cf");
        assert_eq!(status, Some(i32::from(failing)), "{}: {said}", file.display());
        assert!(!said.is_empty(), "{} does nothing", file.display());
        let before = tree(&base);
        let (_, said) = run();
        // disable.cf makes the file that it takes away: it shows both each time.
        if !file.ends_with("disable.cf") {
            assert_eq!(tree(&base), before, "{}: {said}", file.display());
        }
    }
}

fn tree(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt;
    let mut out = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return out;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        out.push((path.display().to_string(), meta.mode(), bytes));
        if meta.is_dir() {
            out.extend(tree(&path));
        }
    }
    out.sort();
    out
}
