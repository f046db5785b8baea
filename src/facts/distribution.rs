//! Classes of the distribution, from `os-release` (cfengine2.md 9.2: `debian`, `debian_12`, `debian_12_11`,
//! `debian_bookworm`, `lsb_compliant`).

use std::path::Path;

/// Classes of the distribution whose files lie under `root` (usually `/`).
pub fn classes(root: &Path) -> Vec<String> {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|file| std::fs::read_to_string(root.join(file)).ok())
        .unwrap_or_default();
    let release = os_release(&text);
    let mut out = from_os_release(|key| release.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()));
    if let Ok(version) = std::fs::read_to_string(root.join("etc/debian_version")) {
        let version = version.trim();
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            out.push(format!("debian_{}", canonify(version)));
        }
    }
    if root.join("etc/lsb-release").exists() || root.join("usr/bin/lsb_release").exists() {
        out.push("lsb_compliant".into());
    }
    out.sort();
    out.dedup();
    out
}

fn from_os_release(get: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let Some(id) = get("ID") else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for name in family(&id) {
        out.push(name.to_string());
        if let Some(version) = get("VERSION_ID") {
            out.push(format!("{name}_{}", canonify(&version)));
            if let Some((major, _)) = version.split_once('.') {
                out.push(format!("{name}_{}", canonify(major)));
            }
        }
        if let Some(codename) = get("VERSION_CODENAME") {
            out.push(format!("{name}_{}", canonify(&codename)));
        }
    }
    for like in get("ID_LIKE").unwrap_or_default().split_whitespace() {
        out.extend(family(like).iter().map(ToString::to_string));
    }
    out
}

/// The class names that cfengine 2 policies use for a distribution's id.
fn family(id: &str) -> Vec<&str> {
    match id {
        "rhel" => vec!["redhat", "rhel"],
        "sles" => vec!["SuSE", "SLES", "sles"],
        "opensuse" | "opensuse-leap" | "suse" => vec!["SuSE", "suse"],
        other => vec![other],
    }
}

/// `KEY=value` lines; values may be in double or single quotes.
fn os_release(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.to_string(), value.trim_matches(['"', '\'']).to_string()))
        .collect()
}

/// Every byte that is not a letter, a digit or `_` becomes `_` (cfengine2.md 9.1).
pub(super) fn canonify(name: &str) -> String {
    name.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b) } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_has_the_classes_that_policies_ask_for() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let release = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        std::fs::write(root.path().join("etc/os-release"), release).unwrap();
        std::fs::write(root.path().join("etc/debian_version"), "12.11\n").unwrap();
        assert_eq!(
            classes(root.path()),
            ["debian", "debian_12", "debian_12_11", "debian_bookworm"]
        );
    }

    #[test]
    fn a_clone_also_has_the_classes_of_its_family() {
        let release = os_release("ID=\"rocky\"\nVERSION_ID='9.3'\nID_LIKE=\"rhel centos fedora\"\n# no\n");
        let classes = from_os_release(|key| release.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()));
        for class in ["rocky", "rocky_9_3", "rocky_9", "redhat", "centos", "fedora"] {
            assert!(classes.iter().any(|c| c == class), "{class} is missing in {classes:?}");
        }
    }

    #[test]
    fn a_system_without_os_release_has_no_distribution_class() {
        assert!(classes(tempfile::tempdir().unwrap().path()).is_empty());
    }
}
