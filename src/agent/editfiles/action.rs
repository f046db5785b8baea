//! The action around the engine: which files, in what order, and how they are saved (cfengine2.md 15.1, 15.4).
//!
//! All groups for one file name become one edit, in text order, each with its class.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::save::{self, OnDisk};
use super::{Block, EditOptions, Edited, edit, warn_missing};
use crate::agent::Outcome;
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::job::BytesPath;
use crate::agent::report::RuleSwitches;
use crate::agent::{Job, Run, filters};
use crate::fsx::{Kind, Meta, Place, Select, scan};
use crate::policy::{Body, Rule, Section};

/// The line of the table.
pub static ACTION: Action = Action {
    name: "editfiles",
    section: Section::EditFiles,
    operator: "editfile",
    expand: whole,
    order: in_text_order,
    once: false,
    work: Work::All(work),
};

/// A directory named without `Recurse` is edited one level deep (22.2).
const ONE_LEVEL: u32 = 1;

/// Links to the edited file that are followed.
const MOST_LINKS: u32 = 16;

/// What earlier runs left beside the files; never edited in a sweep of a directory.
const LEFTOVERS: &[&str] = &["*.cfsaved", "*.cfdisabled", "*.cfnew", "*.cfedited"];

fn work(run: &mut Run<'_>, action: &'static Action) {
    let mut files: Vec<(BString, Vec<Job>)> = Vec::new();
    let mut numbers: HashMap<BString, usize> = HashMap::new();
    for job in run.jobs(action) {
        let number = *numbers.entry(job.object.clone()).or_insert(files.len());
        match files.get_mut(number) {
            Some((_, jobs)) => jobs.push(job),
            None => files.push((job.object.clone(), vec![job])),
        }
    }
    for (file, mut jobs) in files {
        jobs.retain(|job| run.begin(action, job));
        if jobs.is_empty() {
            continue;
        }
        let outcome = group(run, &file, &jobs);
        for job in &jobs {
            match outcome {
                Some(outcome) => run.record(job, outcome),
                None => run.left(job),
            }
            run.end(job);
        }
        run.report.rule = RuleSwitches::default();
        if run.stop.is_some() {
            return;
        }
    }
}

/// One file name with all its groups; `None`: nothing to be told of it.
fn group(run: &mut Run<'_>, file: &BString, jobs: &[Job]) -> Option<Outcome> {
    let blocks: Vec<Block<'_>> = jobs
        .iter()
        .filter_map(|job| match &job.rule.body {
            Body::Edit(commands) => Some(Block {
                class: &job.rule.class,
                commands,
            }),
            _ => None,
        })
        .collect();
    let umask = run.umask();
    let world = save::Machine::asking(run);
    let options = match EditOptions::read(&blocks, &world, umask) {
        Ok(mut options) => {
            options.padding = world.padding();
            options
        }
        Err(why) => {
            run.report.error(why);
            run.broken = true;
            return Some(Outcome::Failed);
        }
    };
    run.report.rule = RuleSwitches {
        inform: options.inform,
        syslog: options.syslog.map(|on| on && run.may_log()),
    };
    let mut outcome = None;
    for path in paths(run, file.as_bstr()) {
        let next = match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => directory(run, &path, &blocks, &options),
            _ => one(run, &path, &blocks, &options),
        };
        outcome = worse(outcome, next);
    }
    outcome
}

/// The file itself, or the same in every home directory.
fn paths(run: &Run<'_>, file: &BStr) -> Vec<PathBuf> {
    match file.strip_prefix(b"home/") {
        Some(rest) => run
            .homes()
            .into_iter()
            .map(|home| home.join(rest.as_bstr().as_path()))
            .collect(),
        None => vec![file.as_path().to_path_buf()],
    }
}

/// What to tell of two outcomes together.
fn worse(a: Option<Outcome>, b: Option<Outcome>) -> Option<Outcome> {
    let rank = |outcome: Option<Outcome>| match outcome {
        None => 0,
        Some(Outcome::Kept) => 1,
        Some(Outcome::Repaired) => 2,
        Some(Outcome::Failed) => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// Every chosen file of a directory.
fn directory(run: &mut Run<'_>, path: &Path, blocks: &[Block<'_>], options: &EditOptions) -> Option<Outcome> {
    let mut exclude = options.exclude.clone();
    exclude.extend(LEFTOVERS.iter().map(|pattern| BString::from(*pattern)));
    let select = Select {
        recurse: options.recurse.unwrap_or(ONE_LEVEL),
        include: options.include.clone(),
        exclude,
        ignore: run.ignored(&options.ignore).below(path),
        ..Select::default()
    };
    let mut troubles = Vec::new();
    let mut below = path.to_path_buf();
    // Links to directories are the administrator's choice at the top only.
    below.push(".");
    let entries = scan(&below, &select, &mut |name, error| {
        troubles.push(format!("Cannot read {}: {error}", path.join(name.as_path()).display()));
    });
    for trouble in troubles {
        run.report.error(trouble);
    }
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            run.report
                .error(format_args!("Cannot read {}: {error}", path.display()));
            return Some(Outcome::Failed);
        }
    };
    let mut worst = None;
    for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
        let outcome = one(run, &path.join(entry.path.as_path()), blocks, options);
        worst = worse(worst, outcome);
        if run.stop.is_some() {
            break;
        }
    }
    worst
}

/// One file.
fn one(run: &mut Run<'_>, path: &Path, blocks: &[Block<'_>], options: &EditOptions) -> Option<Outcome> {
    match try_one(run, path, blocks, options) {
        Ok(outcome) => outcome,
        Err(why) => {
            run.report.error(why);
            Some(Outcome::Failed)
        }
    }
}

