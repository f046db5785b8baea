//! The daemon: follows the schedule and tells the service manager how it is. Each run is a process of its own, so that an
//! agent that hangs holds nobody up: the next run ends it when its time is up, and the daemon goes on looking at the clock.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Zoned;
use log::{error, info, warn};
use sd_notify::NotifyState;

use super::{Call, told};
use crate::diag::{Exit, Fail};
use crate::sched::Settings;
use crate::sys::Paths;

/// How long the daemon sleeps at most.
const NAP: Duration = Duration::from_secs(1);

/// There is one daemon a host: its pid file is locked as long as it lives.
pub(super) struct PidFile {
    path: PathBuf,
    file: fs::File,
}

impl PidFile {
    pub fn take(paths: &Paths) -> Result<Self, Fail> {
        let path = paths.pid_file("cfexecd");
        let bad = |e| Fail::new(Exit::Failed, format!("cannot write {}", path.display())).because(e);
        fs::create_dir_all(paths.work()).map_err(bad)?;
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

    /// Writes the number of this process, which after detaching is another one.
    fn note(&self) {
        let text = format!("{}\n", std::process::id());
        let _ = self.file.set_len(0);
        let _ = (&self.file).write_all(text.as_bytes());
    }
}

/// Looks every minute whether the agent is due.
pub(super) fn follow(call: &Call, pid_file: &PidFile, foreground: bool) -> Result<Exit, Fail> {
    let (stop, reread) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for (signal, flag) in [
        (signal_hook::consts::SIGTERM, &stop),
        (signal_hook::consts::SIGINT, &stop),
        (signal_hook::consts::SIGHUP, &reread),
    ] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|e| Fail::new(Exit::Internal, "cannot listen to signals").because(e))?;
    }
    pid_file.note();
    let mut policy = Policy::default();
    let mut manager = Manager::new();
    let mut runs: Vec<Child> = Vec::new();
    let mut minute = None;
    info!("follows its schedule");
    while !stop.load(Ordering::Relaxed) {
        if reread.swap(false, Ordering::Relaxed) {
            policy.forget();
        }
        let now = Zoned::now();
        // Once a minute, so that no minute of the schedule is missed and none comes twice.
        let this = now.timestamp().as_second() / 60;
        if minute != Some(this) {
            minute = Some(this);
            if policy.settings(call, &now).due(&call.host, &now) {
                match start(call, foreground) {
                    Ok(child) => runs.push(child),
                    Err(failed) => error!("cannot start a run: {failed}"),
                }
            }
        }
        let before = runs.len();
        runs.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if runs.len() < before {
            // The agent may have brought a new policy.
            policy.forget();
        }
        manager.tell(!runs.is_empty(), &now);
        pause(manager.nap());
    }
    // A run that goes on is let go on: it is a process of its own, and keeps its output itself.
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    info!("ends");
    let _ = fs::remove_file(&pid_file.path);
    Ok(Exit::Done)
}

/// Begins a run: this program again, in a process group of its own.
fn start(call: &Call, foreground: bool) -> std::io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cfexecd");
    // In the background there is no standard error: `-1` talks to syslog.
    command.arg(if foreground { "-F" } else { "-1" });
    command
        .args(["--scheduled", "--keep", &call.keep.to_string()])
        .args(&call.talk);
    if call.no_splay {
        command.arg("-q");
    }
    if call.no_lock {
        command.arg("-K");
    }
    if let Some(path) = &call.library_path {
        command.arg("-L").arg(path);
    }
    // What the service manager said is for the daemon alone.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).process_group(0).spawn()
}

/// sd_notify(3): readiness, what is going on, and signs of life. They come from the loop itself: where that hangs, they
/// stop, and the service manager restarts the daemon.
struct Manager {
    watchdog: Option<Duration>,
    pinged: Option<Instant>,
    said: Option<String>,
    last: Option<String>,
    running: bool,
}

impl Manager {
    fn new() -> Manager {
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Manager {
            watchdog: sd_notify::watchdog_enabled(),
            pinged: None,
            said: None,
            last: None,
            running: false,
        }
    }

    /// The loop came round.
    fn tell(&mut self, running: bool, now: &Zoned) {
        if running && !self.running {
            self.last = Some(now.strftime("%Y-%m-%d %H:%M:%S").to_string());
        }
        self.running = running;
        let status = match (&self.last, running) {
            (Some(last), true) => format!("running the agent since {last}"),
            (Some(last), false) => format!("waiting; the last run began {last}"),
            (None, _) => "waiting; no run yet".to_string(),
        };
        if self.said.as_ref() != Some(&status) {
            let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            self.said = Some(status);
        }
        if let Some(interval) = self.watchdog
            && self.pinged.is_none_or(|at| at.elapsed() * 3 >= interval)
        {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            self.pinged = Some(Instant::now());
        }
    }

    /// How long the loop may sleep.
    fn nap(&self) -> Duration {
        self.watchdog.map_or(NAP, |interval| NAP.min(interval / 4))
    }
}

/// Sleeps; a signal ends it.
fn pause(time: Duration) {
    let mut none: [nix::poll::PollFd<'_>; 0] = [];
    let time = nix::poll::PollTimeout::try_from(time).unwrap_or(nix::poll::PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut none, time);
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
    use crate::facts::Host;

    #[test]
    fn an_import_that_was_broken_at_the_start_counts_as_soon_as_it_is_mended() {
        let root = tempfile::tempdir().unwrap();
        let call = Call {
            paths: Paths::under(root.path()),
            host: Host::default(),
            no_splay: true,
            no_lock: true,
            scheduled: false,
            keep: 0,
            library_path: None,
            talk: Vec::new(),
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
