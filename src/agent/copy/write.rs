//! Files of a copy: deciding which are fetched, and putting each in place, whole or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bstr::{BString, ByteSlice};

use super::super::acl;
use super::failover;
use super::shown::{DIFF_LIMIT, diff_with_old, look_only, old_digest};
use super::spot::{Spot, Target};
use super::tree::{Copy, Item, mismatch};
use crate::agent::event::Digest;
use crate::agent::job::BytesPath;
use crate::agent::perms::Manner as PermManner;
use crate::agent::report::Level;
use crate::agent::undo::Will;
use crate::agent::{Outcome, Run, diff, generation};
use crate::fsx::{
    self, Again, Backup, Fresh, LARGE, Meta, Place, Source, SourceError, Wanted, any_matches, place_hard_link,
};

/// New files up to this size are written by a thread of their own.
const SMALL: u64 = 64 * 1024;

/// A file that is wanted.
pub(super) struct Fetch {
    /// The number of its item.
    item: usize,
    /// It is another name of this item.
    link_to: Option<usize>,
    /// Something was there before.
    update: bool,
}

impl Fetch {
    /// A second name of a file of the same tree.
    pub fn hard_link(item: usize, first: usize) -> Fetch {
        Fetch {
            item,
            link_to: Some(first),
            update: false,
        }
    }
}

/// Says what a dry run would do, or what a rule that only warns leaves; such lines have no prefix (observed).
pub(super) fn say_need(run: &mut Run<'_>, copy: &Copy<'_>, text: &str) {
    run.report.bare(Level::Silent, text.as_bytes());
    if run.dry {
        run.mark(copy.job, Outcome::Repaired);
    } else {
        run.left(copy.job);
    }
}

/// Says of something that is not there that it is needed.
pub(super) fn say_missing(run: &mut Run<'_>, copy: &Copy<'_>, path: &Path) {
    let text = format!("Need this: {} wasn't at destination (copying)", path.display());
    say_need(run, copy, &text);
}

/// Whether a plain file has to be fetched. One that does not gets its mode and owner repaired here.
pub(super) fn decide(run: &mut Run<'_>, copy: &Copy<'_>, items: &[Item], number: usize) -> io::Result<Option<Fetch>> {
    let item = &items[number];
    let rel = item.rel.as_bstr();
    let name = copy.source_name(item);
    // Made only for what is done or said: most files are as they should be.
    let shown = || copy.target_path(rel);
    if any_matches(&copy.manner.symlink, name) {
        let target = BString::from(copy.source_path(item).as_os_str().as_encoded_bytes());
        super::other::make_link(run, copy, item, target.as_bstr())?;
        return Ok(None);
    }
    if let Some(why) = copy.manner.unfit(item.entry.size) {
        run.report.inform(format_args!(
            "Source file {} {why} in copy (omitting)",
            copy.source_path(item).display()
        ));
        return Ok(None);
    }
    let single = &copy.manner.single;
    let once =
        |path: &Path| any_matches(single, name) || any_matches(single, path.as_os_str().as_encoded_bytes().into());
    if !single.is_empty() && once(&shown()) && !run.written.insert(shown()) {
        run.report.verbose(format_args!(
            "{} was written before in this run (SingleCopy)",
            shown().display()
        ));
        return Ok(None);
    }
    let Some((dir, name)) = copy.holder(rel)? else {
        say_missing(run, copy, &shown());
        return Ok(wanted(run, copy, number, false));
    };
    match copy.look(rel, &dir, name)? {
        None => {
            let shown = shown();
            run.report
                .verbose(format_args!("{} wasn't at destination (copying)", shown.display()));
            auto_define(run, &shown);
            if copy.dry {
                say_missing(run, copy, &shown);
            }
            Ok(wanted(run, copy, number, false))
        }
        Some(meta) if !meta.is_file() && copy.manner.typecheck => {
            mismatch(run, copy, item, &shown());
            Ok(None)
        }
        Some(meta) if !meta.is_file() || copy.manner.differs(&item.entry, (&dir, name), &meta, &copy.sums)? => {
            let shown = shown();
            auto_define(run, &shown);
            if copy.dry {
                let (source, host) = (copy.source_path(item), &copy.host);
                say_need(
                    run,
                    copy,
                    &format!(
                        "Need this: update of image {} from master {} on {host}",
                        shown.display(),
                        source.display()
                    ),
                );
            }
            Ok(wanted(run, copy, number, true))
        }
        Some(meta) => {
            let wish = copy.wish(&item.entry);
            let manner = PermManner::Fix("Object");
            if (!copy.dry || run.dry)
                && !wish.is_met_by(&meta)
                && run.check_object(&dir, name, &shown(), &meta, &wish, manner)?
            {
                run.mark(copy.job, Outcome::Repaired);
                run.record_classes(copy.job, Outcome::Kept);
            } else {
                run.record(copy.job, Outcome::Kept);
            }
            Ok(None)
        }
    }
}

