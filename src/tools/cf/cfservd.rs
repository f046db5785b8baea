//! `cfservd`: gives out files and starts the agent for cfrun (cfengine2.md 18, 19).

mod policy;

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction};
use jiff::Zoned;
use log::{LevelFilter, info, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::policy::{Policy, time};
use super::judge::{self, Ask};
use crate::diag::{Exit, Fail, stderr_line};
use crate::keys::{KeyError, Store};
use crate::policy::PolicyError;
use crate::serve::{self, Limits, Server, User};
use crate::state;
use crate::sys::Paths;
use crate::tls::Identity;
use crate::tools::{Place, Tool};

/// How often the files of the policy are looked at when nobody connects.
const LOOK: Duration = Duration::from_secs(2);

/// How often clients that were here are written down, at most.
const NOTE_CLIENTS: Duration = Duration::from_secs(60);

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfservd",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |id: &'static str, short: char, help: &'static str| {
        Arg::new(id).short(short).long(id).action(ArgAction::SetTrue).help(help)
    };
    crate::tools::base("cfservd", "Give out files to agents and start the agent for cfrun")
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(clap::value_parser!(OsString))
                .default_value("cfservd.conf")
                .help("Read this policy file; a relative name is looked up in the inputs directory"),
        )
        .arg(flag("no-fork", 'F', "Stay in the foreground, log to standard error"))
        .arg(flag("parse-only", 'p', "Check the policy file and end"))
        .arg(judge::lint_arg().requires("parse-only"))
        .arg(judge::json_arg().requires("lint"))
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .value_parser(clap::value_parser!(u16))
                .help("Listen on this TCP port [default: cfengine in /etc/services, else 5308]"),
        )
        .arg(flag("verbose", 'v', "Log every connection and request"))
        .arg(flag("debug", 'd', "As -v, and stay in the foreground"))
        .arg(
            Arg::new("launcher")
                .long("launcher")
                .value_name("COMMAND")
                .value_parser(clap::value_parser!(OsString))
                .help("Start the agent through this command, as one outside of the sandbox cfservd is in"),
        )
        .arg(
            Arg::new("one-process")
                .long("one-process")
                .action(ArgAction::SetTrue)
                .help("As root, too, talk to the network in the process that has the key and the files"),
        )
        .arg(
            Arg::new("ld-library-path")
                .short('L')
                .long("ld-library-path")
                .value_name("PATH")
                .value_parser(clap::value_parser!(OsString))
                .help("Give the agent this LD_LIBRARY_PATH"),
        )
}

/// Whose rights the process has that talks to the network: the first that there is.
const USERS: &[&str] = &["dsau", "nobody"];

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    if args.get(1).is_some_and(|word| word == serve::ARGUMENT) {
        let not_ours = "this is how cfservd starts the process that talks to the network";
        return serve::network_process()
            .map(|()| Exit::Done)
            .map_err(|e| Fail::new(Exit::Usage, not_ours).because(e));
    }
    let matches = crate::tools::parse(&TOOL, args)?;
    let level = match matches.get_flag("verbose") || matches.get_flag("debug") {
        true => LevelFilter::Debug,
        false => LevelFilter::Info,
    };
    crate::log::init(c"cfservd", level);
    let mut policy = Policy::new(&matches);
    let config = match policy.read() {
        Ok(config) => config,
        Err(errors) => {
            let failed = report(&errors);
            policy.read_kept(&errors).ok_or(failed)?
        }
    };
    if policy.seen.is_empty() {
        return Err(
            Fail::new(Exit::Policy, format!("there is no policy file {}", policy.entry))
                .hint(format!("it belongs into {}", policy.paths.inputs().display())),
        );
    }
    if let Some(ask) = Ask::from_matches(&matches) {
        return ask.answer(&policy.looked_at);
    }
    if matches.get_flag("parse-only") {
        return Ok(Exit::Done);
    }
    let identity = identity(&policy.paths)?;
    let pid_file = PidFile::take(&policy.paths)?;
    let port = matches
        .get_one::<u16>("port")
        .copied()
        .unwrap_or_else(crate::sync::port);
    let store = Store::at(policy.paths.ppkeys());
    let bound = config
        .bind
        .map_or("all addresses".to_string(), |address| address.to_string());
    let server = Server::bind(config, identity, store, port, Limits::default())
        .map_err(|e| Fail::new(Exit::Failed, format!("cannot listen on TCP port {port} of {bound}")).because(e))?;
    if !matches.get_flag("no-fork") && !matches.get_flag("debug") {
        nix::unistd::daemon(false, false)
            .map_err(|e| Fail::new(Exit::Internal, "cannot go to the background").because(e))?;
        crate::log::to_syslog();
    }
    pid_file.note();
    let server = match nix::unistd::geteuid().is_root() && !matches.get_flag("one-process") {
        true => apart(server)?,
        false => server,
    };
    Daemon::new(policy, server, pid_file)?.run()
}

