//! What changes about a file, as `--diff` shows it.

use std::path::Path;

use bstr::BString;

use crate::diff;

/// What changes about an object besides its content, as `--diff` shows it: a line with its name, then one for each side.
pub fn about(path: &Path, lines: impl IntoIterator<Item = String>) -> Vec<BString> {
    let mut out = vec![BString::from(format!("diff {}", path.display()))];
    out.extend(lines.into_iter().map(BString::from));
    if out.len() == 1 { Vec::new() } else { out }
}

/// `old mode 600`, `new mode 644`; nothing where they are the same.
pub fn mode(old: u32, new: u32) -> Vec<String> {
    sides("mode", (old != new).then(|| (format!("{old:o}"), format!("{new:o}"))))
}

/// `old owner …`, `new owner …`, and the like.
pub fn sides(what: &str, change: Option<(String, String)>) -> Vec<String> {
    change.map_or_else(Vec::new, |(old, new)| {
        vec![format!("old {what} {old}"), format!("new {what} {new}")]
    })
}

/// The lines of a unified diff between two contents of a file; none when they are the same. Binary content is only said
/// to differ.
pub fn unified(path: &Path, old: &[u8], new: &[u8]) -> Vec<BString> {
    if old != new && (old.contains(&0) || new.contains(&0)) {
        return vec![format!("Binary content of {} differs", path.display()).into()];
    }
    let shown = path.display();
    diff::unified(&shown.to_string(), &format!("{shown} (new)"), old, new)
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;

    fn diff(old: &str, new: &str) -> String {
        bstr::join("\n", unified(Path::new("/f"), old.as_bytes(), new.as_bytes()))
            .to_str_lossy()
            .into_owned()
    }

    #[test]
    fn a_changed_line_is_shown_with_its_surroundings() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n";
        assert_eq!(
            diff(old, new),
            "--- /f\n+++ /f (new)\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8"
        );
        assert_eq!(diff("", "a\n"), "--- /f\n+++ /f (new)\n@@ -0,0 +1,1 @@\n+a");
        assert_eq!(diff("a", "a"), "");
        assert_eq!(
            diff("a", "a\n"),
            "--- /f\n+++ /f (new)\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a"
        );
    }

    #[test]
    fn binary_content_is_not_shown() {
        assert_eq!(diff("\0a", "b"), "Binary content of /f differs");
    }
}
