//! A copy from its manifest on: what has to be made, what has to be fetched, and doing it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use super::manner::{LinkType, Manner};
use super::spot::{Ahead, Early, Spot, Swept, Target};
use super::{failover, other, purge, write};
use crate::agent::job::BytesPath;
use crate::agent::perms::{Manner as PermManner, Wish};
use crate::agent::{Job, Outcome, Run};
use crate::fsx::{Digests, Dir, Entry, Kind, Meta, Node, Place, Source, SourceError, any_matches};

/// Links that lead to links are followed this far.
const MOST_LINKS: usize = 16;

/// One object of the source, and where it belongs.
pub(super) struct Item {
    /// Path below the destination; empty for the object itself.
    pub rel: BString,
    /// What the source says of it.
    pub entry: Entry,
    /// Which root it is fetched from.
    pub root: usize,
}

/// Everything one copy works with.
pub(super) struct Copy<'c> {
    pub job: &'c Job,
    pub manner: &'c Manner,
    /// `localhost`, or the server.
    pub host: String,
    /// Where things come from: the rule's source, and targets of links that are followed.
    pub roots: Vec<PathBuf>,
    pub target: Target,
    /// Only said, not done.
    pub dry: bool,
    /// What was here while the source was still looking.
    pub ahead: Ahead,
    /// Digests of what is here.
    pub sums: Rc<Digests>,
    /// The source checks content against the digests it gave.
    pub vouched: bool,
    pub swept: Swept,
    last_wish: RefCell<Option<(WishKey, Rc<Wish>)>>,
}

/// What the mode and owner of an object depend on: mode, owner and group at the source, and whether it is a directory.
type WishKey = (u32, u32, u32, bool);

impl Copy<'_> {
    /// The path of an object at the source, for messages.
    pub fn source_path(&self, item: &Item) -> PathBuf {
        join(&self.roots[item.root], item.entry.path.as_bstr())
    }

    /// The path of an object at the destination.
    pub fn target_path(&self, rel: &BStr) -> PathBuf {
        join(self.target.path(), rel)
    }

    /// The open directory an object belongs in, and its name there. `None` where that is not there, which only happens in
    /// a dry run.
    pub fn holder<'r>(&'r self, rel: &'r BStr) -> io::Result<Option<(Arc<Dir>, &'r BStr)>> {
        match &self.target {
            Target::One(dir, name, _) => Ok(Some((Arc::clone(dir), name.as_bstr()))),
            Target::Tree(branch, _) => match branch.holder(rel) {
                Ok(found) => Ok(Some(found)),
                Err(error) if self.dry && error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Target::Nowhere(_) => Ok(None),
        }
    }

    /// As [`Copy::holder`], with the path for messages.
    pub fn spot(&self, rel: &BStr) -> io::Result<Option<Spot>> {
        let spot = self.holder(rel)?.map(|(dir, name)| Spot {
            dir,
            name: name.to_owned(),
            path: self.target_path(rel),
        });
        Ok(spot)
    }

    /// What is at a place now, or was while the source was still looking.
    pub fn look(&self, rel: &BStr, dir: &Dir, name: &BStr) -> io::Result<Option<Meta>> {
        match self.ahead.seen(rel) {
            Some(meta) => Ok(meta),
            None => dir.look(name),
        }
    }

    /// Mode and owner an object should have; mostly the same for one after the other.
    pub fn wish(&self, entry: &Entry) -> Rc<Wish> {
        let key = (entry.mode, entry.uid, entry.gid, entry.kind == Kind::Dir);
        let mut last = self.last_wish.borrow_mut();
        match &*last {
            Some((of, wish)) if *of == key => Rc::clone(wish),
            _ => {
                let wish = Rc::new(self.manner.wish_for(entry));
                *last = Some((key, Rc::clone(&wish)));
                wish
            }
        }
    }

    /// The name of an object at the source.
    pub fn source_name<'i>(&'i self, item: &'i Item) -> &'i BStr {
        let path = &item.entry.path;
        if path.is_empty() {
            let name = self.roots[item.root].file_name();
            return name.map_or(b"".as_bstr(), |name| name.as_bytes().as_bstr());
        }
        path[path.rfind_byte(b'/').map_or(0, |at| at + 1)..].as_bstr()
    }
}