/// In a dry run content is fetched only to be shown, or to tell its digest.
fn wanted(run: &Run<'_>, copy: &Copy<'_>, item: usize, update: bool) -> Option<Fetch> {
    (!copy.dry || run.options.diff || run.report.listens()).then_some(Fetch {
        item,
        link_to: None,
        update,
    })
}

/// `AutoDefine`: classes set because a file of that name is about to be copied.
fn auto_define(run: &mut Run<'_>, path: &Path) {
    let bound = run.ctx.bound("AutoDefine");
    for (class, pattern) in bound {
        let pattern = run.ctx.expand(pattern.as_bstr());
        if fsx::matches(&pattern, path.as_os_str().as_encoded_bytes()) {
            run.define(class.text());
        }
    }
}

/// Fetches everything that is wanted in one stream for each root, and puts it in place.
pub(super) fn fetch(
    run: &mut Run<'_>,
    copy: &Copy<'_>,
    source: &mut dyn Source,
    items: &[Item],
    wanted: &[Fetch],
) -> Result<(), SourceError> {
    let mut batch = generation::Batch::for_copy(run, &copy.target_path("".into()));
    for (root, path) in copy.roots.iter().enumerate() {
        let fetches: Vec<&Fetch> = wanted
            .iter()
            .filter(|fetch| fetch.link_to.is_none() && items[fetch.item].root == root)
            .collect();
        if fetches.is_empty() {
            continue;
        }
        let entries: Vec<_> = fetches.iter().map(|fetch| &items[fetch.item].entry).collect();
        let mut at = 0;
        let mut here = |number: usize| match fetches.get(number) {
            Some(fetch) => olds(copy, &items[fetch.item], fetch.update),
            None => Vec::new(),
        };
        let fetched = source.fetch_over(path, &entries, &mut here, &mut |_, content| {
            // They come in the order they were asked for.
            let Some(fetch) = fetches.get(at) else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "more files came than were asked for",
                ));
            };
            if deliver(run, copy, &items[fetch.item], fetch.update, content, &mut batch) {
                at += 1;
            }
            if batch.is_full() {
                batch.commit(run, copy.job)
            } else {
                Ok(())
            }
        });
        if let Err(error) = fetched {
            // What came whole before the stream broke is kept, but half a policy is not.
            if !batch.is_policy() {
                batch.commit(run, copy.job)?;
            }
            return Err(error);
        }
    }
    batch.commit(run, copy.job)?;
    for fetch in wanted {
        if let Some(first) = fetch.link_to
            && let Err(error) = second_name(run, copy, &items[fetch.item], &items[first])
        {
            let shown = copy.target_path(items[fetch.item].rel.as_bstr());
            run.report
                .error(format_args!("Cannot link {}: {error}", shown.display()));
            failover(run, copy.job);
        }
    }
    Ok(())
}

/// What is here of a file: the one that has its name, and what an earlier run has left of it.
fn olds(copy: &Copy<'_>, item: &Item, update: bool) -> Vec<File> {
    let Ok(Some((dir, name))) = copy.holder(item.rel.as_bstr()) else {
        return Vec::new();
    };
    let old = update.then(|| dir.read(name).ok()).flatten();
    old.into_iter().chain(fsx::parts(&dir, name)).collect()
}

