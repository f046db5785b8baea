//! The policy templates, rendered, read by the policy language.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dsau::facts::{Host, Machine};
use dsau::policy::{Body, Context, Options, Phase, Program, Section, format_error, load};
use dsau::sys::Paths;

/// All five files in a directory of their own.
fn rendered() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("share/templates/cfengine");
    for name in ["cf.main", "update.conf", "cfagent.conf", "cfrun.hosts", "cfservd.conf"] {
        let done = Command::new(env!("CARGO_BIN_EXE_crender"))
            .args(["-D", "POLICYHOST_NAME=m.example.com"])
            .args(["-D", "DEFAULT_CLIENT_DNS_DOMAIN=example.com"])
            .args(["-D", "CFSERVD_DOMAIN_LIST=*.example.com,*.other.net", "-o"])
            .arg(dir.path().join(name))
            .arg(templates.join(format!("{name}.template")))
            .status()
            .unwrap();
        assert!(done.success(), "{name}");
    }
    dir
}

fn read(dir: &Path, file: &str, phase: Phase, classes: &[&str]) -> Program {
    let mut machine = Machine::new(&Paths::under(dir), Host::default()).with_inputs(dir);
    let mut context = Context::default();
    for class in classes {
        context.define(class);
    }
    for (name, value) in [("fqhost", "m.example.com"), ("quote", "'"), ("dblquote", "\"")] {
        context.set(name, value);
    }
    load(file.into(), phase, &Options::default(), context, &mut machine).unwrap_or_else(|errors| {
        let text: Vec<String> = errors.iter().map(|error| format_error(error, false)).collect();
        panic!("{file}:\n{}", text.join("\n"))
    })
}

fn warnings(program: &Program) -> Vec<String> {
    program
        .warnings
        .iter()
        .map(|error| format_error(error, false))
        .collect()
}

#[test]
fn the_update_policy_copies_the_inputs_by_content_and_links_the_programs_ms_05() {
    let dir = rendered();
    let program = read(dir.path(), "update.conf", Phase::Update, &["linux"]);
    assert_eq!(program.context.get("policyhost").unwrap(), "m.example.com");
    let copies: Vec<_> = program.section(Section::Copy).collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].promiser, "$(master_cfinput)");
    for (name, value) in [
        ("dest", "$(work_dir)/inputs"),
        ("server", "$(policyhost)"),
        ("recurse", "inf"),
        ("type", "checksum"),
    ] {
        assert_eq!(copies[0].attrs.get(name).unwrap().value, value, "{name}");
    }
    let links: Vec<_> = program
        .section(Section::Links)
        .filter_map(|rule| match &rule.body {
            Body::Link { to, force: true, .. } => Some(format!("{} {to}", rule.promiser)),
            _ => None,
        })
        .collect();
    assert!(
        links.contains(&"$(work_dir)/bin/cfexecd $(programs)/cfexecd".to_string()),
        "{links:?}"
    );
    let sequence: Vec<String> = program.sequence.iter().map(|entry| entry.text.to_string()).collect();
    assert_eq!(sequence, ["copy", "links"]);
    assert_eq!(warnings(&program), [""; 0]);
}

#[test]
fn the_main_policy_has_no_action_before_it_is_edited_ms_09() {
    let dir = rendered();
    let program = read(dir.path(), "cfagent.conf", Phase::Main, &["linux"]);
    let files: Vec<_> = program
        .files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["cfagent.conf", "cf.main"]);
    assert_eq!(program.rules.len(), 0, "{:?}", program.rules);
    assert_eq!(warnings(&program), [""; 0]);
}

