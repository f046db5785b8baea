//! `crender` as a user runs it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

fn crender() -> Command {
    Command::new(env!("CARGO_BIN_EXE_crender"))
}

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("share/templates/cfengine")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(templates().join(name)).unwrap()
}

#[test]
fn a_template_is_rendered_to_standard_output() {
    crender()
        .args(["-D", "POLICYHOST_NAME=m.example.com"])
        .arg(templates().join("update.conf.template"))
        .assert()
        .success()
        .stdout(predicate::str::contains("policyhost     = ( \"m.example.com\" )"));
}

#[test]
fn all_missing_tokens_are_named_at_once_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::write(&out, "old").unwrap();
    crender()
        .args(["-D", "B=1", "-o"])
        .arg(&out)
        .arg("-")
        .write_stdin("x <%A%>\n<%B%> <%C%>\n")
        .assert()
        .code(3)
        .stdout("")
        .stderr(predicate::str::starts_with(
            "<stdin>:1:3: no value for <%A%>\n<stdin>:2:7: no value for <%C%>\ncrender: 2 tokens have no value\n",
        ));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_output_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    crender()
        .args(["-D", "A=1", "-o"])
        .arg(&out)
        .arg("-")
        .write_stdin("a=<%A%>\n")
        .assert()
        .success()
        .stdout("");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "a=1\n");
}

#[test]
fn values_come_from_define_json_rc_and_environment_in_this_order_of_weight() {
    let dir = tempfile::tempdir().unwrap();
    let (rc, json) = (dir.path().join("rc"), dir.path().join("v.json"));
    std::fs::write(&rc, "B=rc\nC=\"rc c\"\nD=rc\n").unwrap();
    std::fs::write(
        &json,
        r#"{"B": "json", "C": "json", "N": {"x": 7}, "L": ["*.a", "*.b"]}"#,
    )
    .unwrap();
    crender()
        .env("A", "env")
        .env("D", "env")
        .arg("-e")
        .arg("--rc")
        .arg(&rc)
        .arg("--json")
        .arg(&json)
        .args(["-D", "C=define", "-"])
        .write_stdin("<%A%> <%B%> <%C%> <%D%> <%N.x%> <%L%>")
        .assert()
        .success()
        .stdout("env json define rc 7 *.a,*.b");
}

#[test]
fn the_environment_is_not_used_unless_asked_for() {
    crender().env("A", "env").arg("-").write_stdin("<%A%>").assert().code(3);
}

#[test]
fn check_writes_nothing_and_tells_by_its_status() {
    let check = |define: &[&str]| {
        crender()
            .args(define)
            .args(["--check", "-"])
            .write_stdin("<%A%>")
            .assert()
            .stdout("")
    };
    check(&["-D", "A=1"]).success();
    check(&[]).code(3);
}

#[test]
fn handlebars_templates_have_lists_and_no_escapes() {
    let dir = tempfile::tempdir().unwrap();
    let (json, hbs) = (dir.path().join("v.json"), dir.path().join("hosts.hbs"));
    std::fs::write(&json, r#"{"hosts": ["a&b", "c"]}"#).unwrap();
    std::fs::write(&hbs, "{{#each hosts}}{{this}}\n{{/each}}").unwrap();
    crender()
        .arg("--json")
        .arg(&json)
        .arg(&hbs)
        .assert()
        .success()
        .stdout("a&b\nc\n");
    crender()
        .args(["--handlebars", "-"])
        .write_stdin("\n {{gone}}")
        .assert()
        .code(3)
        .stdout("")
        .stderr("crender: <stdin>:2:2: no value for {{gone}}\n");
}

#[test]
fn a_wrong_definition_and_a_missing_template_are_wrong_usage() {
    crender().args(["-D", "A", "-"]).write_stdin("").assert().code(2);
    crender().assert().code(2).stderr(
        "crender: the following required arguments were not provided: <TEMPLATE>\n  hint: try 'crender --help'\n",
    );
    crender()
        .arg("/no/such/template")
        .assert()
        .code(1)
        .stderr(predicate::str::starts_with("crender: cannot read /no/such/template: "));
}

/// TPL-01 … TPL-05: which token stands in which template, and no other.
#[test]
fn each_template_asks_for_the_tokens_of_the_manual_and_no_others() {
    for (name, tokens) in [
        ("cf.main.template", vec!["POLICYHOST_NAME"]),
        ("update.conf.template", vec!["POLICYHOST_NAME"]),
        ("cfagent.conf.template", vec![]),
        ("cfrun.hosts.template", vec!["DEFAULT_CLIENT_DNS_DOMAIN"]),
        ("cfservd.conf.template", vec!["CFSERVD_DOMAIN_LIST"]),
    ] {
        let found = dsau::template::tokens(name, text(name).as_bytes()).unwrap();
        assert_eq!(found, tokens, "{name}");
    }
}

/// VAR-02, VAR-03, VAR-06, VAR-07, TOK-01 … TOK-03: the lines an administrator edits, as the manual shows them.
#[test]
fn the_lines_of_the_manual_stand_in_the_templates() {
    let rule = "domain = ( ExecResult(/bin/sh -c ${dblquote}nslookup `hostname`| awk ${quote}/Name:/ {print $2}${quote} \
                | cut -d . -f 2-${dblquote}) )";
    for name in ["update.conf.template", "cf.main.template"] {
        let text = text(name);
        assert!(text.lines().any(|line| line.trim() == rule), "{name}");
        assert!(text.contains("= ( \"<%POLICYHOST_NAME%>\" )"), "{name}");
    }
    assert!(
        text("cfrun.hosts.template")
            .lines()
            .any(|line| line == "domain = <%DEFAULT_CLIENT_DNS_DOMAIN%>")
    );
    assert!(text("cfservd.conf.template").contains("domain_list    = ( \"<%CFSERVD_DOMAIN_LIST%>\" )"));
    assert!(text("cfagent.conf.template").contains("\nimport:\n\n   any::\n      cf.main\n"));
}

/// TPL-01, MS-09: everything in cf.main but its variables is commented out, and the IN-02 line is among the examples.
#[test]
fn the_main_policy_does_nothing_before_it_is_edited() {
    let text = text("cf.main.template");
    let active: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(active[0], "control:");
    for line in &active[1..] {
        assert!(line.contains(" = ( ") && line.ends_with(" )"), "{line}");
    }
    assert!(text.contains("\"0 * * * * /var/opt/dsau/cfengine/bin/cfexecd -F\""));
}