fn try_one(
    run: &mut Run<'_>,
    path: &Path,
    blocks: &[Block<'_>],
    options: &EditOptions,
) -> Result<Option<Outcome>, String> {
    let shown = path.display();
    let place = follow(path).map_err(|why| format!("Cannot edit {shown}: {why}"))?;
    let shown = place.path.display().to_string();
    let look = place.look().map_err(|error| format!("Cannot edit {shown}: {error}"))?;
    let (meta, made) = match look {
        Some(meta) => (Some(meta), false),
        None => {
            if !options.auto_create {
                let name = save::name_of(&place.path);
                warn_missing(name.as_bstr(), blocks, &mut save::Machine::asking(run));
                run.report.verbose(format_args!(
                    "File {shown} does not exist and is not to be made (no AutoCreate)"
                ));
                return Ok(None);
            }
            let mode = 0o644 & !options.umask;
            run.report
                .say(run.doing(), format_args!("Creating file {shown}, mode {mode:o}"));
            run.show(&place.path, [format!("new file mode {mode:o}")]);
            if !run.dry {
                save::create(run, &place, mode).map_err(|error| format!("Cannot make {shown}: {error}"))?;
            }
            (
                place.look().map_err(|error| format!("Cannot edit {shown}: {error}"))?,
                true,
            )
        }
    };
    if let Some(meta) = &meta {
        let filters = filters::by_name(run, &options.filters)?;
        if !filters.pass(run, &place.dir, place.name(), &place.path, meta) {
            return Ok(None);
        }
    }
    let content = match &meta {
        Some(meta) => read(run, &place, meta, options)?,
        // A dry run: the file would be empty.
        None => Vec::new(),
    };
    let name = save::name_of(&place.path);
    let mut disk = OnDisk {
        place: &place,
        content: content.clone(),
        made,
        mtime: meta.as_ref().map(Meta::mtime),
        mode: meta.as_ref().map_or(0o644 & !options.umask, Meta::mode),
        saved: false,
    };
    let edited = edit(
        name.as_bstr(),
        &content,
        blocks,
        options,
        &mut save::Machine::editing(run, &mut disk, options),
    );
    let Edited {
        changed,
        by_script,
        failed,
        ..
    } = edited;
    if changed {
        disk.save(run, options, &edited.content)?;
    }
    let repaired = changed || by_script || made || disk.saved;
    let classes = if repaired {
        &options.define
    } else {
        &options.else_define
    };
    for list in classes {
        save::define_list(run, list.as_bstr());
    }
    Ok(Some(if failed {
        Outcome::Failed
    } else if repaired {
        Outcome::Repaired
    } else {
        Outcome::Kept
    }))
}

/// The file at the end of a chain of links. A link that somebody other than root or ourselves made is not followed: its
/// owner could make us edit any file.
fn follow(path: &Path) -> Result<Place, String> {
    let mut path: PathBuf = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let place = Place::of(&path).map_err(|error| error.to_string())?;
        let Some(meta) = place.look().map_err(|error| error.to_string())?.filter(Meta::is_link) else {
            return Ok(place);
        };
        let ours = nix::unistd::geteuid().as_raw();
        if meta.uid() != 0 && meta.uid() != ours {
            return Err(format!(
                "it is a link that user {} made, and is not followed",
                meta.uid()
            ));
        }
        let target = place.dir.read_link(place.name()).map_err(|error| error.to_string())?;
        path.pop();
        path.push(target.as_path());
    }
    Err("too many links".into())
}

fn read(run: &Run<'_>, place: &Place, meta: &Meta, options: &EditOptions) -> Result<Vec<u8>, String> {
    let shown = place.path.display();
    if !meta.is_file() {
        return Err(format!("{shown} is not a plain file, cannot edit it"));
    }
    let (name, default) = if options.binary {
        ("EditBinaryFileSize", 10_000_000)
    } else {
        ("EditFileSize", 10_000)
    };
    let limit = match run.ctx.get(name) {
        None => default,
        Some(text) => {
            let text = run.ctx.expand(text.as_bstr());
            let value = text.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
            value.ok_or_else(|| format!("{name} cannot be {text}"))?
        }
    };
    if limit > 0 && meta.size() > limit {
        return Err(format!(
            "File {shown} is bigger than the limit ({name} = {limit} bytes) and is not edited"
        ));
    }
    let file = place
        .dir
        .read(place.name())
        .map_err(|error| format!("Cannot read {shown}: {error}"))?;
    let mut content = Vec::with_capacity(usize::try_from(meta.size().min(1 << 20)).unwrap_or_default() + 1);
    // It may have grown since; without a limit in the policy there is one still.
    let most = if limit > 0 { limit } else { save::MOST_BYTES };
    file.take(most + 1)
        .read_to_end(&mut content)
        .map_err(|error: io::Error| format!("Cannot read {shown}: {error}"))?;
    if content.len() as u64 > most {
        return Err(format!("File {shown} is bigger than {most} bytes and is not edited"));
    }
    Ok(content)
}

/// The value of a setting among the commands of a rule, for whoever asks before the edit; the last one counts.
pub fn setting(run: &Run<'_>, rule: &Rule, name: &str) -> Option<BString> {
    let Body::Edit(commands) = &rule.body else { return None };
    let command = commands.iter().rev().find(|command| command.name == name)?;
    Some(run.ctx.expand(command.arg.as_bstr()))
}