/// Has connections taken in by a process without rights. The daemon is in the background by now, so what is wrong goes to
/// the log too.
fn apart(server: Server) -> Result<Server, Fail> {
    let failed = |why: String| {
        log::error!("the network process cannot be started: {why}");
        Fail::new(Exit::Failed, "the network process cannot be started")
            .because(why)
            .hint("--one-process serves clients from the process that has the key and the files")
    };
    let user = User::first(USERS).ok_or_else(|| failed(format!("there is no user {}", USERS.join(" nor "))))?;
    let fallback = (user.name != USERS[0]).then(|| user.name.clone());
    let (server, missing) = server.apart(user).map_err(|e| failed(e.to_string()))?;
    if let Some(name) = fallback {
        info!("there is no user {}: the network process runs as {name}", USERS[0]);
    }
    if !missing.is_empty() {
        warn!("the network process is confined less than it could be: {missing}");
    }
    Ok(server)
}

/// Says every error of a policy; the failure itself is silent.
fn report(errors: &[PolicyError]) -> Fail {
    for error in errors {
        stderr_line(&error.to_string());
        if let Some(hint) = &error.hint {
            stderr_line(&format!("  hint: {hint}"));
        }
    }
    Fail::silent(Exit::Policy)
}

fn identity(paths: &Paths) -> Result<Identity, Fail> {
    let store = Store::at(paths.ppkeys());
    let key = store.load_local().map_err(|fault| match fault {
        KeyError::Missing(_) => Fail::new(Exit::Unreachable, crate::sync::NO_KEYS),
        other => Fail::new(Exit::Unreachable, other),
    })?;
    Identity::new(&key).map_err(|e| Fail::new(Exit::Internal, e))
}

/// The pid file is locked as long as the daemon lives: there is one a host.
struct PidFile {
    path: PathBuf,
    file: fs::File,
}

impl PidFile {
    fn take(paths: &Paths) -> Result<Self, Fail> {
        let path = paths.pid_file("cfservd");
        let bad = |e| Fail::new(Exit::Failed, format!("cannot write {}", path.display())).because(e);
        fs::create_dir_all(paths.work()).map_err(bad)?;
        let file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            // A lock needs no more than an open file: who may not read it cannot keep us from starting.
            .mode(0o600)
            .open(&path)
            .map_err(bad)?;
        let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        if !crate::sys::at::try_lock(&file).map_err(bad)? {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            return Err(Fail::new(Exit::Failed, "cfservd runs already").because(format!("process {}", pid.trim())));
        }
        // The last owner may have removed it between our opening and our locking.
        let ours = file.metadata().map_err(bad)?.ino();
        if fs::metadata(&path).map(|there| there.ino()).ok() != Some(ours) {
            drop(file);
            return PidFile::take(paths);
        }
        Ok(PidFile { path, file })
    }

    /// Writes the number of this process, which after detaching is another one.
    fn note(&self) {
        use std::io::Write;
        let text = format!("{}\n", std::process::id());
        let _ = self.file.set_len(0);
        let _ = (&self.file).write_all(text.as_bytes());
    }
}

