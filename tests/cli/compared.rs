//! `share/doc/fanout-compared.md`: what it says of our options is so, and no option of the others is missing.

use std::collections::BTreeSet;
use std::process::Command;

use crate::standin::Hosts;

const OURS: &[&str] = &["cexec", "ccp", "chosts", "ccollate", "ckill"];

/// A row: its section, and its three cells.
struct Row {
    section: String,
    cells: [String; 3],
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/share/doc/fanout-compared.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut section, mut rows) = (String::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_string();
        }
        // A bar in code is written with a backslash.
        let line = line.replace("\\|", "\u{1}");
        let Some(inner) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<String> = inner.split(" | ").map(|cell| cell.replace('\u{1}', "|")).collect();
        if cells[1] == "ours" {
            continue;
        }
        let cells = cells.try_into();
        rows.push(Row {
            section: section.clone(),
            cells: cells.unwrap_or_else(|_| panic!("line {}: not three cells", at + 1)),
        });
    }
    rows
}

/// What stands between back quotes.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The options of a text, each letter of `-bL` by itself.
fn options(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for word in text.split(|c: char| c.is_whitespace() || ",=[]()".contains(c)) {
        let word = word.trim_end_matches(['.', ';', ':']);
        match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) if long.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                out.insert(word.to_string());
            }
            (None, Some(letters)) if !letters.is_empty() && letters.chars().all(|c| c.is_ascii_alphabetic()) => {
                out.extend(letters.chars().map(|letter| format!("-{letter}")));
            }
            _ => {}
        }
    }
    out
}

/// The options in front of the lines of a help text.
fn offered(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    // Two blanks end the options and begin what they mean.
    lines
        .flat_map(|line| options(line.split("  ").next().unwrap_or_default()))
        .collect()
}

#[test]
fn every_row_says_yes_with_how_or_no_with_a_reason() {
    let rows = rows();
    assert!(rows.len() > 150, "{} rows", rows.len());
    for row in rows {
        let [theirs, ours, how] = &row.cells;
        assert!(ours == "yes" || ours == "no", "{theirs}: {ours}");
        assert!(ours == "yes" || how.len() > 15, "{theirs}: no reason: {how}");
        assert!(!how.is_empty(), "{theirs}");
    }
}

#[test]
fn every_option_that_the_table_names_for_our_tools_is_in_their_help() {
    let hosts = Hosts::new();
    let help = |tool: &str| {
        let output = hosts.tool(tool).arg("--help").output().unwrap();
        offered(&String::from_utf8(output.stdout).unwrap())
    };
    let (mut checked, mut wrong) = (0, Vec::new());
    for tool in OURS {
        let offered = help(tool);
        assert!(offered.len() > 8, "{tool}: {offered:?}");
        for row in rows() {
            for code in code(&row.cells[2]) {
                let Some(rest) = code.strip_prefix(tool).filter(|rest| rest.starts_with(' ')) else {
                    continue;
                };
                // An exclusion in a list is no option.
                let rest = rest.replace("-w -HOST", "-w");
                for option in options(&rest) {
                    checked += 1;
                    if !offered.contains(&option) {
                        wrong.push(format!("{}: {}: {tool} has no {option}", row.section, row.cells[0]));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} options were looked at");
}

#[test]
fn no_option_of_the_other_tools_is_missing_from_the_table() {
    let mut wrong = Vec::new();
    for (tool, ask, sections) in [
        ("pdsh", "-h", &["pdsh"][..]),
        ("pdcp", "-h", &["pdcp and rpdcp"]),
        ("dshbak", "-h", &["dshbak"]),
        ("clush", "-h", &["clush"]),
        ("nodeset", "-h", &["nodeset and cluset"]),
        ("clubak", "-h", &["clubak"]),
        ("parallel-ssh", "--help", &["parallel-ssh"]),
        (
            "parallel-slurp",
            "--help",
            &["parallel-scp, parallel-rsync, parallel-slurp, parallel-nuke"],
        ),
    ] {
        let Ok(output) = Command::new(tool).arg(ask).output() else {
            assert!(std::env::var_os("CI").is_none(), "{tool} is missing");
            eprintln!("skipped: {tool} is not installed");
            continue;
        };
        let mut said = output.stdout;
        said.extend(output.stderr);
        let theirs = String::from_utf8_lossy(&said).into_owned();
        let named: BTreeSet<String> = rows()
            .iter()
            .filter(|row| sections.contains(&row.section.as_str()))
            .flat_map(|row| code(&row.cells[0]).into_iter().flat_map(options).collect::<Vec<_>>())
            .collect();
        // Of an option with a letter and a name, one of them is enough.
        for line in theirs.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
            let of = options(line.split("  ").next().unwrap_or_default());
            if !of.is_empty() && of.is_disjoint(&named) {
                wrong.push(format!("{tool}: {of:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