fn join(root: &Path, rel: &BStr) -> PathBuf {
    if rel.is_empty() {
        root.to_path_buf()
    } else {
        root.join(rel.as_path())
    }
}

/// Copies an object or a tree.
pub fn copy(run: &mut Run<'_>, job: &Job, manner: &Manner, source: &mut dyn Source, from: &Path, to: &Path) {
    if let Err(error) = attempt(run, job, manner, source, from, to) {
        say_failure(run, job, source.name(), from, &error);
    }
}

fn say_failure(run: &mut Run<'_>, job: &Job, host: &str, from: &Path, error: &SourceError) {
    let shown = from.display();
    match error {
        // Silent below inform: optional files per host are common (22.2, 24.1).
        SourceError::Missing => {
            run.report
                .verbose(format_args!("Can't stat {shown} in copy ({host}): {error}"));
            run.record(job, Outcome::Failed);
        }
        SourceError::Io(cause) => {
            run.report.error(format_args!("Cannot copy {shown}: {cause}"));
            failover(run, job);
        }
        other => {
            run.report.error(format_args!(
                "Cannot copy {host}:{shown}: {other}; what is here stays as it is"
            ));
            failover(run, job);
        }
    }
}

fn attempt(
    run: &mut Run<'_>,
    job: &Job,
    manner: &Manner,
    source: &mut dyn Source,
    from: &Path,
    to: &Path,
) -> Result<(), SourceError> {
    let to: PathBuf = to.components().collect();
    let (mut early, mut ahead) = (None, Ahead::default());
    let entries = source.manifest_while(from, &manner.select, &mut |entries| {
        early = Early::open(&to);
        ahead = early.as_ref().map(|early| early.look(entries)).unwrap_or_default();
    })?;
    let unread: Vec<BString> = source.unread().iter().map(|(path, _)| path.clone()).collect();
    for (path, why) in source.unread().to_vec() {
        run.report.error(format_args!(
            "Cannot read {}: {why}",
            join(from, path.as_bstr()).display()
        ));
        run.record(job, Outcome::Failed);
    }
    let mut copy = Copy {
        job,
        manner,
        host: source.name().to_string(),
        roots: vec![from.to_path_buf()],
        target: Target::Nowhere(to),
        dry: run.dry || manner.warn,
        ahead,
        sums: run.memory.sums(),
        vouched: source.vouches(),
        swept: Swept::default(),
        last_wish: RefCell::default(),
    };
    let mut items: Vec<Item> = entries
        .into_iter()
        .map(|entry| Item {
            rel: entry.path.clone(),
            entry,
            root: 0,
        })
        .collect();
    follow_links(run, source, &mut copy, &mut items)?;
    if !manner.filters.is_empty() {
        let local = crate::agent::sources::is_local(copy.host.as_str().into());
        // Directories are entered whatever the filters say, as in sweeps.
        items.retain(|item| {
            let path = join(&copy.roots[item.root], item.entry.path.as_bstr());
            item.entry.kind == Kind::Dir || manner.filters.pass_entry(run, &item.entry, &path, local)
        });
        if items.is_empty() {
            return Ok(());
        }
    }
    let Some(top) = items.first() else {
        return Err(SourceError::Missing);
    };
    let tree = top.entry.kind == Kind::Dir;
    if tree && manner.select.recurse == 0 {
        run.report.verbose(format_args!(
            "{} is a directory, and recurse= is not given: nothing is copied",
            from.display()
        ));
        return Ok(());
    }
    if !reach_target(run, &mut copy, &items[0], early, tree)? {
        return Ok(());
    }
    if tree && matches!(copy.target, Target::Nowhere(_)) {
        write::say_missing(run, &copy, &copy.target_path("".into()));
    }
    let wanted = plan(run, &copy, &items);
    write::fetch(run, &copy, source, &items, &wanted)?;
    if tree && manner.purge {
        purge::purge(run, &copy, &items, &unread);
    }
    Ok(())
}

