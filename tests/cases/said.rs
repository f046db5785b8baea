//! What a program said, made comparable: paths of the case get names, and what was expected may leave gaps.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use snapbox::Data;
use snapbox::filter::NormalizeToExpected;
use snapbox::report::{Palette, write_diff};

static STAMP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"_\d{9,}_[A-Z][a-z]{2}_[A-Z][a-z]{2}_+\d+_\d\d_\d\d_\d\d_\d{4}_").unwrap());

/// The places of one case.
pub struct Places {
    pub root: String,
    pub host: String,
}

impl Places {
    pub fn new(root: &Path) -> Places {
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        Places {
            root: root.to_str().unwrap().into(),
            host: host.split('.').next().unwrap().to_lowercase(),
        }
    }

    pub fn t(&self) -> String {
        format!("{}/t", self.root)
    }

    pub fn inputs(&self) -> String {
        format!("{}/inputs", self.root)
    }

    pub fn work(&self) -> String {
        format!("{}/var/opt/dsau/cfengine", self.root)
    }

    /// Puts the places into a text of the case.
    pub fn fill(&self, text: &str) -> String {
        if !text.contains('@') {
            return text.into();
        }
        text.replace("@T@", &self.t())
            .replace("@U@", &self.t().replace('/', "_"))
            .replace("@I@", &self.inputs())
            .replace("@W@", &self.work())
            .replace("@R@", &self.root)
            .replace("@HOST@", &self.host)
            .replace("@CFAGENT@", assert_cmd::cargo::cargo_bin("cfagent").to_str().unwrap())
    }

    /// The reverse, for texts of the program.
    pub fn name(&self, text: &str) -> String {
        let text = text
            .replace(&self.t(), "T")
            .replace(&self.inputs(), "I")
            .replace(&self.root, "R")
            .replace(&self.t().replace('/', "_"), "_T")
            .replace(&self.inputs().replace('/', "_"), "_I")
            .replace(&self.root.replace('/', "_"), "_R")
            .replace(&format!("cfengine:{}", self.host), "cfengine:HOST");
        STAMP.replace_all(&text, "_STAMP_").into_owned()
    }

    /// Lines that say something, with names for the places.
    pub fn lines(&self, bytes: &[u8]) -> Vec<String> {
        self.name(&String::from_utf8_lossy(bytes))
            .lines()
            .map(|line| line.trim_end().to_string())
            .filter(|line| !line.is_empty())
            .collect()
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Compares lines with a pattern; the difference if there is one.
pub fn compare(what: &str, expected: &[String], got: &[String]) -> Option<String> {
    let expected = Data::text(joined(expected));
    let got = NormalizeToExpected::new()
        .redact()
        .normalize(Data::text(joined(got)), &expected);
    if got == expected {
        return None;
    }
    let mut out = format!("{what}:\n");
    let names: (&dyn std::fmt::Display, &dyn std::fmt::Display) = (&"expected", &"got");
    write_diff(
        &mut out,
        &expected,
        &got,
        Some(names.0),
        Some(names.1),
        Palette::plain(),
    )
    .unwrap();
    Some(out)
}
