//! `copy:`: files and trees from this machine or a server (cfengine2.md 14.1). One manifest, one stream of what is
//! missing, each file whole or not at all.
//!
//! | file | owns |
//! |---|---|
//! | `manner` | how a rule wants it: [`Manner`], and when a file counts as changed |
//! | `spot` | the directories of the destination, each opened once |
//! | `tree` | from a manifest to what has to be done, and doing it |
//! | `other` | links, pipes and devices |
//! | `write` | putting one file in place |
//! | `shown` | showing what comes of a file |
//! | `purge` | what is in the destination but not in the source |

mod manner;
mod other;
mod purge;
mod shown;
mod spot;
mod tree;
mod write;

use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::action::{self, Action, Work};
use super::job::BytesPath;
use super::sources::{OpenOptions, is_local};
use super::{Job, Outcome, Run};
use crate::fsx::{Local, SourceError};
use crate::policy::{Rule, Section};
use manner::Manner;
pub(super) use spot::Spot;

/// The action.
pub static ACTION: Action = Action {
    name: "copy",
    section: Section::Copy,
    operator: "copy",
    expand,
    order: action::in_text_order,
    once: false,
    work: Work::Each(run),
};

/// Source and destination iterate in step where both are lists (2.2.2, quirk QN1).
fn expand(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    let dest = rule
        .attrs
        .get("destination")
        .map(|attr| attr.value.clone())
        .unwrap_or_default();
    let mut pairs = Vec::new();
    for (source, dest) in run.ctx.iterate_tied(rule.promiser.as_bstr(), dest.as_bstr()) {
        match dest.strip_prefix(b"home") {
            Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
                for home in run.homes() {
                    let mut path = BString::from(home.as_os_str().as_encoded_bytes());
                    path.extend_from_slice(rest);
                    pairs.push((source.clone(), path));
                }
            }
            _ => pairs.push((source, dest)),
        }
    }
    pairs
}

fn run(run: &mut Run<'_>, job: &Job) {
    if !run.is_absolute(job) {
        return;
    }
    let manner = match Manner::of(run, job) {
        Ok(manner) => manner,
        Err(bad) => {
            run.bad_attr(job, &bad);
            return run.record(job, Outcome::Failed);
        }
    };
    if !job.other.starts_with(b"/") {
        let why = super::job::BadAttr(format!("Image {} needs an absolute pathname", job.other));
        run.bad_attr(job, &why);
        return run.record(job, Outcome::Failed);
    }
    let servers = match job.rule.attrs.get("server") {
        Some(attr) => run.ctx.iterate(attr.value.as_bstr()),
        None => vec!["localhost".into()],
    };
    for server in servers {
        run.ctx.set("this", server.clone());
        first_of(run, job, &manner, server.as_bstr());
    }
}

/// `server=one|two|three`: from the first of them that answers.
fn first_of(run: &mut Run<'_>, job: &Job, manner: &Manner, servers: &BStr) {
    let names = servers.split(|byte| *byte == b'|').map(|name| name.trim().as_bstr());
    let names: Vec<&BStr> = names.filter(|name| !name.is_empty()).collect();
    // No name at all is this machine.
    let names = if names.is_empty() {
        vec!["localhost".into()]
    } else {
        names
    };
    let mut failed = Vec::new();
    for (at, server) in names.iter().enumerate() {
        let told = run.dead_servers.contains_key(*server);
        let Err(error) = from_server(run, job, manner, server) else {
            return;
        };
        if let Some(next) = names.get(at + 1) {
            let text = format!("{server}: {error}; trying {next}");
            match told {
                true => run.report.verbose(text),
                false => run.report.inform(text),
            }
        }
        if let SourceError::Unreachable(why) | SourceError::Authentication(why) = &error {
            run.dead_servers.insert((*server).to_owned(), why.clone());
        }
        failed.push((server, error, told));
    }
    if let Some((server, error, told)) = failed.pop() {
        for (server, error, _) in failed.iter().filter(|(_, _, told)| !told) {
            run.report.error(format_args!("{server}: {error}"));
        }
        refused(run, job, server, &error, told);
    }
}

/// Copies one file of this machine, for `links:` with `copy=`.
pub fn one_file(run: &mut Run<'_>, job: &Job, from: &Path, to: &Path) {
    let manner = match Manner::plain(run, job) {
        Ok(manner) => manner,
        Err(bad) => {
            run.bad_attr(job, &bad);
            return run.record(job, Outcome::Failed);
        }
    };
    let mut local = Local::new(false).remembering(run.memory.sums());
    tree::copy(run, job, &manner, &mut local, from, to);
}

/// Copies from one server. An error is one of the connection; what goes wrong later is told.
fn from_server(run: &mut Run<'_>, job: &Job, manner: &Manner, server: &BStr) -> Result<(), SourceError> {
    let (from, to) = (job.path(), job.other.as_path());
    if is_local(server) && !run.options.force_net_copy {
        let mut local = Local::new(manner.stealth).remembering(run.memory.sums());
        tree::copy(run, job, manner, &mut local, from, to);
        return Ok(());
    }
    if let Some(why) = run.dead_servers.get(server) {
        return Err(SourceError::Unreachable(why.clone()));
    }
    let options = OpenOptions {
        trust: run.flag(job, "trustkey", false),
        encrypt: run.flag(job, "encrypt", false),
        ipv4_only: run.flag(job, "forceipv4", false),
        stealth: manner.stealth,
        ..OpenOptions::of(run)
    };
    // Taken out while the source lives: the source borrows it, and everything else of the run is needed meanwhile.
    let Some(sources) = run.sources.take() else {
        return Ok(());
    };
    let opened = sources.open(server, &options).map(|mut source| {
        tree::copy(run, job, manner, source.as_mut(), from, to);
    });
    for note in sources.take_notes() {
        run.report.error(note);
    }
    run.sources = Some(sources);
    opened
}

/// A server could not be used: says so, and sets the classes of `failover=`.
fn refused(run: &mut Run<'_>, job: &Job, server: &BStr, error: &SourceError, told: bool) {
    match error {
        SourceError::Unreachable(why) | SourceError::Authentication(why) if told => {
            let text = format!("{server} is left out, it gave no answer before: {why}");
            run.report.verbose(text);
            return failover(run, job);
        }
        SourceError::Unreachable(why) => run.report.error(format_args!("{server}: {why}")),
        SourceError::Authentication(why) => {
            run.report.error(format_args!("{server}: {why}"));
            run.report
                .error(format_args!("Authentication dialogue with {server} failed"));
        }
        other => run.report.error(format_args!("{server}: {other}")),
    }
    run.report
        .error(format_args!("Unable to establish connection with {server} (failover)"));
    failover(run, job);
}

/// A copy failed: the classes of `failover=`.
pub(super) fn failover(run: &mut Run<'_>, job: &Job) {
    run.record(job, Outcome::Failed);
    for class in run.class_list(job, "failover") {
        run.define(class.as_bstr());
    }
}