/// What the sed line at the top of cf.main does, for the examples with these names, or for all.
fn enable(dir: &Path, names: Option<&[&str]>) {
    let path = dir.join("cf.main");
    let text = fs::read_to_string(&path).unwrap();
    let mut on = names.is_none();
    let mut out = String::new();
    for line in text.lines() {
        if let (Some(name), Some(names)) = (line.strip_prefix("## Example "), names) {
            on = names.iter().any(|wanted| name.starts_with(&format!("{wanted}:")));
        }
        match line.strip_prefix('#') {
            Some(rest) if on && !rest.starts_with('#') && !rest.is_empty() => out.push_str(rest),
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    fs::write(&path, out).unwrap();
}

#[test]
fn every_example_of_the_main_policy_is_correct() {
    let dir = rendered();
    enable(dir.path(), None);
    let program = read(dir.path(), "cfagent.conf", Phase::Main, &["linux", "node1"]);
    for section in [
        Section::Copy,
        Section::EditFiles,
        Section::Files,
        Section::Directories,
        Section::Links,
        Section::Resolve,
        Section::Tidy,
        Section::Disable,
        Section::Processes,
        Section::ShellCommands,
    ] {
        assert!(program.section(section).count() > 0, "{section:?}");
    }
    assert!(program.context.has("sg_cluster"), "the group of the cluster example");
    assert_eq!(warnings(&program), [""; 0]);
}

#[test]
fn the_sed_line_of_the_main_policy_enables_one_example() {
    let dir = rendered();
    let text = fs::read_to_string(dir.path().join("cf.main")).unwrap();
    let line = text.lines().find(|line| line.contains("sed -i")).unwrap();
    let done = Command::new("/bin/sh")
        .arg("-c")
        .arg(line.trim_start_matches('#').trim())
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(done.success());
    let program = read(dir.path(), "cfagent.conf", Phase::Main, &["linux"]);
    assert_eq!(program.rules.len(), 1);
    assert_eq!(program.rules[0].promiser, "$(master_files)/etc/motd");
}

#[test]
fn a_daemon_is_restarted_only_after_its_file_was_copied() {
    let dir = rendered();
    enable(dir.path(), Some(&["sshd"]));
    let program = read(dir.path(), "cfagent.conf", Phase::Main, &["linux"]);
    let copy = program.section(Section::Copy).next().unwrap();
    let command = program.section(Section::ShellCommands).next().unwrap();
    assert_eq!(copy.attrs.get("define").unwrap().value, "sshd_changed");
    assert_eq!(command.class.text(), "sshd_changed");
    let at = |word: &str| program.sequence.iter().position(|entry| entry.text == word).unwrap();
    assert!(at("copy") < at("shellcommands"));
}

#[test]
fn the_server_policy_admits_the_domains_and_starts_cfagent_for_the_master_only_ms_10() {
    let dir = rendered();
    // The program must be there, and only an installed system has it in its place.
    let (path, text) = (
        dir.path().join("cfservd.conf"),
        "( \"/var/opt/dsau/cfengine/bin/cfagent\" )",
    );
    let policy = fs::read_to_string(&path).unwrap();
    assert!(policy.contains(text));
    fs::write(
        &path,
        policy.replace(text, concat!("( \"", env!("CARGO_BIN_EXE_cfagent"), "\" )")),
    )
    .unwrap();
    let program = read(dir.path(), "cfservd.conf", Phase::Server, &["linux"]);
    let admitted: Vec<String> = program
        .section(Section::Admit)
        .map(|rule| {
            let members = match &rule.body {
                Body::Members(list) => list.iter().map(|(word, _)| word.to_string()).collect(),
                _ => Vec::new(),
            };
            format!("{}:: {} {}", rule.class.text(), rule.promiser, members.join(" "))
        })
        .collect();
    assert_eq!(
        admitted,
        [
            "policy_server:: /var/opt/dsau/cfengine_master $(domain_list)",
            "policy_server:: /var/opt/dsau/cfengine/bin/cfagent $(fqhost)",
            "!policy_server:: /var/opt/dsau/cfengine/bin/cfagent $(domain_list)",
        ]
    );
    assert_eq!(program.context.get("domain_list").unwrap(), "*.example.com,*.other.net");
    assert_eq!(
        program.context.get("cfrunCommand").unwrap(),
        env!("CARGO_BIN_EXE_cfagent")
    );
    assert_eq!(warnings(&program), [""; 0]);
}

#[test]
fn the_list_of_clients_is_read() {
    let dir = rendered();
    let path: PathBuf = dir.path().join("cfrun.hosts");
    let list = dsau::hosts::CfrunHosts::read(&path).unwrap();
    assert_eq!(list.domain.as_deref(), Some("example.com"));
    assert_eq!(list.max_child, Some(10));
    assert!(list.hosts.is_empty());
}
