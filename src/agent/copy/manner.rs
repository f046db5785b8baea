//! How a copy rule wants things done.

use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use crate::agent::filters;
use crate::agent::job::{self, BadAttr, BytesPath};
use crate::agent::mode::ModeChange;
use crate::agent::perms::Wish;
use crate::agent::{Job, Run};
use crate::fsx::{Backup, Digests, Dir, Entry, Kept, Meta, Select};

/// When a file that is there counts as changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The source's inode or content changed later than the destination's inode (22.2).
    Ctime,
    /// The source's content changed later.
    Mtime,
    /// The content differs.
    Content,
    /// Any of these.
    Any,
}

/// What becomes of symbolic links of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// The same link.
    Symbolic,
    /// A link to the absolute path.
    Absolute,
    /// A link to the relative path.
    Relative,
    /// What the link leads to.
    Copy,
}

/// `size=`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// `<N`
    Below(u64),
    /// `N`
    Exactly(u64),
    /// `>N`
    Above(u64),
}

/// How a rule wants its copies.
pub struct Manner {
    pub select: Select,
    pub ignore: crate::agent::objects::Ignore,
    pub filters: filters::Filters,
    pub compare: Compare,
    pub wish: Wish,
    /// The rule has a mode of its own; otherwise the source's counts.
    pub owners_given: bool,
    pub groups_given: bool,
    pub keep: bool,
    pub stamp: Option<jiff::Zoned>,
    pub repository: Option<(PathBuf, u8)>,
    pub force: bool,
    pub purge: bool,
    pub typecheck: bool,
    /// What is in the way of a directory is moved aside.
    pub forcedirs: bool,
    pub preserve_times: bool,
    pub checkroot: bool,
    pub stealth: bool,
    pub size: Option<Size>,
    pub link_type: LinkType,
    /// Files that become links to the source.
    pub symlink: Vec<BString>,
    /// Links whose targets are copied.
    pub copy_links: Vec<BString>,
    /// Destinations that are written only once in a run.
    pub single: Vec<BString>,
    /// `action=warn`: said only.
    pub warn: bool,
}

/// How files are compared: what the attribute says, or `DefaultCopyType`.
fn compare(run: &Run<'_>, rule: &Job, attribute: &str) -> Result<Compare, BadAttr> {
    let given = run.value(rule, attribute).filter(|word| !word.is_empty());
    let kind = given
        .or_else(|| run.setting("DefaultCopyType"))
        .unwrap_or_default()
        .to_ascii_lowercase();
    Ok(match kind.as_slice() {
        b"" | b"ctime" => Compare::Ctime,
        b"mtime" => Compare::Mtime,
        b"checksum" | b"sum" | b"byte" | b"binary" => Compare::Content,
        b"any" => Compare::Any,
        other => return Err(BadAttr(format!("Unknown copy type {}", other.as_bstr()))),
    })
}

impl Manner {
    /// What a rule says, with the defaults of `control:`.
    pub fn of(run: &Run<'_>, rule: &Job) -> Result<Manner, BadAttr> {
        let purge = run.flag(rule, "purge", false);
        let word = |name| run.value(rule, name).unwrap_or_default().to_ascii_lowercase();
        let compare = compare(run, rule, "type")?;
        let link_type = match word("linktype").as_slice() {
            b"" | b"symbolic" => LinkType::Symbolic,
            b"absolute" | b"abs" => LinkType::Absolute,
            b"relative" | b"rel" => LinkType::Relative,
            b"copy" | b"none" => LinkType::Copy,
            other => return Err(BadAttr(format!("Illegal link type {} in copy", other.as_bstr()))),
        };
        let wish = run.wish(rule)?;
        let ignore = run.ignored(&run.values(rule, "ignore"));
        let backup = word("backup");
        Ok(Manner {
            filters: filters::named(run, rule).map_err(BadAttr)?,
            select: Select {
                recurse: run.recurse(rule)?,
                include: run.values(rule, "include"),
                exclude: [run.values(rule, "exclude"), run.patterns("ExcludeCopy")].concat(),
                ignore: ignore.below(rule.path()),
                xdev: run.flag(rule, "xdev", false),
                digest: matches!(compare, Compare::Content | Compare::Any),
            },
            ignore,
            compare,
            owners_given: !wish.owners.is_empty(),
            groups_given: !wish.groups.is_empty(),
            wish,
            keep: job::boolean(&backup) != Some(false),
            stamp: (backup == b"timestamp").then(|| run.now.clone()),
            repository: repository(run, rule),
            force: run.flag(rule, "force", false),
            purge,
            typecheck: run.flag(rule, "typecheck", true) && !purge,
            forcedirs: run.flag(rule, "forcedirs", false) || purge,
            preserve_times: matches!(word("timestamps").as_slice(), b"preserve" | b"keep"),
            checkroot: run.flag(rule, "checkroot", false),
            stealth: run.flag(rule, "stealth", false),
            size: match run.value(rule, "size") {
                Some(text) => Some(size(&text)?),
                None => None,
            },
            link_type,
            symlink: [run.values(rule, "symlink"), run.patterns("LinkCopies")].concat(),
            copy_links: run.patterns("CopyLinks"),
            single: run.patterns("SingleCopy"),
            warn: word("action") == b"warn",
        })
    }

