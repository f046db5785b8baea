//! Tests of the tree itself: layers, forgotten test files, tools without a page, options without a line in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// The layers of ARCHITECTURE.md. A module imports from lower layers, and from the neighbours named here.
const LAYERS: &[(&str, u8, &[&str])] = &[
    ("diag", 0, &[]),
    ("sys", 0, &[]),
    ("log", 0, &["diag", "sys"]),
    ("hosts", 1, &[]),
    ("rcconf", 1, &[]),
    ("template", 1, &[]),
    ("timeclass", 1, &[]),
    ("digest", 1, &[]),
    ("diff", 1, &[]),
    ("policy", 2, &[]),
    ("facts", 2, &["policy"]),
    ("wire", 2, &["fsx"]),
    ("tls", 2, &["keys", "wire"]),
    ("keys", 2, &["fsx"]),
    ("fsx", 2, &[]),
    ("state", 2, &["fsx"]),
    ("remote", 2, &[]),
    ("fan", 2, &["remote"]),
    ("dns", 2, &[]),
    ("sync", 2, &["wire", "tls", "keys", "fsx", "dns"]),
    ("agent", 3, &[]),
    ("serve", 3, &[]),
    ("sched", 3, &[]),
    ("cluster", 3, &[]),
    ("wizard", 3, &["cluster"]),
    ("tools", 4, &[]),
];

/// Every module named after `crate::` in a file, test modules included.
fn imports(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &line[at + "crate::".len()..];
            let group = rest
                .strip_prefix('{')
                .map(|inner| inner.split(',').collect())
                .unwrap_or_else(|| vec![rest]);
            for part in group {
                let name: String = part
                    .trim()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() {
                    out.insert(name);
                }
            }
        }
    }
    out
}

#[test]
fn every_module_imports_only_from_lower_layers_and_named_neighbours() {
    let layer: BTreeMap<&str, (u8, &[&str])> = LAYERS
        .iter()
        .map(|(name, level, near)| (*name, (*level, *near)))
        .collect();
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let inside = file.strip_prefix(root().join("src")).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        if module == "bin" || module == "lib.rs" {
            continue;
        }
        let module = module.trim_end_matches(".rs");
        let (level, near) = *layer
            .get(module)
            .unwrap_or_else(|| panic!("{module} has no layer: name it here and in ARCHITECTURE.md"));
        for name in imports(&fs::read_to_string(&file).unwrap()) {
            let Some((other, _)) = layer.get(name.as_str()) else {
                continue;
            };
            if name != module && *other >= level && !near.contains(&name.as_str()) {
                wrong.push(format!("{} imports crate::{name}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn lib_rs_declares_exactly_the_modules_that_have_a_layer() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(declared, LAYERS.iter().map(|(name, ..)| *name).collect());
}

#[test]
fn a_bin_is_three_lines_and_names_its_own_tool() {
    for tool in dsau::tools::ALL {
        let path = root().join(format!("src/bin/{}.rs", tool.name));
        let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing", path.display()));
        let code = text
            .lines()
            .filter(|line| !line.starts_with("//!") && !line.is_empty())
            .count();
        assert!(code <= 4, "{} is more than a main", path.display());
        assert!(
            tool.name == "dsau" || text.contains(&format!("{}::TOOL", tool.name)),
            "{}",
            path.display()
        );
    }
    assert_eq!(
        rust_files(&root().join("src/bin")).len(),
        dsau::tools::ALL.len(),
        "a bin without a tool in the table"
    );
}

#[test]
fn unsafe_code_stays_in_sys() {
    for file in rust_files(&root().join("src")) {
        if !file.starts_with(root().join("src/sys")) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                !text.contains("allow(unsafe_code)"),
                "{} allows unsafe code",
                file.display()
            );
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    for dir in ["tests/cli", "tests/lab", "tests/cases", "tests/packages"] {
        let main = fs::read_to_string(root().join(dir).join("main.rs")).unwrap();
        for file in rust_files(&root().join(dir)) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let direct = file.parent() == Some(&root().join(dir));
            assert!(
                !direct || name == "main" || main.contains(&format!("mod {name};")),
                "{dir}/{name}.rs is not compiled"
            );
        }
    }
}

/// The long and short options of a tool's clap table.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        out.extend(arg.get_long().map(|long| format!("--{long}")));
        out.extend(arg.get_short().map(|short| format!("-{short}")));
    }
    out
}

fn page(tool: &dsau::tools::Tool) -> (PathBuf, String) {
    let path = root().join(format!("man/{}.{}", tool.name, tool.section));
    let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} has no page {}", tool.name, path.display()));
    (path, text)
}

