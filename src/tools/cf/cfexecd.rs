//! `cfexecd`: runs the agent on a schedule or once, keeps its output, mails what is new (IN-02 … IN-04).

mod daemon;

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;

use clap::{Arg, ArgAction, ArgMatches};
use jiff::Zoned;
use log::{LevelFilter, debug, info, warn};

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
        .arg(
            Arg::new("scheduled")
                .long("scheduled")
                .action(ArgAction::SetTrue)
                .help("Give the agent the class scheduled_run too, as the daemon does"),
        )
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_name("RUNS")
                .value_parser(clap::value_parser!(usize))
                .default_value("1000")
                .help("Keep the output files of so many runs; 0 keeps all"),
        )
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
    scheduled: bool,
    keep: usize,
    library_path: Option<OsString>,
    /// How much is said, as options.
    talk: Vec<&'static str>,
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
        scheduled: matches.get_flag("scheduled"),
        keep: matches.get_one::<usize>("keep").copied().unwrap_or_default(),
        talk: ["verbose", "debug"]
            .into_iter()
            .filter(|option| matches.get_flag(option))
            .map(|option| if option == "debug" { "-d" } else { "-v" })
            .collect(),
        library_path: matches.get_one::<OsString>("ld-library-path").cloned(),
    };
    if matches.get_flag("parse-only") {
        return call.show();
    }
    let once = matches.get_flag("no-fork") || matches.get_flag("once");
    let pid_file = match once {
        true => None,
        false => Some(daemon::PidFile::take(&call.paths)?),
    };
    detach(&matches, once)?;
    match pid_file {
        None => call.run(),
        Some(pid_file) => daemon::follow(&call, &pid_file, matches.get_flag("foreground")),
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
        if let Some(server) = &settings.server {
            let _ = out.line(format!("smtpserver = ( {server} )"));
        }
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
    fn run(&self) -> Result<Exit, Fail> {
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
            scheduled: self.scheduled,
            library_path: self.library_path.clone(),
            ended: guard.ended,
            state: state.clone(),
        };
        let outputs = Outputs::at(self.paths.outputs()).map_err(fail)?;
        debug!("running {}", job.agent.display());
        let (record, differs, outcome) = job.run(&outputs, &self.host.full, &now).map_err(fail)?;
        debug!("output is in {}", record.file.display());
        match outputs.prune(self.keep) {
            Ok(0) => {}
            Ok(count) => debug!("removed {count} old output files"),
            Err(error) => warn!("cannot remove old output files: {error}"),
        }
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
                    sched::send(&mail, settings.server.as_ref(), &self.host.full).map_err(fail)?;
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
}

fn told(errors: &[PolicyError]) {
    errors.iter().for_each(|error| warn!("{error}"));
}