/// Takes the content of one file. What goes wrong is said; the rest of the stream still comes. False where the same file
/// comes once more.
fn deliver(
    run: &mut Run<'_>,
    copy: &Copy<'_>,
    item: &Item,
    update: bool,
    content: Result<&mut dyn Read, SourceError>,
    batch: &mut generation::Batch,
) -> bool {
    let source = copy.source_path(item);
    let result = match content {
        Ok(reader) => write(run, copy, item, update, reader, batch),
        Err(SourceError::Missing) => {
            run.report
                .verbose(format_args!("{} went away while it was copied", source.display()));
            run.record(copy.job, Outcome::Failed);
            return true;
        }
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    match result {
        Ok(()) => {}
        Err(error) if Again::is(&error) => return false,
        Err(error) => {
            let (source, to) = (source.display(), copy.target_path(item.rel.as_bstr()));
            let host = &copy.host;
            run.report.error(format_args!(
                "Cannot copy {host}:{source} to {}: {error}; the old file stays",
                to.display()
            ));
            failover(run, copy.job);
        }
    }
    true
}

/// Content that came.
enum Came<'a> {
    /// Into a new file.
    Written(Box<Fresh<'a>>),
    /// Small; it is written while more comes.
    Here(Vec<u8>),
}

/// Writes one file; it is put in place with its batch.
fn write(
    run: &mut Run<'_>,
    copy: &Copy<'_>,
    item: &Item,
    update: bool,
    reader: &mut dyn Read,
    batch: &mut generation::Batch,
) -> io::Result<()> {
    let spot = copy.spot(item.rel.as_bstr())?;
    let shown = copy.target_path(item.rel.as_bstr());
    if copy.dry {
        return look_only(run, copy, item, spot.as_ref(), &shown, reader);
    }
    let Some(spot) = spot else { return Ok(()) };
    let name = spot.name.as_bstr();
    if copy.swept.moves_to(&spot.dir) {
        run.sweep(&spot.dir);
    }
    // What was not there is not looked for again; if it is there by now, it is kept when its turn comes.
    let old = if update { spot.dir.look(name)? } else { None };
    let wish = copy.wish(&item.entry);
    let mode = wish.mode_for(item.entry.mode, false);
    let times = copy
        .manner
        .preserve_times
        .then_some((item.entry.mtime, item.entry.mtime));
    let acl = match &wish.acl {
        Some(wish) => {
            let old = old.filter(Meta::is_file).and_then(|_| spot.dir.object(name).ok());
            Some((acl::ACCESS, acl::for_new(wish, old.as_ref(), mode)?))
        }
        None => None,
    };
    let vouched = copy.vouched && item.entry.digest.is_some() && !run.report.listens();
    let wanted = Wanted {
        mode,
        uid: wish.owners.first().copied(),
        gid: wish.groups.first().copied(),
        times,
        size: None,
        digest: item.entry.digest.filter(|_| !vouched),
        carry: true,
        fresh: !update,
        attribute: acl,
    };
    let large = copy.vouched && item.entry.size >= LARGE;
    let by_the_writer = vouched && wanted.fresh && wanted.attribute.is_none() && item.entry.size <= SMALL;
    let came = if by_the_writer && !run.options.diff && !batch.is_policy() {
        let mut content = Vec::with_capacity(item.entry.size as usize + 1);
        reader.read_to_end(&mut content)?;
        Came::Here(content)
    } else {
        let mut fresh = match large {
            true => Fresh::in_parts(&spot.dir, name)?,
            false => Fresh::new(&spot.dir)?,
        };
        if vouched {
            fresh = fresh.vouched();
        }
        if run.options.diff && item.entry.size <= DIFF_LIMIT {
            let mut new = Vec::new();
            reader.take(DIFF_LIMIT + 1).read_to_end(&mut new)?;
            diff_with_old(run, Some(&spot), &shown, &new);
            fresh.fill(&mut new.as_slice())?;
        }
        if let Err(error) = fresh.fill(reader) {
            if large && error.kind() == io::ErrorKind::StorageFull {
                // What was left of it may be what there is no room for.
                fsx::drop_parts(&spot.dir, name, None);
            }
            return Err(error);
        }
        Came::Written(Box::new(fresh))
    };
    let made = match &came {
        Came::Written(fresh) => fresh.digest(),
        Came::Here(_) => None,
    };
    let news = made.filter(|_| run.report.listens()).map(|digest| {
        let before = old_digest(Some(&spot));
        (before, Digest(digest))
    });
    match old.filter(Meta::is_file) {
        Some(old) => run.show(&shown, diff::mode(old.mode(), mode)),
        None => run.show(&shown, [format!("new file mode {mode:o}")]),
    }
    if old.is_some_and(|old| old.is_dir()) {
        set_aside(run, copy, &spot, true)?;
    }
    let keep = copy
        .manner
        .backup(&shown, &run.kept)
        .filter(|_| !update || old.is_some_and(|old| !old.is_dir()));
    let source = copy.source_path(item);
    let from = format!("{}:{}", copy.host, source.display());
    let mut said = Vec::new();
    if update {
        let (shown, source, host) = (shown.display(), source.display(), &copy.host);
        said.push(format!("Updated image {shown} from master {source} on {host}"));
    } else {
        said.push(format!("Copying from {from}"));
    }
    // The original writes with mode 600 and repairs it afterwards; the words are kept, the file never had that mode.
    if mode != 0o600 {
        let text = format!("Object {} had permission 600, changed it to {mode:o}", shown.display());
        said.push(text);
    }
    let will = item.entry.digest.or(made).map(|digest| Will::of(&wanted, &digest));
    let said = generation::Said { from, said, news, will };
    let temp = match came {
        Came::Here(content) => batch.write(&spot, content, wanted)?,
        Came::Written(fresh) => fresh.stage(name, &wanted)?,
    };
    if large {
        fsx::drop_parts(&spot.dir, name, Some(temp.as_bstr()));
    }
    batch.add(temp, item.entry.size, &spot, keep, said);
    Ok(())
}

/// Gives a file its second name, as at the source.
fn second_name(run: &mut Run<'_>, copy: &Copy<'_>, item: &Item, first: &Item) -> io::Result<()> {
    let (Some(to), Some(from)) = (copy.spot(item.rel.as_bstr())?, copy.spot(first.rel.as_bstr())?) else {
        say_missing(run, copy, &copy.target_path(item.rel.as_bstr()));
        return Ok(());
    };
    let Some(original) = from.dir.look(from.name.as_bstr())? else {
        return Ok(());
    };
    let old = to.dir.look(to.name.as_bstr())?;
    if old.is_some_and(|old| old.inode() == original.inode()) {
        run.record(copy.job, Outcome::Kept);
        return Ok(());
    }
    if old.is_some_and(|old| !old.is_file()) {
        mismatch(run, copy, item, &to.path);
        return Ok(());
    }
    if copy.dry {
        say_missing(run, copy, &to.path);
        return Ok(());
    }
    run.sweep(&to.dir);
    run.report.inform(format_args!(
        "Hardlinking files {} -> {}",
        to.path.display(),
        from.path.display()
    ));
    let place = |spot: Spot| -> io::Result<Place> {
        Ok(Place {
            dir: spot.dir.again()?,
            name: spot.name,
            path: spot.path,
        })
    };
    let (from, to) = (place(from)?, place(to)?);
    run.noting((&to.dir, to.name(), &to.path), || place_hard_link(&from, &to))?;
    run.record(copy.job, Outcome::Repaired);
    Ok(())
}

/// Moves what is in the way aside; only reached where the rule allows replacing one kind of object by another.
///
/// With `over` the new object is going to be renamed over the old one, so that the name is never without an object.
pub(super) fn set_aside(run: &mut Run<'_>, copy: &Copy<'_>, spot: &Spot, over: bool) -> io::Result<()> {
    let mut keep = Backup::beside(&spot.path);
    keep.stamp = copy.manner.stamp.clone();
    keep.kept = run.kept.clone();
    if let Target::Tree(branch, _) = &copy.target {
        branch.forget();
    }
    let saved = keep.name_of(spot.name.as_bstr());
    run.report.inform(format_args!(
        "Moving {} to {}",
        spot.path.display(),
        spot.path.with_file_name(saved.as_path()).display()
    ));
    let name = spot.name.as_bstr();
    if over && !spot.dir.meta(name)?.is_dir() {
        return fsx::save(&spot.dir, name, &keep).map(|_| ());
    }
    let aside = spot.path.with_file_name(saved.as_path());
    run.moving((&spot.dir, name, &spot.path), &aside, || {
        spot.dir.rename(name, &spot.dir, saved.as_bstr())
    })
}
