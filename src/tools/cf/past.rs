//! What runs changed, and taking it back: `cfagent --history`, `--undo`, `--generation`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bstr::{ByteSlice, ByteVec};
use clap::{Arg, ArgAction, ArgMatches};
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use crate::agent::lastgood::{Generation, MAIN};
use crate::agent::owner;
use crate::agent::undo::{After, Back, Change, Done, Keep, Record, Rights, Shelf, State, Undo, Verdict};
use crate::diag::{Exit, Fail, Out, harmless, plain, stderr_line};
use crate::state::{Single, Standing, Store};
use crate::sys::Paths;

/// The options.
pub fn args() -> [Arg; 4] {
    [
        Arg::new("history")
            .long("history")
            .value_name("RUN")
            .num_args(0..=1)
            .default_missing_value("all")
            .help("List the runs that changed files, or what one of them changed, and leave"),
        Arg::new("undo")
            .long("undo")
            .value_name("RUN")
            .conflicts_with("history")
            .help("Put back what this run changed (a number of --history, or 'last'), and leave"),
        Arg::new("force-undo")
            .long("force-undo")
            .action(ArgAction::SetTrue)
            .requires("undo")
            .help("With --undo: overwrite also what somebody changed since"),
        Arg::new("generation")
            .long("generation")
            .action(ArgAction::SetTrue)
            .conflicts_with_all(["history", "undo"])
            .help("Tell which policy this machine runs, and leave"),
    ]
}

/// Answers, where one of the options is given.
pub fn answer(matches: &ArgMatches) -> Option<Result<Exit, Fail>> {
    let past = Past {
        state: Paths::from_env().state(),
        now: crate::facts::now(),
        json: matches.get_flag("json"),
        out: Out::stdout(),
    };
    if matches.get_flag("generation") {
        return Some(past.generation());
    }
    if let Some(which) = matches.get_one::<String>("history") {
        return Some(past.history(which));
    }
    let which = matches.get_one::<String>("undo")?;
    Some(past.undo(which, matches.get_flag("dry-run"), matches.get_flag("force-undo")))
}

struct Past {
    state: PathBuf,
    now: Zoned,
    json: bool,
    out: Out,
}

