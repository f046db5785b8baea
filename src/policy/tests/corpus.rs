//! Real policies and recorded predicates, where they are at hand (`DSAU_SHARED`, else `../shared`).

use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::*;

fn corpus() -> Option<PathBuf> {
    let shared = match std::env::var_os("DSAU_SHARED") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let dir = shared.join("corpus/cf2");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "there is no corpus at {}",
        dir.display()
    );
    println!("skipped: there is no corpus at {}", dir.display());
    None
}

fn check(dir: &Path, file: &str) -> Result<Program, Vec<PolicyError>> {
    let path = dir.join(file);
    let mut world = Table {
        dir: path.parent().map(Path::to_path_buf),
        ..Table::default()
    };
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let options = Options {
        any_section: true,
        ..Options::default()
    };
    load(name.as_str().into(), Phase::Main, &options, host(), &mut world)
}

#[test]
fn every_policy_that_the_original_accepts_is_accepted_and_none_panics() {
    let Some(dir) = corpus() else { return };
    let table = std::fs::read_to_string(dir.join("ORACLE.tsv")).unwrap();
    let (mut accepted, mut refused) = (0, Vec::new());
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let result = check(&dir, columns[0]);
        if columns[3] != "accept" {
            continue;
        }
        match result {
            Ok(_) => accepted += 1,
            Err(errors) => {
                refused.push(format!("{}\n   {}", columns[0], format_error(&errors[0], true)));
            }
        }
    }
    assert!(
        refused.is_empty(),
        "{accepted} accepted, not these:\n{}",
        refused.join("\n")
    );
    assert!(accepted > 100);
}

#[test]
fn recorded_class_predicates_have_their_recorded_value() {
    let Some(dir) = corpus() else { return };
    let text = std::fs::read(dir.join("OBSERVED_classes.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let cases = json["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let expression = case["class_expression"].as_str().unwrap();
        let mut context = Context::default();
        for class in case["defined"].as_array().unwrap() {
            context.define(class.as_str().unwrap());
        }
        let wanted = case.get("wanted").unwrap_or(&case["true"]).as_bool().unwrap();
        match ClassExpr::parse(expression) {
            Ok(class) => assert_eq!(context.holds(&class), wanted, "{expression}"),
            // Quirk Q24: never true there, an error here.
            Err(_) => assert!(
                expression.as_bytes().find_byteset(b",;").is_some() && !wanted,
                "{expression}"
            ),
        }
    }
}