/// Opens (and makes) the place of the destination. False where something else is there and may not be replaced.
fn reach_target(
    run: &mut Run<'_>,
    copy: &mut Copy<'_>,
    top: &Item,
    early: Option<Early>,
    tree: bool,
) -> Result<bool, SourceError> {
    let Target::Nowhere(to) = &copy.target else {
        return Ok(true);
    };
    let to = to.clone();
    let (opened, early) = match early {
        Some(early) => (Some(early.place), Some(early.top)),
        None => (None, None),
    };
    let place = if let Some(place) = opened {
        place
    } else if copy.dry {
        match Place::of(&to) {
            Ok(place) => place,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) if to == Path::new("/") && tree => {
                copy.target = Target::tree(Dir::open(&to).map_err(|_| error)?, to);
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
    } else if to == Path::new("/") && tree {
        copy.target = Target::tree(Dir::open(&to)?, to);
        return Ok(true);
    } else {
        let (place, made) = Place::with_parents(&to, 0o755)?;
        run.undo().made(&made);
        place
    };
    if !tree {
        copy.target = Target::one(place);
        return Ok(true);
    }
    let wish = copy.manner.wish_for(&top.entry);
    let dir = match early.map_or_else(|| place.dir.through(place.name()), Ok) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && !copy.manner.forcedirs => {
            mismatch(run, copy, top, &to);
            return Ok(false);
        }
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(error.into());
        }
        Err(_) if copy.dry => return Ok(true),
        Err(error) => {
            if error.kind() == io::ErrorKind::NotADirectory {
                let spot = Spot {
                    dir: Arc::new(place.dir.again()?),
                    name: place.name.clone(),
                    path: to.clone(),
                };
                write::set_aside(run, copy, &spot, false)?;
            }
            let mode = wish.mode_for(top.entry.mode, true);
            run.noting((&place.dir, place.name(), &to), || place.dir.mkdir(place.name(), mode))?;
            let dir = place.dir.dir(place.name())?;
            run.check_held(&dir.as_object()?, &to, &wish, PermManner::Fix("Object"))?;
            dir
        }
    };
    if copy.manner.checkroot && place.dir.meta(place.name())?.inode() == dir.self_meta()?.inode() {
        run.check_held(&dir.as_object()?, &to, &wish, PermManner::Fix("Object"))?;
    }
    copy.target = Target::tree(dir, to);
    Ok(true)
}

pub(super) fn mismatch(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item, to: &Path) {
    run.report.error(format_args!(
        "Image exists but src/dest type mismatch source={}, dest={}",
        copy.source_path(item).display(),
        to.display()
    ));
    run.record(copy.job, Outcome::Failed);
}

/// Replaces links that are to be followed by what they lead to.
fn follow_links(
    run: &mut Run<'_>,
    source: &mut dyn Source,
    copy: &mut Copy<'_>,
    items: &mut Vec<Item>,
) -> Result<(), SourceError> {
    let manner = copy.manner;
    let follows = |item: &Item| {
        item.entry.kind == Kind::Link
            && (manner.link_type == LinkType::Copy || any_matches(&manner.copy_links, copy.source_name(item)))
    };
    if !items.iter().any(follows) {
        return Ok(());
    }
    let mut out = Vec::new();
    for item in std::mem::take(items) {
        if !(item.entry.kind == Kind::Link
            && (manner.link_type == LinkType::Copy || any_matches(&manner.copy_links, copy.source_name(&item))))
        {
            out.push(item);
            continue;
        }
        let mut path = copy.source_path(&item);
        let mut target = item.entry.target.clone();
        let mut found = None;
        for _ in 0..MOST_LINKS {
            path = lexical(&path.parent().unwrap_or(Path::new("/")).join(target.as_path()));
            let mut select = manner.select.clone();
            select.include.clear();
            match source.manifest(&path, &select) {
                Ok(entries) if entries.first().is_some_and(|entry| entry.kind == Kind::Link) => {
                    target = entries.into_iter().next().map(|entry| entry.target).unwrap_or_default();
                }
                Ok(entries) => {
                    found = Some(entries);
                    break;
                }
                Err(SourceError::Missing) => break,
                Err(error) => return Err(error),
            }
        }
        let Some(entries) = found else {
            let shown = copy.source_path(&item);
            run.report
                .error(format_args!("Cannot copy {}: the link leads nowhere", shown.display()));
            run.record(copy.job, Outcome::Failed);
            continue;
        };
        copy.roots.push(path);
        let root = copy.roots.len() - 1;
        for entry in entries {
            let mut rel = item.rel.clone();
            if !rel.is_empty() && !entry.path.is_empty() {
                rel.push(b'/');
            }
            rel.extend_from_slice(&entry.path);
            out.push(Item { rel, entry, root });
        }
    }
    *items = out;
    Ok(())
}