/// The options a page describes: every flag on an `.It` line, `.It Fl p , Fl Fl parse-only` and the like.
fn described(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with(".It ")) {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if word != "Fl" {
                continue;
            }
            let double = words.peek() == Some(&"Fl");
            if double {
                words.next();
            }
            let Some(name) = words.next() else { continue };
            let name = name.trim_start_matches("\\-").trim_start_matches('-');
            let short = !double && name.chars().count() == 1;
            out.insert(if short { format!("-{name}") } else { format!("--{name}") });
        }
    }
    out
}

#[test]
fn every_option_stands_in_the_page_and_every_option_of_the_page_exists() {
    let mut wrong = Vec::new();
    for tool in dsau::tools::ALL {
        let (path, text) = page(tool);
        let (table, page) = (options(&(tool.command)()), described(&text));
        // Every tool has --help, --version and what clap adds for them; pages may leave them out.
        let common: BTreeSet<String> = ["--help", "-h", "--version", "-V"].map(String::from).into();
        for option in table.difference(&page).filter(|o| !common.contains(*o)) {
            wrong.push(format!("{}: {option} of --help is not described", path.display()));
        }
        // Further names of an option may be described, and need not be.
        let command = (tool.command)();
        let aliases: BTreeSet<String> = command
            .get_arguments()
            .flat_map(|arg| arg.get_all_aliases().unwrap_or_default())
            .map(|long| format!("--{long}"))
            .collect();
        for option in page
            .difference(&table)
            .filter(|o| !common.contains(*o) && !aliases.contains(*o))
        {
            wrong.push(format!("{}: {option} does not exist", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The options in the synopsis of a page: `.Op Fl bN`, `.Op Fl \-mux | \-no-mux`, `.Fl \-retry Ar WHICH`.
fn in_synopsis(text: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(".Sh SYNOPSIS\n").unwrap();
    let synopsis = rest.split("\n.Sh ").next().unwrap();
    let mut out = BTreeSet::new();
    for line in synopsis.lines() {
        let mut flag = false;
        for word in line.split_whitespace() {
            match word {
                "Fl" | ".Fl" => flag = true,
                "|" => {}
                _ if word.starts_with(|c: char| c.is_ascii_uppercase()) && word.len() == 2 => flag = false,
                _ if !flag => {}
                _ => match word.strip_prefix("\\-") {
                    Some(long) => drop(out.insert(format!("--{long}"))),
                    None => out.extend(word.chars().map(|short| format!("-{short}"))),
                },
            }
        }
    }
    out
}

#[test]
fn every_option_of_the_fan_out_tools_stands_in_the_synopsis_and_in_a_test() {
    let mut tests = String::new();
    for file in [
        rust_files(&root().join("tests/cli")),
        rust_files(&root().join("tests/lab")),
    ]
    .concat()
    {
        tests.push_str(&fs::read_to_string(file).unwrap());
    }
    let used = |option: &str| {
        tests.match_indices(option).any(|(at, _)| {
            let before = tests[..at].chars().next_back();
            let after = tests[at + option.len()..].chars().next();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '-')
                && after.is_none_or(|c| !c.is_alphanumeric() && !"-_".contains(c))
        })
    };
    let mut wrong = Vec::new();
    for tool in dsau::tools::ALL {
        let fan = [
            "cexec",
            "ccp",
            "cps",
            "ckill",
            "cuptime",
            "cwall",
            "chosts",
            "ccollate",
            "csshsetup",
        ];
        if !fan.contains(&tool.name) {
            continue;
        }
        let synopsis = in_synopsis(&page(tool).1);
        for arg in (tool.command)().get_arguments().filter(|arg| !arg.is_hide_set()) {
            let long = arg.get_long().map(|long| format!("--{long}"));
            let short = arg.get_short().map(|short| format!("-{short}"));
            let names: Vec<&String> = long.iter().chain(&short).collect();
            if names.is_empty() || ["help", "version"].contains(&arg.get_id().as_str()) {
                continue;
            }
            if !names.iter().any(|name| synopsis.contains(*name)) {
                wrong.push(format!("man/{}.1: {} is not in the synopsis", tool.name, names[0]));
            }
            for name in names.iter().filter(|name| !used(name)) {
                wrong.push(format!("{}: {name} is in no test", tool.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_passes_mandoc_and_refers_only_to_pages_that_exist() {
    let pages: Vec<PathBuf> = fs::read_dir(root().join("man"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    let ours: BTreeSet<String> = pages
        .iter()
        .map(|p| p.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    let Ok(version) = std::process::Command::new("mandoc")
        .arg("-T")
        .arg("lint")
        .args(&pages)
        .output()
    else {
        assert!(std::env::var_os("CI").is_none(), "mandoc is missing");
        eprintln!("skipped: mandoc is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&version.stdout);
    // References to pages of other packages cannot be looked up by lint.
    let bad: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("referenced manual not found"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    for path in &pages {
        for line in fs::read_to_string(path).unwrap().lines() {
            let Some(rest) = line.strip_prefix(".Xr ") else {
                continue;
            };
            let mut words = rest.split_whitespace();
            let (name, section) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let foreign = [
                "ssh",
                "sshd",
                "ssh-keygen",
                "ssh-keyscan",
                "scp",
                "crontab",
                "cron",
                "systemd",
                "systemctl",
                "sendmail",
                "syslog",
                "nslookup",
                "awk",
                "cut",
                "openssl",
                "sha256sum",
                "regex",
                "services",
                "hosts",
                "nsswitch.conf",
                "resolver",
                "ssh_config",
                "sshd_config",
                "ssh-agent",
                "glob",
                "re_format",
                "sh",
                "tar",
                "find",
                "xargs",
                "syslogd",
                "passwd",
                "netgroup",
                "fnmatch",
                "umask",
                "chmod",
                "signal",
                "ps",
                "rsync",
                "corosync.conf",
                "sd_notify",
                "systemd-run",
                "sysexits",
                "resolv.conf",
                "mandoc",
                "man",
                "unlink",
                "inotify",
                "openat2",
                "dpkg",
                "apt-get",
                "rpm",
                "hostname",
                "fstab",
                "ip",
                "kill",
                "mount",
                "wall",
                "patch",
                "sudo",
                "getent",
                "diff",
            ];
            let known = ours.contains(&format!("{name}.{section}")) || foreign.contains(&name);
            assert!(
                known,
                "{} refers to {name}({section}), which does not exist",
                path.display()
            );
        }
    }
}

#[test]
fn every_tool_is_named_in_the_map_of_the_suite() {
    let map = fs::read_to_string(root().join("man/dsau.7")).unwrap();
    for tool in dsau::tools::ALL {
        assert!(
            map.contains(&format!("Xr {} {}", tool.name, tool.section)) || tool.name == "dsau",
            "{}",
            tool.name
        );
    }
}

#[test]
fn every_spelling_is_a_link_of_make_install_and_in_its_page_and_no_name_of_ours() {
    let names: BTreeSet<&str> = dsau::tools::fan::spellings::ALL.iter().map(|s| s.name).collect();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let listed = makefile.lines().find_map(|line| line.strip_prefix("SPELLINGS := "));
    assert_eq!(listed.unwrap().split_whitespace().collect::<BTreeSet<_>>(), names);
    let page = fs::read_to_string(root().join("man/spellings.7")).unwrap();
    for name in names {
        let stands = |line: &str| line.starts_with(".It ") && line.split([' ', ',']).any(|word| word == name);
        assert!(page.lines().any(stands), "{name} is not in spellings(7)");
        assert!(dsau::tools::ALL.iter().all(|tool| tool.name != name), "{name}");
    }
}

#[test]
fn the_dependency_tree_stays_within_its_budget() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let count = lock.lines().filter(|line| *line == "[[package]]").count();
    assert!(
        count <= 270,
        "{count} locked packages; the cap is 270, raised only by a commit that says why"
    );
}

#[test]
fn the_changelog_begins_with_the_version_of_the_package() {
    let log = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let head = log.lines().find(|line| line.starts_with("## ")).unwrap();
    assert!(head.contains(env!("CARGO_PKG_VERSION")), "{head}");
}
