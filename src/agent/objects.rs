//! Which objects a path of a rule means: wildcards in any component, `home`, and the `ignore:` section.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::Run;
use super::job::BytesPath;
use crate::fsx::{Dir, any_matches, matches};
use crate::policy::Section;

/// What sweeps leave alone: names and patterns of the `ignore:` section and of `ignore=`.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<BString>,
}

impl Ignore {
    /// Whether an object is to be left alone. A pattern with a slash is compared with the whole path.
    pub fn covers(&self, path: &Path) -> bool {
        let whole = path.as_os_str().as_bytes();
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        self.patterns.iter().any(|pattern| {
            let against = if pattern.contains(&b'/') { whole } else { name };
            matches(pattern, against)
        })
    }

    /// The patterns as they apply to paths below `root`: those with a slash that lie elsewhere are left out.
    pub fn below(&self, root: &Path) -> Vec<BString> {
        let root = root.as_os_str().as_bytes();
        self.patterns
            .iter()
            .filter_map(|pattern| {
                if !pattern.starts_with(b"/") {
                    return Some(pattern.clone());
                }
                let rest = pattern.strip_prefix(root)?.strip_prefix(b"/")?;
                Some(BString::from(rest))
            })
            .collect()
    }
}

impl Run<'_> {
    /// What a rule leaves alone: the `ignore:` section as far as it holds, and more patterns of its own.
    pub fn ignored(&self, own: &[BString]) -> Ignore {
        let mut patterns = own.to_vec();
        for rule in self.rules(Section::Ignore) {
            if self.ctx.holds(&rule.class) {
                patterns.extend(self.ctx.iterate(rule.promiser.as_bstr()));
            }
        }
        Ignore { patterns }
    }

    /// The disks that hold home directories: what `HomePattern` finds in the directories of `MountPattern`. Those of other
    /// machines, mounted here, are not among them.
    pub fn home_disks(&self) -> Vec<PathBuf> {
        let patterns = self.patterns("HomePattern");
        let mounts = super::mounts::Mounts::read().unwrap_or_default();
        let local = |path: &Path| !mounts.holding(path).is_some_and(super::mounts::Mount::is_remote);
        let places = self.patterns("MountPattern").into_iter();
        let places = places.flat_map(|place| expand(self.ctx.expand(place.as_bstr()).as_bstr()));
        let mut disks: Vec<PathBuf> = places
            .filter(|place| place.is_absolute() && local(place))
            .flat_map(|place| subdirectories(&place))
            .filter(|disk| local(disk))
            .filter(|disk| any_matches(&patterns, disk.file_name().unwrap_or_default().as_bytes().as_bstr()))
            .collect();
        disks.sort();
        disks.dedup();
        disks
    }

    /// What `home` means: each directory of the home disks, where `HomePattern` and `MountPattern` name such; otherwise
    /// the home directories of people ([`home_directories`]).
    pub fn homes(&self) -> Vec<PathBuf> {
        if self.patterns("HomePattern").is_empty() || self.patterns("MountPattern").is_empty() {
            return home_directories();
        }
        self.home_disks().iter().flat_map(|disk| subdirectories(disk)).collect()
    }

    /// The words of a control variable that hold patterns bound to classes (`CopyLinks`, `LinkCopies`, …).
    pub fn patterns(&self, name: &str) -> Vec<BString> {
        self.ctx.list(name)
    }
}

/// The directories in a directory, links left out, in byte order; `lost+found` is nobody's.
fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let Ok(dir) = Dir::open(path) else {
        return Vec::new();
    };
    let names = dir.names().unwrap_or_default().into_iter();
    names
        .filter(|name| name != "lost+found")
        .filter(|name| matches!(dir.look(name.as_bstr()), Ok(Some(meta)) if meta.is_dir()))
        .map(|name| path.join(name.as_path()))
        .collect()
}

/// Whether a path holds a wildcard.
pub fn is_pattern(path: &BStr) -> bool {
    path.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// The existing objects a path with wildcards means, in byte order. A path without wildcards is itself, existing or not.
/// Names that begin with a dot are matched by a pattern that begins with one.
pub fn expand(path: &BStr) -> Vec<PathBuf> {
    if !is_pattern(path) {
        return vec![path.as_path().to_path_buf()];
    }
    let mut found = vec![PathBuf::from(if path.starts_with(b"/") { "/" } else { "." })];
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let part = part.as_bstr();
        let mut next = Vec::new();
        for base in found {
            if !is_pattern(part) {
                let path = base.join(part.as_path());
                if path.symlink_metadata().is_ok() {
                    next.push(path);
                }
                continue;
            }
            let Ok(names) = Dir::open(&base).and_then(|dir| dir.names()) else {
                continue;
            };
            next.extend(
                names
                    .iter()
                    .filter(|name| matches(part, name) && (part.starts_with(b".") || !name.starts_with(b".")))
                    .map(|name| base.join(name.as_path())),
            );
        }
        found = next;
    }
    found
}

/// The last component of a path as an argument of a program that is started in its directory: no option, no path.
pub fn here(path: &Path) -> BString {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    [b"./", name].concat().into()
}

/// The home directories of people: of users with a number from 1000 on, and of root, where they exist.
pub fn home_directories() -> Vec<PathBuf> {
    let content = std::fs::read("/etc/passwd").unwrap_or_default();
    let mut homes: Vec<PathBuf> = content
        .lines()
        .filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let uid: u32 = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
            let person = uid == 0 || (1000..65534).contains(&uid);
            let home = fields.get(5)?.as_bstr().as_path();
            (person && home.is_absolute() && home.is_dir()).then(|| home.to_path_buf())
        })
        .collect();
    homes.sort();
    homes.dedup();
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_any_component_find_what_is_there() {
        let top = tempfile::tempdir().unwrap();
        for name in ["d1/f", "d2/f", "e/f", "d3/g", ".d/f"] {
            let path = top.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let pattern = format!("{}/d*/f", top.path().display());
        let found = expand(pattern.as_bytes().as_bstr());
        assert_eq!(found, [top.path().join("d1/f"), top.path().join("d2/f")]);
        assert_eq!(expand("/no/such".into()), [PathBuf::from("/no/such")]);
    }

    #[test]
    fn ignored_names_paths_and_patterns() {
        let ignore = Ignore {
            patterns: vec!["tmp".into(), "*.lock".into(), "/a/priv".into()],
        };
        for (path, wanted) in [
            ("/a/tmp", true),
            ("/a/x.lock", true),
            ("/a/priv", true),
            ("/a/s/priv", false),
        ] {
            assert_eq!(ignore.covers(Path::new(path)), wanted, "{path}");
        }
        assert_eq!(ignore.below(Path::new("/a")), ["tmp", "*.lock", "priv"]);
    }
}
