//! `cfagent -p --lint` and `cfservd -p --lint`: what is legal and hardly meant.

use std::fs;
use std::process::{Command, Output};

use dsau::policy::CHECKS;

use super::desk::Desk;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const POLICY: &str = "control:
  actionsequence = ( files )
  d = ( @T@ )
  idle = ( x )
files:
  Mondy::
    $(d)/x mode=666 action=touch
";

#[test]
fn each_finding_is_a_line_with_its_place_and_the_name_of_the_check() {
    let desk = Desk::new();
    let said = desk.run(&["-p", "--lint"], POLICY);
    let lines: Vec<&str> = said.out.iter().filter_map(|line| line.split("p.cf:").nth(1)).collect();
    assert_eq!(
        lines,
        [
            "4:3: note: nothing uses the variable 'idle' [unused-variable]",
            "6:3: nobody defines the class 'Mondy' [unknown-class]",
            "7:12: mode=666 lets everybody write T/x [world-writable]",
        ]
    );
    assert!(said.has("  hint: did you mean 'Monday'?"));
    assert_eq!((said.status, said.err.as_str()), (1, ""));
    assert!(!desk.path("x").exists());
}

#[test]
fn a_clean_policy_and_one_with_notes_only_end_with_0() {
    let desk = Desk::new();
    let clean = "control:\n  actionsequence = ( files )\nfiles:\n  @T@/x mode=600\n";
    let said = desk.run(&["-p", "--lint"], clean);
    assert_eq!((said.status, said.out.len()), (0, 0), "{:?}", said.out);
    let said = desk.run(&["--lint"], &format!("{clean}control:\n  idle = ( x )\n"));
    assert_eq!((said.status, said.out.len()), (0, 1), "{:?}", said.out);
    assert!(!desk.path("x").exists());
}

#[test]
fn a_broken_policy_is_told_as_by_p_alone() {
    let said = Desk::new().run(&["-p", "--lint"], "files:\n  @T@/x mode=u*x\n");
    assert_eq!((said.status, said.out.len()), (1, 0));
    assert!(said.err.contains("Invalid mode string (u*x)"), "{}", said.err);
}

#[test]
fn findings_come_as_json_one_object_a_line() {
    let said = Desk::new().run(&["-p", "--lint", "--json"], POLICY);
    let objects: Vec<serde_json::Value> = said
        .out
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[1]["event"], "finding");
    assert_eq!(objects[1]["check"], "unknown-class");
    assert_eq!((&objects[1]["line"], &objects[1]["col"]), (&6.into(), &3.into()));
    assert_eq!(objects[1]["hint"], "did you mean 'Monday'?");
    assert_eq!(objects[0]["tone"], "note");
    assert_eq!(said.status, 1);
}

fn serve(policy: &str, args: &[&str]) -> Output {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("cfservd.conf");
    fs::write(&file, policy).unwrap();
    Command::new(env!("CARGO_BIN_EXE_cfservd"))
        .args(args)
        .arg("-f")
        .arg(&file)
        .env("DSAU_ROOT", root.path())
        .env_remove("CFINPUTS")
        .output()
        .unwrap()
}

#[test]
fn the_rules_of_a_server_are_judged_too() {
    let policy = "control:\n  domain = ( example.org )\nadmit:\n  /srv *.example.org\n  /srv/sub 10.1.1.1\n  /etc *\n";
    let output = serve(policy, &["-p", "--lint"]);
    let out = text(&output.stdout);
    assert!(
        out.contains("cfservd.conf:5:3: admit of /srv/sub never decides"),
        "{out}"
    );
    assert!(
        out.contains("[shadowed-admit]") && out.contains("[open-admit]"),
        "{out}"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = serve(policy, &["-p", "--lint", "--json"]);
    assert_eq!(text(&output.stdout).lines().count(), 2);
    let output = serve("admit:\n  /srv *.example.org\n", &["-p", "--lint"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    let output = serve("admit:\n  /srv *.example.org\n", &["--lint"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "--lint needs -p: it never starts a server"
    );
}

#[test]
fn every_check_stands_in_the_manual_page() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/cfagent.8")).unwrap();
    for (name, _) in CHECKS {
        assert!(page.contains(&format!(".It Cm {name}\n")), "{name}");
    }
}

/// Real policies: no file makes it panic or hang, whatever it says.
#[test]
fn no_policy_of_the_corpus_makes_it_panic() {
    let shared = std::env::var_os("DSAU_SHARED").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        Into::into,
    );
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
    for row in table.lines().skip(1) {
        let file = corpus.join(row.split('\t').next().unwrap());
        let content = fs::read(&file).unwrap();
        let runs = ["Exec", "ReturnsZero", "PrepModule"]
            .iter()
            .any(|word| content.windows(word.len()).any(|part| part == word.as_bytes()));
        if runs {
            continue;
        }
        for args in [["-p", "--lint"], ["--explain", "/etc/passwd"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_cfagent"))
                .args(args)
                .args(["-w", "-f"])
                .arg(&file)
                .env("DSAU_ROOT", root.path())
                .env("CFINPUTS", file.parent().unwrap())
                .output()
                .unwrap();
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 1)),
                "{}: {code:?}\n{}",
                file.display(),
                text(&output.stderr)
            );
        }
    }
}
