//! Replays what the fuzzer found (`fuzz/corpus`): the same bodies as its targets, without the fuzzer.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use std::path::{Path, PathBuf};

/// All files of the corpus of a target, sorted.
fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Runs a body over its corpus; a panic names the file.
fn replay(target: &str, body: fn(&[u8])) {
    let files = corpus(target);
    assert!(files.len() >= 8, "{target}: only {} files", files.len());
    for file in files {
        let input = std::fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| body(&input)).is_err() {
            panic!("{}", file.display());
        }
    }
}

#[test]
fn every_policy_the_fuzzer_found_is_read_and_printed() {
    replay("policy", bodies::policy);
}

#[test]
fn every_class_expression_the_fuzzer_found_means_what_it_says() {
    replay("class", bodies::class);
}

#[test]
fn every_expansion_the_fuzzer_found_stays_within_its_bounds() {
    replay("expand", bodies::expand);
}

#[test]
fn every_edit_the_fuzzer_found_ends_and_settles_where_it_should() {
    replay("editfiles", bodies::editfiles);
}
