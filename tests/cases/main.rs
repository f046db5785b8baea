//! The behaviour cases: policies, trees and what cfagent makes of them, one text file for each topic (`*.case`).
//!
//! Each case is a test of its own: `cargo test --test cases -- rotate` runs those with "rotate" in file or name. With
//! `CASES_GOT=1` what was got is printed in the format of the cases. The format is described in `parse.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod bench;
mod objects;
mod parse;
mod said;
mod selftest;

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut args = Arguments::from_args();
    // A case waits more than it computes.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    args.test_threads.get_or_insert(cores * 2);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "case"))
        .collect();
    files.sort();
    let mut trials = selftest::trials();
    let mut names = BTreeMap::new();
    for path in &files {
        let topic = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let (cases, mut wrong) = parse::parse(&text);
        for case in cases {
            if let Some(other) = names.insert(case.name.clone(), topic.clone()) {
                wrong.push(format!("line {}: {other}.case has a case of this name", case.line));
            }
            let name = format!("{topic}: {}", case.name);
            let place = format!("tests/cases/{topic}.case:{}", case.line);
            trials.push(match bench::lacking(&case) {
                Some(_) => Trial::test(name, || Ok(())).with_ignored_flag(true),
                None => Trial::test(name, move || {
                    bench::judge(&case).map_err(|report| Failed::from(format!("{place}\n{report}")))
                }),
            });
        }
        for (index, fault) in wrong.into_iter().enumerate() {
            let name = format!("{topic}: the file is well formed ({})", index + 1);
            trials.push(Trial::test(name, move || Err(Failed::from(fault))));
        }
    }
    libtest_mimic::run(&args, trials).exit();
}
