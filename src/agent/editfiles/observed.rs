//! The engine against recorded results of the original, where that corpus is at hand.

use std::path::PathBuf;

use super::tests::{Paper, go};

/// The corpus: test data kept outside the project.
fn corpus() -> Option<Vec<serde_json::Value>> {
    let shared = std::env::var_os("DSAU_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = shared.join("corpus/cf2/OBSERVED_editfiles.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no corpus at {}", path.display());
        return None;
    };
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    Some(all["cases"].as_array().unwrap().clone())
}

#[test]
fn every_recorded_edit_gives_the_recorded_content() {
    let Some(cases) = corpus() else { return };
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        let mut paper = Paper::default();
        for (variable, value) in [("dblquote", "\""), ("quote", "'"), ("tab", "\t")] {
            paper.variables.insert(variable.into(), value.into());
        }
        if let Some(control) = case["control"].as_object() {
            for (variable, value) in control {
                paper.variables.insert(variable.clone(), value.as_str().unwrap().into());
            }
        }
        paper.files.insert("/etc/passwd".into(), String::new());
        if let Some(items) = case["file @ITEMS@"].as_str() {
            paper.files.insert("@ITEMS@".into(), items.into());
        }
        let before = case["before"].as_str().unwrap();
        let (after, edited) = go(&mut paper, before, case["commands"].as_str().unwrap());
        // Quirk Q18: the recorded result deletes every line, because of an empty item.
        let wanted = if case.get("quirk").is_some() {
            assert_eq!(name, "DelFileItems2", "a quirk this test does not know");
            before.replace("bravo\n", "")
        } else {
            case["after"].as_str().unwrap().to_string()
        };
        if after != wanted || edited.changed != (wanted != before) {
            wrong.push(format!("{name}: wanted {wanted:?}, got {after:?}"));
        }
    }
    assert!(cases.len() >= 38 && wrong.is_empty(), "{wrong:#?}");
}
