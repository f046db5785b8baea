//! `cfexecd`: runs the agent on a schedule or once, keeps its output, mails what is new (IN-02 … IN-04).

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use clap::{Arg, ArgAction, ArgMatches};
use jiff::Zoned;
use log::{LevelFilter, debug, error, info, warn};

use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::facts::Host;
use crate::policy::PolicyError;
use crate::sched::{self, Guard, Job, Outputs, SchedError, Settings};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// Lines of one run that go to syslog where nobody gets mail.
const SYSLOG_LINES: usize = 100;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfexecd",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |id: &'static str, short: char, help: &'static str| {
        Arg::new(id).short(short).long(id).action(ArgAction::SetTrue).help(help)
    };
    crate::tools::base("cfexecd", "Run the agent on a schedule and collect its output")
        .arg(flag(
            "no-fork",
            'F',
            "Run the agent once, now, in the foreground: for cron",
        ))
        .arg(flag("once", '1', "Run the agent once, now, in the background"))
        .arg(flag(
            "foreground",
            'g',
            "Stay in the foreground and follow the schedule",
        ))
        .arg(flag(
            "no-splay",
            'q',
            "Let the agent begin at once, without its splay time",
        ))
        .arg(flag(
            "no-lock",
            'K',
            "Run even if the last run was less than five minutes ago",
        ))
        .arg(flag(
            "parse-only",
            'p',
            "Read the policy, print schedule and mail settings, run nothing",
        ))
        .arg(flag("verbose", 'v', "Say what is done"))
        .arg(flag("debug", 'd', "Say more"))
        .arg(
            Arg::new("ld-library-path")
                .short('L')
                .long("ld-library-path")
                .value_name("PATH")
                .value_parser(clap::value_parser!(OsString))
                .help("Give the agent this LD_LIBRARY_PATH"),
        )
}

struct Call {
    paths: Paths,
    host: Host,
    no_splay: bool,
    no_lock: bool,
    library_path: Option<OsString>,
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let level = match (matches.get_flag("debug"), matches.get_flag("verbose")) {
        (true, _) => LevelFilter::Trace,
        (_, true) => LevelFilter::Debug,
        _ => LevelFilter::Info,
    };
    crate::log::init(c"cfexecd", level);
    let call = Call {
        paths: Paths::from_env(),
        host: Host::detect(),
        no_splay: matches.get_flag("no-splay"),
        no_lock: matches.get_flag("no-lock"),
        library_path: matches.get_one::<OsString>("ld-library-path").cloned(),
    };
    if matches.get_flag("parse-only") {
        return call.show();
    }
    let once = matches.get_flag("no-fork") || matches.get_flag("once");
    let daemon = (!once).then(|| call.alone()).transpose()?;
    detach(&matches, once)?;
    match daemon {
        None => call.run(false),
        Some(pid_file) => call.follow(&pid_file),
    }
}

/// Lets go of the terminal where that is asked for. A run of cron gets a process group of its own, so that it can be
/// ended with its agent when its time is up.
fn detach(matches: &ArgMatches, once: bool) -> Result<(), Fail> {
    if matches.get_flag("no-fork") || matches.get_flag("foreground") {
        if once && !std::io::stdin().is_terminal() {
            let _ = nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0));
        }
        return Ok(());
    }
    nix::unistd::daemon(false, false)
        .map_err(|e| Fail::new(Exit::Internal, "cannot go to the background").because(e))?;
    crate::log::to_syslog();
    Ok(())
}

fn fail(error: SchedError) -> Fail {
    let fail = Fail::new(Exit::Failed, &error);
    match error {
        SchedError::NoAgent(..) => fail.hint("is dsau installed?"),
        SchedError::Untrusted { .. } => fail.hint("it must belong to root, mode 0755"),
        _ => fail,
    }
}

