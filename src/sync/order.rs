//! In which order the entries of a manifest come.

use bstr::{BString, ByteSlice};

use crate::fsx::{Entry, Kind};

/// The order of a manifest: the root, then what is in it as a walk finds it, names of a directory in byte order. So nothing
/// comes twice, and nothing stands in what is no directory.
#[derive(Default)]
pub(super) struct Order {
    /// The last entry; none before the root.
    last: Option<BString>,
    /// The directories it stands in and, where it is one, itself.
    dirs: Vec<BString>,
}

impl Order {
    /// Whether an entry may come next.
    pub fn takes(&mut self, entry: &Entry) -> bool {
        let path = entry.path.as_bstr();
        let fits = match &self.last {
            None => path.is_empty(),
            Some(last) => last.split(|b| *b == b'/').lt(path.split(|b| *b == b'/')),
        };
        let parent = match path.rfind_byte(b'/') {
            Some(at) => path.get(..at).unwrap_or_default(),
            None => b"",
        };
        if self.last.is_some() {
            while self.dirs.last().is_some_and(|dir| dir.as_slice() != parent) {
                self.dirs.pop();
            }
            if self.dirs.is_empty() {
                return false;
            }
        }
        if entry.kind == Kind::Dir {
            self.dirs.push(entry.path.clone());
        }
        self.last = Some(entry.path.clone());
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(paths: &[&str]) -> bool {
        let mut order = Order::default();
        paths.iter().all(|path| {
            order.takes(&Entry {
                path: path.trim_end_matches('/').into(),
                kind: if path.is_empty() || path.ends_with('/') {
                    Kind::Dir
                } else {
                    Kind::Link
                },
                mode: 0,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: 0,
                ctime: 0,
                inode: (0, 0),
                nlink: 1,
                target: BString::default(),
                digest: None,
            })
        })
    }

    #[test]
    fn a_manifest_in_the_order_of_a_walk_is_taken() {
        assert!(taken(&["", "a/", "a/x/", "a/x/1", "a/y", "a.b", "b"]));
        assert!(taken(&["", "\u{1}", " ", "a/", "a/ "]));
    }

    #[test]
    fn what_comes_twice_or_stands_in_a_link_or_nowhere_is_not_taken() {
        for paths in [
            &["a"][..],
            &["", ""],
            &["", "a", "a"],
            &["", "a", "a/"],
            &["", "a", "a/passwd"],
            &["", "a/", "b", "a/x"],
            &["", "b/", "a"],
            &["", "a/", "a/x", "a/x"],
            &["", "nowhere/x"],
        ] {
            assert!(!taken(paths), "{paths:?}");
        }
    }
}
