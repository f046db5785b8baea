//! The policy of a server: read, looked at for changes, read again.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bstr::BString;
use clap::ArgMatches;
use jiff::Zoned;
use log::{error, info, warn};

use crate::agent::lastgood::{Generation, Reader};
use crate::facts::{Host, Machine, initial_context};
use crate::policy::{self, PolicyError, Program};
use crate::serve::{Config, Server, load};
use crate::state;
use crate::sys::Paths;
use crate::sys::process::split;

/// The name of the last policy that was in order, in the state directory.
const KEPT: &str = "last_good.server";

/// The policy file, and whether it changed.
pub struct Policy {
    pub paths: Paths,
    pub entry: BString,
    env: Vec<(OsString, OsString)>,
    launcher: Vec<BString>,
    options: policy::Options,
    /// What is judged, not served.
    pub looked_at: Vec<Program>,
    /// Where the last policy that was in order is kept. A policy named by hand, or checked only, is not.
    kept: Option<PathBuf>,
    pub seen: Vec<(PathBuf, Option<Stamp>)>,
    since: Zoned,
}

type Stamp = (u64, u64, i64, i64, i64);

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime_nsec(),
    ))
}

impl Policy {
    pub fn new(matches: &ArgMatches) -> Self {
        let entry = matches.get_one::<OsString>("file").cloned().unwrap_or_default();
        let library_path = matches.get_one::<OsString>("ld-library-path").cloned();
        let launcher = matches.get_one::<OsString>("launcher");
        let launcher = launcher.map(|line| split(line.as_encoded_bytes())).unwrap_or_default();
        let paths = Paths::from_env();
        let own = entry == "cfservd.conf" && !matches.get_flag("parse-only");
        let options = policy::Options {
            keep_text: matches.get_flag("lint"),
            ..policy::Options::default()
        };
        Policy {
            kept: own.then(|| paths.state()),
            paths,
            options,
            looked_at: Vec::new(),
            entry: entry.into_encoded_bytes().into(),
            launcher,
            env: library_path
                .map(|path| ("LD_LIBRARY_PATH".into(), path))
                .into_iter()
                .collect(),
            seen: Vec::new(),
            since: Zoned::now(),
        }
    }

    /// Reads it anew. What was read is looked at from now on, also when it is wrong.
    pub fn read(&mut self) -> Result<Config, Vec<PolicyError>> {
        let host = Host::detect();
        let now = Zoned::now();
        let context = initial_context(&host, &now);
        let mut world = Machine::new(&self.paths, host);
        let mut reader = Reader::recording(&mut world, now.timestamp().as_second(), false);
        // Stamps first: what changes while we read is read again.
        self.look();
        let (mut config, program) = load(self.entry.as_ref(), &self.options, context, &mut reader)?;
        for warning in &program.warnings {
            warn!("{warning}");
        }
        if let Some(dir) = self.kept.as_deref().filter(|_| !program.files.is_empty())
            && let Err(error) = state::Store::open(dir).and_then(|store| reader.read.keep(&store, KEPT))
        {
            warn!("cannot keep this policy as the last good one: {error}");
        }
        config.env.clone_from(&self.env);
        config.launcher.clone_from(&self.launcher);
        let known: Vec<PathBuf> = self.seen.iter().map(|(path, _)| path.clone()).collect();
        if program.files != known {
            self.seen = program.files.iter().map(|path| (path.clone(), stamp(path))).collect();
        }
        if self.options.keep_text {
            self.looked_at.push(program);
        }
        Ok(config)
    }

    /// At the start, when the policy is broken: the last one that was in order, so that the host can be managed and
    /// be sent a repaired one. `None` where none is known.
    pub fn read_kept(&mut self, errors: &[PolicyError]) -> Option<Config> {
        let store = state::Store::open(self.kept.as_deref()?).ok()?;
        let kept = Generation::load(&store, KEPT).ok().filter(|kept| !kept.is_empty())?;
        let since = jiff::Timestamp::from_second(kept.since).unwrap_or_default();
        self.since = since.to_zoned(jiff::tz::TimeZone::system());
        let host = Host::detect();
        let context = initial_context(&host, &Zoned::now());
        let mut world = Machine::new(&self.paths, host);
        let mut reader = Reader::replaying(&mut world, kept);
        let (mut config, program) = load(self.entry.as_ref(), &self.options, context, &mut reader).ok()?;
        config.env.clone_from(&self.env);
        config.launcher.clone_from(&self.launcher);
        self.seen = program.files.iter().map(|path| (path.clone(), stamp(path))).collect();
        self.refuse(errors);
        Some(config)
    }

    /// Tells the errors of a policy that is not put in force.
    pub fn refuse(&mut self, errors: &[PolicyError]) {
        for error in errors {
            error!("{error}");
            // A file that is imported only now is looked at too, or its repair would not be noticed.
            let file = PathBuf::from(error.pos.file.as_ref());
            if !self.seen.iter().any(|(known, _)| *known == file) {
                self.seen.push((file.clone(), stamp(&file)));
            }
        }
        error!("the policy has errors: keeping the one of {}", time(&self.since));
    }

    pub fn look(&mut self) {
        for (path, seen) in &mut self.seen {
            *seen = stamp(path);
        }
    }

    pub fn changed(&self) -> bool {
        self.seen.iter().any(|(path, seen)| stamp(path) != *seen)
    }

    /// Puts a changed policy in force; one that does not parse, or is gone, changes nothing.
    pub fn renew(&mut self, server: &Server) {
        let before = self.seen.clone();
        match self.read() {
            Ok(config) if !self.seen.is_empty() => {
                server.reconfigure(config);
                self.since = Zoned::now();
                info!("the policy was read again");
            }
            Ok(_) => {
                self.seen = before;
                self.look();
                error!("{} is gone: keeping the policy of {}", self.entry, time(&self.since));
            }
            Err(errors) => self.refuse(&errors),
        }
    }
}

/// A moment as ctime(3) writes it.
pub fn time(moment: &Zoned) -> String {
    moment.strftime("%a %b %e %H:%M:%S %Y").to_string()
}