struct Daemon {
    policy: Policy,
    server: Server,
    pid_file: PidFile,
    wake: UnixStream,
    stop: Arc<AtomicUsize>,
    reread: Arc<AtomicUsize>,
    started: Zoned,
    /// When clients were written down last, and who does it.
    noted: Instant,
    notes: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn new(policy: Policy, server: Server, pid_file: PidFile) -> Result<Self, Fail> {
        let bad = |e: std::io::Error| Fail::new(Exit::Internal, "cannot listen to signals").because(e);
        let (wake, writer) = UnixStream::pair().map_err(bad)?;
        wake.set_nonblocking(true).map_err(bad)?;
        let (stop, reread) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reread)] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, flag.clone(), number).map_err(bad)?;
            // After the flag, so that who is woken sees it.
            signal_hook::low_level::pipe::register(signal, writer.try_clone().map_err(bad)?).map_err(bad)?;
        }
        Ok(Daemon {
            policy,
            server,
            pid_file,
            wake,
            stop,
            reread,
            started: Zoned::now(),
            noted: Instant::now(),
            notes: None,
        })
    }

    fn run(mut self) -> Result<Exit, Fail> {
        use std::io::Read;
        let address = self.server.address().map_err(|e| Fail::new(Exit::Internal, e))?;
        // Only now: before, it was not known where the log is.
        self.server.complain();
        info!("listening on {address}");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut wait = LOOK;
        loop {
            let mut waited = [
                PollFd::new(self.server.news(), PollFlags::POLLIN),
                PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut waited, PollTimeout::try_from(wait).unwrap_or(PollTimeout::NONE));
            while matches!((&self.wake).read(&mut [0; 64]), Ok(n) if n > 0) {}
            let signal = self.stop.load(Ordering::Relaxed);
            if signal != 0 {
                self.note_clients();
                // A moment of patience: what is lost otherwise is that some clients were here.
                let until = Instant::now() + Duration::from_secs(2);
                while self.notes.as_ref().is_some_and(|notes| !notes.is_finished()) && Instant::now() < until {
                    thread::sleep(Duration::from_millis(10));
                }
                return Ok(self.end(signal));
            }
            if self.reread.swap(0, Ordering::Relaxed) != 0 || self.policy.changed() {
                self.policy.renew(&self.server);
            }
            wait = self.server.accept().unwrap_or(LOOK).min(LOOK);
            if self.noted.elapsed() >= NOTE_CLIENTS {
                self.note_clients();
            }
        }
    }

    /// Writes down who was here, on the side: whoever has locked the file does not keep us from serving.
    fn note_clients(&mut self) {
        if self.notes.as_ref().is_some_and(|notes| !notes.is_finished()) {
            return;
        }
        self.noted = Instant::now();
        let seen = self.server.take_seen();
        if seen.is_empty() {
            return;
        }
        let dir = self.policy.paths.state();
        let work = move || {
            let written = state::Store::open(&dir).and_then(|store| {
                store.update(state::Hosts::FILE, |hosts: &mut state::Hosts| {
                    seen.iter().for_each(|seen| hosts.add(seen));
                    // How long hosts are remembered is for the agent's policy to say; here only how many.
                    hosts.forget(i64::MIN);
                })
            });
            match written {
                Ok(None) => {}
                Ok(Some(damage)) => warn!("{damage}"),
                Err(error) => warn!(
                    "cannot write down which clients were here, in {}: {error}",
                    dir.display()
                ),
            }
        };
        self.notes = thread::Builder::new().name("clients".into()).spawn(work).ok();
    }

    fn end(&self, signal: usize) -> Exit {
        let name = match i32::try_from(signal) {
            Ok(SIGINT) => "SIGINT",
            _ => "SIGTERM",
        };
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        info!("Received signal {signal} ({name}) while doing [cfservd]");
        info!("Logical start time {}", time(&self.started));
        info!("This sub-task started really at {}", time(&self.started));
        let _ = fs::remove_file(&self.pid_file.path);
        Exit::Done
    }
}