    /// A copy without attributes, for `copy=` of a link rule; that may say how to compare (`copytype=`).
    pub fn plain(run: &Run<'_>, rule: &Job) -> Result<Manner, BadAttr> {
        Ok(Manner {
            select: Select::default(),
            ignore: crate::agent::objects::Ignore::default(),
            filters: filters::Filters::default(),
            compare: compare(run, rule, "copytype")?,
            wish: Wish::default(),
            owners_given: false,
            groups_given: false,
            keep: true,
            stamp: None,
            repository: control_repository(run),
            force: false,
            purge: false,
            typecheck: true,
            forcedirs: false,
            preserve_times: false,
            checkroot: false,
            stealth: false,
            size: None,
            link_type: LinkType::Copy,
            symlink: Vec::new(),
            copy_links: Vec::new(),
            single: Vec::new(),
            warn: false,
        })
    }

    /// Mode and owner an object of the source should have here: the source's own, changed by what the rule says. Only
    /// root can give files away.
    pub fn wish_for(&self, entry: &Entry) -> Wish {
        let root = nix::unistd::geteuid().is_root();
        let mut wish = self.wish.clone();
        let is_dir = entry.kind == crate::fsx::Kind::Dir;
        wish.mode = Some(ModeChange::exactly(self.wish.mode_for(entry.mode, is_dir)));
        // The x bits are in the mode already.
        wish.rxdirs = false;
        if !self.owners_given && root {
            wish.owners = vec![entry.uid];
        }
        if !self.groups_given && root {
            wish.groups = vec![entry.gid];
        }
        wish
    }

    /// How the old file is kept.
    pub fn backup(&self, path: &Path, kept: &Kept) -> Option<Backup> {
        self.keep.then(|| Backup {
            kept: kept.clone(),
            stamp: self.stamp.clone(),
            repository: self.repository.clone(),
            ..Backup::beside(path)
        })
    }

    /// Whether a plain file that is there has to be copied again.
    pub fn differs(
        &self,
        entry: &Entry,
        (dir, name): (&Dir, &BStr),
        meta: &Meta,
        sums: &Digests,
    ) -> std::io::Result<bool> {
        let mtime = entry.mtime > meta.mtime();
        let ctime = entry.ctime > meta.ctime() || mtime;
        let content = || -> std::io::Result<bool> {
            if entry.size != meta.size() {
                return Ok(true);
            }
            match entry.digest {
                Some(digest) => Ok(sums.of(dir, name, meta, &mut || Ok(()))?.digest != digest),
                // It could not be read there; fetching it will say why.
                None => Ok(true),
            }
        };
        Ok(self.force
            || match self.compare {
                Compare::Ctime => ctime,
                Compare::Mtime => mtime,
                Compare::Content => content()?,
                Compare::Any => ctime || content()?,
            })
    }

    /// Why a file of that size is left out.
    pub fn unfit(&self, size: u64) -> Option<String> {
        match self.size? {
            Size::Below(limit) if size > limit => Some(format!("is > {limit} bytes")),
            Size::Above(limit) if size < limit => Some(format!("is < {limit} bytes")),
            Size::Exactly(wanted) if size != wanted => Some(format!("is not {wanted} bytes")),
            _ => None,
        }
    }
}

fn size(text: &[u8]) -> Result<Size, BadAttr> {
    let bad = || BadAttr(format!("Illegal size {}", text.as_bstr()));
    let number = |text: &[u8]| job::size(text, 1).ok_or_else(bad);
    match text.first() {
        Some(b'<') => Ok(Size::Below(number(&text[1..])?)),
        Some(b'>') => Ok(Size::Above(number(&text[1..])?)),
        _ => Ok(Size::Exactly(number(text)?)),
    }
}

/// The repository of `control:` and its character for `/`.
fn control_repository(run: &Run<'_>) -> Option<(PathBuf, u8)> {
    let dir = run.ctx.get("Repository")?;
    let dir = run.ctx.expand(dir.as_bstr());
    dir.starts_with(b"/")
        .then(|| (dir.as_path().to_path_buf(), rep_char(run)))
}

fn rep_char(run: &Run<'_>) -> u8 {
    run.ctx
        .get("RepChar")
        .and_then(|text| text.first().copied())
        .filter(|byte| *byte != b'/')
        .unwrap_or(b'_')
}

/// The repository a rule names, or that of `control:`; `none` and `off` mean no repository.
pub fn repository(run: &Run<'_>, rule: &Job) -> Option<(PathBuf, u8)> {
    match run.value(rule, "repository") {
        Some(word) if matches!(word.to_ascii_lowercase().as_slice(), b"none" | b"off") => None,
        Some(dir) => Some((dir.as_path().to_path_buf(), rep_char(run))),
        None => control_repository(run),
    }
}