impl Past {
    /// A line for programs or for a reader.
    fn say(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<(), Fail> {
        let written = match self.json {
            true => self.out.line(json().to_string()),
            false => text()
                .lines()
                .try_for_each(|line| self.out.line(harmless(line.as_bytes()))),
        };
        written.map_err(|error| Fail::new(Exit::Code(1), "cannot write").because(error))
    }

    fn trouble(&self, error: &io::Error) -> Fail {
        let place = self.state.join("undo");
        let fail = Fail::new(Exit::Code(1), format!("cannot read {}", place.display())).because(error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => fail.hint("the state of a machine is root's: run this as root"),
            _ => fail,
        }
    }

    /// The directory of all runs, and their numbers.
    fn shelf(&self) -> Result<Option<(Shelf, Vec<u32>)>, Fail> {
        // Below a state directory that is not there nothing is, either.
        let shelf = Shelf::open(&self.state).map_err(|error| self.trouble(&error))?;
        let Some(shelf) = shelf else { return Ok(None) };
        let runs = shelf.runs().map_err(|error| self.trouble(&error))?;
        Ok(Some((shelf, runs)))
    }

    /// The number of a run that is kept.
    fn number(&self, which: &str) -> Result<u32, Fail> {
        let runs = self.shelf()?.map_or(Vec::new(), |(_, runs)| runs);
        let number = match which {
            "last" => runs.last().copied(),
            number => number.parse().ok().filter(|number| runs.contains(number)),
        };
        number.ok_or_else(|| {
            let fail = Fail::new(Exit::Code(1), format!("nothing is kept of run {which}"));
            fail.hint("cfagent --history lists the runs that can be undone")
        })
    }

    fn history(mut self, which: &str) -> Result<Exit, Fail> {
        if which != "all" {
            return self.details(which);
        }
        let Some((shelf, runs)) = self.shelf()? else {
            return Ok(Exit::Done);
        };
        let mut records = Vec::new();
        let mut damaged = false;
        for run in runs {
            match shelf.record(run) {
                Ok(Some(record)) if !record.changes.is_empty() => records.push((run, record)),
                // Let go meanwhile, or killed before its first change.
                Ok(_) => {}
                Err(error) => {
                    damaged = true;
                    stderr_line(&format!(
                        "cfagent: cannot read run {run}: {}",
                        plain(&error.to_string())
                    ));
                }
            }
        }
        let undone: BTreeMap<u32, u32> = records
            .iter()
            .filter_map(|(run, record)| Some((record.header.undo_of?, *run)))
            .collect();
        for (run, record) in records {
            let undone = undone.get(&run).copied();
            let (counts, header) = (counts(&record), &record.header);
            let when = self.moment(header.at);
            self.say(
                || {
                    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
                    let policy = match header.policy.as_str() {
                        "" => "-",
                        policy => policy,
                    };
                    let mut text = format!("{run:>4}  {when}  {policy:<12}  {}", counts.join(", "));
                    if let Some(of) = header.undo_of {
                        text.push_str(&format!(" (undo of {of})"));
                    }
                    if let Some(by) = undone {
                        text.push_str(&format!(" (undone by {by})"));
                    }
                    text
                },
                || {
                    json!({"run": run, "at": iso(header.at), "policy": header.policy, "undo_of": header.undo_of,
                        "undone_by": undone, "changes": counts})
                },
            )?;
        }
        Ok(Exit::Code(u8::from(damaged)))
    }

    fn details(&mut self, which: &str) -> Result<Exit, Fail> {
        let run = self.number(which)?;
        let record = match self.shelf()? {
            Some((shelf, _)) => shelf.record(run).map_err(|error| self.trouble(&error))?,
            None => None,
        };
        for change in &record.unwrap_or_default().changes {
            self.say(|| described(change), || json_of(run, change))?;
        }
        Ok(Exit::Done)
    }

    fn undo(mut self, which: &str, dry: bool, force: bool) -> Result<Exit, Fail> {
        let run = self.number(which)?;
        let now = self.now.timestamp().as_second();
        // Held until the end: no agent changes anything meanwhile.
        let _alone = match dry {
            true => None,
            false => Some(self.alone(now)?),
        };
        let undo = match dry {
            true => Undo::default(),
            false => Undo::below(&self.state, now),
        };
        let back = Back::open(&self.state, run, undo.clone()).map_err(|error| self.trouble(&error))?;
        let Some(back) = back else {
            return Err(Fail::new(
                Exit::Code(1),
                format!("nothing is kept of run {run} any more"),
            ));
        };
        let mut wanted = Vec::new();
        let mut refused = 0;
        for change in back.changes() {
            let path = shown(change);
            match back.look(change) {
                Ok(Verdict::Already) => {}
                Ok(Verdict::Can) => wanted.push(change),
                Ok(Verdict::Changed(_)) if force => wanted.push(change),
                Ok(Verdict::Changed(how)) => {
                    refused += 1;
                    self.refuse(change, &format!("{path} was changed since: {how}"));
                }
                Ok(Verdict::Lost(why)) => {
                    refused += 1;
                    self.refuse(change, &format!("{path} cannot be put back: {why}"));
                }
                Err(error) => {
                    refused += 1;
                    self.refuse(
                        change,
                        &format!("{path} cannot be looked at: {}", plain(&error.to_string())),
                    );
                }
            }
        }
        if refused > 0 && !force {
            let fail = Fail::new(Exit::Code(1), format!("run {run} is not undone: nothing was changed"));
            return Err(
                fail.hint("--force-undo puts back what can be, over what was changed since; an undo can be undone")
            );
        }
        let mut failed = refused;
        for change in wanted {
            let path = shown(change);
            if dry {
                self.done(
                    "would-put-back",
                    change,
                    &format!("Would put back {path}: {}", what(change).join(", ")),
                )?;
                continue;
            }
            match back.put(change, force) {
                Ok(Done::Back) => self.done("put-back", change, &format!("Put back {path}"))?,
                Ok(Done::Already) => {}
                Ok(Done::Stays) => {
                    self.done("stays", change, &format!("Left {path}: it holds what came since"))?;
                }
                Err(error) => {
                    failed += 1;
                    self.refuse(
                        change,
                        &format!("{path} cannot be put back: {}", plain(&error.to_string())),
                    );
                }
            }
        }
        undo.close();
        if let Some(why) = undo.trouble() {
            stderr_line(&format!("cfagent: this undo cannot be undone later: {}", plain(&why)));
        }
        Ok(Exit::Code(u8::from(failed > 0)))
    }

    fn alone(&self, now: i64) -> Result<Single, Fail> {
        match Single::take(&self.state, now) {
            Ok(Ok(single)) => Ok(single),
            Ok(Err(holder)) => {
                let what = format!("a cfagent (process number {}) is at work here", holder.pid);
                Err(Fail::new(Exit::Code(1), what).because("nothing was undone"))
            }
            Err(error) => Err(self.trouble(&error)),
        }
    }

    fn done(&mut self, event: &str, change: &Change, text: &str) -> Result<(), Fail> {
        self.say(
            || text.to_string(),
            || json!({"event": event, "path": name(change), "what": what(change)}),
        )
    }

    /// Errors are for standard error; for programs they are lines like the others, too.
    fn refuse(&mut self, change: &Change, text: &str) {
        stderr_line(&format!("cfagent: {text}"));
        if self.json {
            let line = json!({"event": "refused", "path": name(change), "why": text});
            let _ = self.out.line(line.to_string());
        }
    }

    fn generation(mut self) -> Result<Exit, Fail> {
        let cannot = |error: io::Error| self.trouble(&error);
        let standing: Option<Standing> = Store::peek(&self.state.join(Standing::FILE)).map_err(cannot)?;
        let Some(standing) = standing.filter(|standing| !standing.id.is_empty()) else {
            let fail = Fail::new(Exit::Code(1), "no policy has run on this machine yet");
            return Err(fail.hint("cfagent runs it; cfagent -p only checks it"));
        };
        let kept: Option<Generation> = Store::peek(&self.state.join(MAIN)).map_err(cannot)?;
        let kept = kept.unwrap_or_default();
        let (files, changed) = (kept.paths(), kept.changed());
        let version = String::from_utf8_lossy(&Vec::unescape_bytes(&standing.version)).into_owned();
        let since = self.moment(standing.since);
        self.say(
            || {
                let mut lines = vec![format!("{} since {since}", standing.id)];
                if !version.is_empty() {
                    lines.push(format!("version {version}"));
                }
                lines.push(match changed.as_slice() {
                    [] => format!("its {} files are as they were read", files.len()),
                    [one] => format!("{} is another one now: it was not run yet, or is broken", one.display()),
                    many => format!(
                        "{} of its {} files are others now: not run yet, or broken",
                        many.len(),
                        files.len()
                    ),
                });
                lines.join("\n")
            },
            || {
                json!({"generation": standing.id, "since": iso(standing.since), "version": version,
                    "files": files, "changed": changed})
            },
        )?;
        Ok(Exit::Done)
    }

    /// `2026-11-22 11:40:03`
    fn moment(&self, at: i64) -> String {
        let moment = Timestamp::from_second(at).unwrap_or_default();
        let moment = moment.to_zoned(self.now.time_zone().clone());
        moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

fn iso(at: i64) -> String {
    Timestamp::from_second(at).unwrap_or_default().to_string()
}

fn shown(change: &Change) -> String {
    change.path.to_str_lossy().into_owned()
}

/// A path in JSON; one that is no text is escaped.
fn name(change: &Change) -> String {
    change
        .path
        .to_str()
        .map_or_else(|_| crate::state::key_of(&change.path), str::to_string)
}

/// What was changed of an object.
fn what(change: &Change) -> Vec<&'static str> {
    let is = match &change.after {
        After::Unknown => return vec!["unfinished"],
        After::Is(is) => Some(is),
        After::Will(_) => None,
    };
    match (&change.was, is) {
        (State::Nothing, Some(State::Nothing)) => return vec!["nothing"],
        (State::Nothing, _) => return vec!["created"],
        (_, Some(State::Nothing)) => return vec!["removed"],
        (State::Link { .. }, Some(State::Link { .. })) if !change.rights => return vec!["link"],
        (was, Some(is)) if was.word() != is.word() => return vec!["replaced"],
        (State::File(_), None) | (_, Some(_)) => {}
        _ => return vec!["replaced"],
    }
    let mut what = Vec::new();
    if !change.rights && matches!(change.was, State::File(_)) {
        what.push("content");
    }
    if let (Some(was), Some(is)) = (change.was.rights(), rights_after(change)) {
        if was.mode != is.mode {
            what.push("mode");
        }
        if (was.uid, was.gid) != (is.uid, is.gid) {
            what.push("owner");
        }
    }
    if what.is_empty() {
        what.push("nothing");
    }
    what
}

/// Bits and owner that the run left, as far as they are known.
fn rights_after(change: &Change) -> Option<Rights> {
    let was = change.was.rights();
    match &change.after {
        After::Is(is) => is.rights(),
        After::Will(will) => was.map(|was| Rights {
            mode: will.mode.unwrap_or(was.mode),
            uid: will.uid.unwrap_or(was.uid),
            gid: will.gid.unwrap_or(was.gid),
        }),
        After::Unknown => None,
    }
}

/// How many objects there are of which this was changed.
fn counts(record: &Record) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for word in record.changes.iter().flat_map(what) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// `content, mode  /etc/motd: mode 644 -> 600`
fn described(change: &Change) -> String {
    let mut notes = Vec::new();
    if let (Some(was), Some(is)) = (change.was.rights(), rights_after(change)) {
        if was.mode != is.mode && !matches!(change.was, State::Link { .. }) {
            notes.push(format!("mode {:o} -> {:o}", was.mode, is.mode));
        }
        if (was.uid, was.gid) != (is.uid, is.gid) {
            notes.push(format!("owner {} -> {}", owners(was), owners(is)));
        }
    }
    if !change.rights
        && let (State::Link { target: was, .. }, After::Is(State::Link { target: is, .. })) =
            (&change.was, &change.after)
    {
        notes.push(format!("{was} -> {is}"));
    }
    match &change.keep {
        Keep::Lost(why) => notes.push(format!("what was there is not kept: {}", plain(why))),
        Keep::Moved(to) => notes.push(format!("moved to {to}")),
        Keep::Whole | Keep::Content(_) => {}
    }
    let text = format!("{:<8} {}", what(change).join(", "), shown(change));
    match notes.is_empty() {
        true => text,
        false => format!("{text}: {}", notes.join(", ")),
    }
}

fn owners(rights: Rights) -> String {
    format!("{}:{}", owner::user_name(rights.uid), owner::group_name(rights.gid))
}

fn json_of(run: u32, change: &Change) -> Value {
    let state = |state: &State| {
        let mut value = json!({"kind": state.word()});
        if let Some(rights) = state.rights() {
            value["mode"] = json!(format!("{:04o}", rights.mode));
            value["uid"] = json!(rights.uid);
            value["gid"] = json!(rights.gid);
        }
        match state {
            State::File(plain) => value["size"] = json!(plain.size),
            State::Link { target, .. } if !change.rights => value["target"] = json!(target),
            _ => {}
        }
        value
    };
    let after = match &change.after {
        After::Is(is) => state(is),
        After::Will(will) => json!({"kind": "file", "mode": will.mode.map(|mode| format!("{mode:04o}")),
            "uid": will.uid, "gid": will.gid, "digest": will.digest}),
        After::Unknown => Value::Null,
    };
    let kept = !matches!(change.keep, Keep::Lost(_));
    json!({"run": run, "path": name(change), "what": what(change), "before": state(&change.was), "after": after,
        "kept": kept})
}