impl Call {
    /// `-p`: what the policy says.
    fn show(&self) -> Result<Exit, Fail> {
        let settings = match Settings::read(&self.paths, &self.host, &Zoned::now()) {
            Ok(settings) => settings,
            Err(errors) => {
                errors.iter().for_each(|error| stderr_line(&error.to_string()));
                return Err(Fail::silent(Exit::Policy));
            }
        };
        let schedule: Vec<String> = settings.schedule.iter().map(|c| c.text().to_string()).collect();
        let lines = settings.max_lines.map_or("inf".to_string(), |n| n.to_string());
        let mut out = Out::stdout();
        let _ = out.line(format!("schedule = ( {} )", schedule.join(" ")));
        let _ = out.line(format!("EmailTo = ( {} )", settings.to.as_deref().unwrap_or_default()));
        let _ = out.line(format!(
            "EmailFrom = ( {} )",
            settings.from.as_deref().unwrap_or_default()
        ));
        let _ = out.line(format!("EmailMaxLines = ( {lines} )"));
        for fault in &settings.faults {
            stderr_line(&format!("cfexecd: {fault}"));
        }
        Ok(if settings.faults.is_empty() {
            Exit::Done
        } else {
            Exit::Policy
        })
    }

    /// One run. The status is the agent's success; that another run stands in the way is no failure.
    fn run(&self, scheduled: bool) -> Result<Exit, Fail> {
        let now = Zoned::now();
        let state = self.paths.state();
        fs::create_dir_all(&state)
            .map_err(|e| Fail::new(Exit::Failed, format!("cannot make {}", state.display())).because(e))?;
        let second = now.timestamp().as_second();
        let guard = match Guard::take(&state.join("cfexecd.lock"), second, self.no_lock) {
            Ok(guard) => guard,
            Err(SchedError::Busy(busy)) => {
                info!("nothing done: {busy}");
                return Ok(Exit::Done);
            }
            Err(error) => return Err(fail(error)),
        };
        if let Some(pid) = guard.ended {
            warn!("ended process {pid}, whose run took more than ten minutes");
        }
        let job = Job {
            agent: sched::agent(&self.paths).map_err(fail)?,
            no_splay: self.no_splay,
            scheduled,
            library_path: self.library_path.clone(),
        };
        let outputs = Outputs::at(self.paths.outputs()).map_err(fail)?;
        debug!("running {}", job.agent.display());
        let (record, differs, outcome) = job.run(&outputs, &self.host.full, &now).map_err(fail)?;
        debug!("output is in {}", record.file.display());
        // Read after the run: the agent may have brought a new policy.
        let settings = Settings::read(&self.paths, &self.host, &now).unwrap_or_else(|errors| {
            told(&errors);
            Settings::default()
        });
        settings.faults.iter().for_each(|fault| warn!("{fault}"));
        let unread = |e| Fail::new(Exit::Failed, format!("cannot read {}", record.file.display())).because(e);
        if settings.to.is_none() {
            self.tell_syslog(&record).map_err(unread)?;
        } else {
            let address = self.host.interfaces.first().map(|interface| interface.address);
            let mail = sched::compose(&settings, &record, differs, &self.host.full, address).map_err(unread)?;
            match mail {
                Some(mail) => {
                    sched::send(&mail).map_err(fail)?;
                    debug!("mailed to {}", mail.to);
                }
                None => debug!("nothing new: no mail"),
            }
        }
        Ok(if outcome.success() { Exit::Done } else { Exit::Failed })
    }

    fn tell_syslog(&self, record: &sched::Record) -> std::io::Result<()> {
        if record.is_empty() {
            return Ok(());
        }
        let (lines, more) = record.head(SYSLOG_LINES)?;
        crate::log::to_syslog();
        lines.iter().for_each(|line| info!("{line}"));
        if more {
            info!("more is in {}", record.file.display());
        }
        Ok(())
    }

    /// There is one daemon a host: its pid file is locked as long as it lives.
    fn alone(&self) -> Result<PidFile, Fail> {
        let path = self.paths.pid_file("cfexecd");
        let bad = |e| Fail::new(Exit::Failed, format!("cannot write {}", path.display())).because(e);
        fs::create_dir_all(self.paths.work()).map_err(bad)?;
        let file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(bad)?;
        if !crate::sys::at::try_lock(&file).map_err(bad)? {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            return Err(Fail::new(Exit::Failed, "cfexecd runs already").because(format!("process {}", pid.trim())));
        }
        Ok(PidFile { path, file })
    }

