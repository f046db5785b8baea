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
    assert!(files.len() >= 20);
    files
}

#[test]
fn every_example_is_correct_without_a_word() {
    for file in examples() {
        cfagent()
            .current_dir(file.parent().unwrap())
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
        let root = dir.path().join("root");
        let policies = dir.path().join("policies");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        std::fs::create_dir(&policies).unwrap();
        // All of them: one may import another.
        for example in examples() {
            let text = std::fs::read_to_string(&example).unwrap();
            let text = text.replace("/tmp/dsau-example", base.to_str().unwrap());
            std::fs::write(policies.join(example.file_name().unwrap()), text).unwrap();
        }
        let policy = Path::new(".").join(file.file_name().unwrap());
        let run = || {
            let mut command = cfagent();
            command
                .current_dir(&policies)
                .env("DSAU_ROOT", &root)
                .env("TZ", "UTC")
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
        let before = (tree(&base), tree(&root.join("etc")));
        let (_, said) = run();
        // disable.cf makes the file that it takes away: it shows both each time.
        if !file.ends_with("disable.cf") {
            let after = (tree(&base), tree(&root.join("etc")));
            assert_eq!(after, before, "{}: {said}", file.display());
        }
    }
}

#[test]
fn there_is_an_example_of_every_action_and_every_section() {
    let texts: Vec<String> = examples()
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let lines = || {
        texts
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| !line.trim_start().starts_with('#'))
    };
    // A server of file systems is nothing an example can count on.
    let elsewhere = ["mountall"];
    for action in dsau::agent::ACTIONS
        .iter()
        .filter(|action| !elsewhere.contains(&action.name))
    {
        let shown = lines()
            .filter(|line| line.contains("actionsequence"))
            .any(|line| line.split_whitespace().any(|word| word == action.name));
        assert!(shown || action.name == "disks", "no example of {}", action.name);
    }
    for section in [
        "acl",
        "strategies",
        "filters",
        "alerts",
        "import",
        "ignore",
        "mountables",
        "homeservers",
        "binservers",
    ] {
        assert!(
            lines().any(|line| line == format!("{section}:")),
            "no example of {section}:"
        );
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