/// A path without `.` and `x/..`, looked at as text: the source may be another machine.
pub(super) fn lexical(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// Goes through the manifest: makes directories, links and special files, repairs modes, and gives what has to be fetched.
fn plan(run: &mut Run<'_>, copy: &Copy<'_>, items: &[Item]) -> Vec<write::Fetch> {
    let mut wanted = Vec::new();
    let mut barred: Vec<BString> = Vec::new();
    let mut first_names: HashMap<(usize, (u64, u64)), usize> = HashMap::new();
    for (number, item) in items.iter().enumerate() {
        let below_barred = |bar: &BString| {
            item.rel
                .strip_prefix(bar.as_slice())
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        if barred.iter().any(below_barred) || (item.rel.is_empty() && item.entry.kind == Kind::Dir) {
            continue;
        }
        let result = match item.entry.kind {
            Kind::Dir => directory(run, copy, item).map(|entered| {
                if !entered {
                    barred.push(item.rel.clone());
                }
            }),
            Kind::File => {
                let key = (item.root, item.entry.inode);
                let first = (item.entry.nlink > 1).then(|| *first_names.entry(key).or_insert(number));
                match first {
                    Some(first) if first != number => {
                        wanted.push(write::Fetch::hard_link(number, first));
                        Ok(())
                    }
                    _ => write::decide(run, copy, items, number).map(|fetch| wanted.extend(fetch)),
                }
            }
            Kind::Link => other::link(run, copy, item),
            Kind::Fifo => other::special(run, copy, item, Node::Fifo),
            Kind::Socket => Ok(()),
            Kind::Char(device) => other::special(run, copy, item, Node::Char(device)),
            Kind::Block(device) => other::special(run, copy, item, Node::Block(device)),
        };
        if let Err(error) = result {
            let shown = copy.target_path(item.rel.as_bstr());
            run.report
                .error(format_args!("Cannot write {}: {error}", shown.display()));
            failover(run, copy.job);
        }
    }
    wanted
}

/// A directory of the tree. False where something else is there and may not be replaced.
fn directory(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item) -> io::Result<bool> {
    let Some(spot) = copy.spot(item.rel.as_bstr())? else {
        write::say_missing(run, copy, &copy.target_path(item.rel.as_bstr()));
        return Ok(true);
    };
    let name = spot.name.as_bstr();
    let wish = copy.wish(&item.entry);
    match copy.look(item.rel.as_bstr(), &spot.dir, name)? {
        Some(meta) if meta.is_dir() => {
            if (!copy.dry || run.dry)
                && run.check_object(&spot.dir, name, &spot.path, &meta, &wish, PermManner::Fix("Object"))?
            {
                run.mark(copy.job, Outcome::Repaired);
            }
            Ok(true)
        }
        Some(_) if copy.manner.typecheck && !copy.manner.forcedirs => {
            mismatch(run, copy, item, &spot.path);
            Ok(false)
        }
        other => {
            if copy.dry {
                write::say_missing(run, copy, &spot.path);
                return Ok(true);
            }
            if other.is_some() {
                write::set_aside(run, copy, &spot, false)?;
            }
            let mode = wish.mode_for(item.entry.mode, true);
            run.noting((&spot.dir, name, &spot.path), || spot.dir.mkdir(name, mode))?;
            let meta = spot.dir.meta(name)?;
            run.check_object(&spot.dir, name, &spot.path, &meta, &wish, PermManner::Fix("Object"))?;
            Ok(true)
        }
    }
}