    /// The daemon: every minute it looks whether the agent is due.
    fn follow(&self, pid_file: &PidFile) -> Result<Exit, Fail> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .map_err(|e| Fail::new(Exit::Internal, "cannot listen to signals").because(e))?;
        }
        pid_file.note();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut policy = Policy::default();
        info!("follows its schedule");
        while !stop.load(Ordering::Relaxed) {
            let now = Zoned::now();
            if policy.settings(self, &now).due(&self.host, &now) {
                if let Err(failed) = self.run(true) {
                    error!("{failed}");
                }
                policy.forget();
            }
            // To the next minute, so that no minute of the schedule is missed and none comes twice.
            let minute = now.timestamp().as_second() / 60;
            while Zoned::now().timestamp().as_second() / 60 == minute && !stop.load(Ordering::Relaxed) {
                pause();
            }
        }
        info!("ends");
        let _ = fs::remove_file(&pid_file.path);
        Ok(Exit::Done)
    }
}

/// A second at most; a signal ends it.
fn pause() {
    let mut none: [nix::poll::PollFd<'_>; 0] = [];
    let second = nix::poll::PollTimeout::try_from(Duration::from_secs(1)).unwrap_or(nix::poll::PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut none, second);
}

fn told(errors: &[PolicyError]) {
    errors.iter().for_each(|error| warn!("{error}"));
}

struct PidFile {
    path: PathBuf,
    file: fs::File,
}

impl PidFile {
    /// Writes the number of this process, which after detaching is another one.
    fn note(&self) {
        use std::io::Write;
        let text = format!("{}\n", std::process::id());
        let _ = self.file.set_len(0);
        let _ = (&self.file).write_all(text.as_bytes());
    }
}

/// The settings the daemon goes by, read again when a file of the policy changes. A policy that does not parse changes
/// nothing: the last good one counts.
#[derive(Default)]
struct Policy {
    settings: Settings,
    seen: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Policy {
    fn settings(&mut self, call: &Call, now: &Zoned) -> &Settings {
        let changed = self.seen.is_empty() || self.seen.iter().any(|(path, time)| stamp(path) != *time);
        if changed {
            let mut files = vec![call.paths.inputs().join("cfagent.conf")];
            match Settings::read(&call.paths, &call.host, now) {
                Ok(settings) => {
                    settings.faults.iter().for_each(|fault| warn!("{fault}"));
                    self.settings = settings;
                }
                Err(errors) => {
                    told(&errors);
                    // Also a file that is imported only now: its repair is to be noticed.
                    files.extend(errors.iter().map(|error| PathBuf::from(error.pos.file.as_ref())));
                }
            }
            files.extend(self.settings.files.iter().cloned());
            self.seen = files
                .into_iter()
                .map(|path| {
                    let time = stamp(&path);
                    (path, time)
                })
                .collect();
        }
        &self.settings
    }

    fn forget(&mut self) {
        self.seen.clear();
    }
}

fn stamp(path: &PathBuf) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_was_broken_at_the_start_counts_as_soon_as_it_is_mended() {
        let root = tempfile::tempdir().unwrap();
        let call = Call {
            paths: Paths::under(root.path()),
            host: Host::default(),
            no_splay: true,
            no_lock: true,
            library_path: None,
        };
        let inputs = call.paths.inputs();
        fs::create_dir_all(&inputs).unwrap();
        fs::write(inputs.join("cfagent.conf"), "import:\n cf.main\n").unwrap();
        fs::write(inputs.join("cf.main"), "control:\n schedule = ( Min30\n").unwrap();
        let (mut policy, now) = (Policy::default(), Zoned::now());
        let mut schedule = || -> Vec<String> {
            let settings = policy.settings(&call, &now);
            settings.schedule.iter().map(|class| class.text().to_string()).collect()
        };
        assert_eq!(schedule(), ["Min00_05"]);
        fs::write(inputs.join("cf.main"), "control:\n schedule = ( Min30 )\n").unwrap();
        fs::File::options()
            .write(true)
            .open(inputs.join("cf.main"))
            .and_then(|file| file.set_modified(SystemTime::now() + Duration::from_secs(5)))
            .unwrap();
        assert_eq!(schedule(), ["Min30"]);
        // What breaks later leaves that in force.
        fs::write(inputs.join("cf.main"), "control:\n schedule = ( Min40\n").unwrap();
        assert_eq!(schedule(), ["Min30"]);
    }
}
