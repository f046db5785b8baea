//! A master and its clients in one directory, for the tests of csync_wizard. What would run on a client over ssh runs here,
//! under the client's own prefix, with the same scripts, the real cfkey and a start script that starts a real process.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dsau::diag::Exit;
use dsau::remote::{Cause, Trouble};
use dsau::sys::Paths;
use dsau::wizard::{
    Answers, Dialog, Lines, Names, Order, Output, Question, Remote, RemoteError, Replay, Stop, Wizard, WizardError,
    feed,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

/// Where cfservd's process is noted.
pub const PID: &str = "var/opt/dsau/cfengine/cfservd.pid";

/// A master and the machines around it.
pub struct Site {
    top: PathBuf,
    _owned: Option<tempfile::TempDir>,
    /// Hosts that do not answer.
    pub dead: Mutex<BTreeSet<String>>,
    /// Hosts whose next script that holds this text fails.
    pub broken: Mutex<Option<(String, &'static str)>>,
    /// What was said and what was run on clients, counted.
    pub events: AtomicUsize,
    /// At this event the process is killed.
    pub die: Option<usize>,
}

/// Stands in for cfservd and cfagent: notes that it was called. The name in /proc must be that of a cfservd for the start
/// script, so it is a copy of sleep.
const AGENT: &str = "#!/bin/sh\necho \"agent $*\" >>\"${DSAU_ROOT}/called\"\n[ ! -e \"${DSAU_ROOT}/agent-fails\" ]\n";

impl Site {
    pub fn new(hosts: &[&str]) -> Site {
        let site = Site::within(tempfile::tempdir().unwrap());
        for host in hosts {
            site.install(host);
        }
        site
    }

    fn within(top: tempfile::TempDir) -> Site {
        let mut site = Site::at(top.path());
        site._owned = Some(top);
        site
    }

    /// A site that somebody else made.
    pub fn at(top: &Path) -> Site {
        Site {
            top: top.to_path_buf(),
            _owned: None,
            dead: Mutex::default(),
            broken: Mutex::default(),
            events: AtomicUsize::new(0),
            die: None,
        }
    }

    /// The same once more, elsewhere; what runs there runs here, too.
    pub fn copy(&self) -> Site {
        let top = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.top.join("."))
            .arg(top.path())
            .status();
        assert!(copied.unwrap().success());
        let site = Site::within(top);
        for host in site.hosts() {
            // A backup knows by whole paths where its files belong.
            let backups = site.root(&host).join("var/opt/dsau/cfengine/backups");
            let older = fs::read_dir(&backups)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            for list in older
                .chain([backups])
                .map(|dir| dir.join("backup.list"))
                .filter(|list| list.exists())
            {
                let text = fs::read_to_string(&list).unwrap();
                let there = self.top.to_str().unwrap();
                fs::write(&list, text.replace(there, site.top.to_str().unwrap())).unwrap();
            }
            if site.exists(&host, PID) {
                let start = "\"$1\" 600 >/dev/null 2>&1 & echo $! >\"$2\"";
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", start, "sh"]);
                shell.arg(site.root(&host).join("opt/dsau/sbin/cfservd"));
                assert!(shell.arg(site.root(&host).join(PID)).status().unwrap().success());
            }
        }
        site
    }

    pub fn hosts(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.top).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Whether cfservd runs on a host.
    pub fn runs(&self, host: &str) -> bool {
        let pid = fs::read_to_string(self.root(host).join(PID)).unwrap_or_default();
        let comm = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        comm.trim() == "cfservd" && !state.contains(") Z ")
    }

    fn event(&self) {
        let number = self.events.fetch_add(1, Ordering::SeqCst) + 1;
        if self.die == Some(number) {
            kill(getpid(), Signal::SIGKILL).unwrap();
        }
    }

    pub fn root(&self, host: &str) -> PathBuf {
        self.top.join(host)
    }

    pub fn paths(&self) -> Paths {
        Paths::under(self.root("m"))
    }

    pub fn install(&self, host: &str) {
        let root = self.root(host);
        for dir in [
            "opt/dsau/sbin",
            "sbin/init.d",
            "etc/rc.config.d",
            "opt/dsau/share/cfengine",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        symlink(
            source.join("share/templates/cfengine"),
            root.join("opt/dsau/share/cfengine/templates"),
        )
        .unwrap();
        symlink(env!("CARGO_BIN_EXE_cfkey"), root.join("opt/dsau/sbin/cfkey")).unwrap();
        self.program(host, "opt/dsau/sbin/cfagent", AGENT);
        // A service that notes its verbs. Its process is a real one, called cfservd.
        fs::copy("/bin/sleep", root.join("opt/dsau/sbin/cfservd")).unwrap();
        let service = "#!/bin/sh\nset -u\nR=$DSAU_ROOT\npid=$R/var/opt/dsau/cfengine/cfservd.pid\n\
             . \"$R/etc/rc.config.d/cfservd\"\necho \"service $1\" >>\"$R/called\"\n\
             stop() { [ ! -e \"$pid\" ] || { kill $(cat \"$pid\"); rm -f \"$pid\"; }; }\n\
             start() { [ \"$CSYNC_CONFIGURED\" = 1 ] || exit 2\n [ ! -e \"$R/service-fails\" ] || { echo no way; exit 1; }\n\
             \"$R/opt/dsau/sbin/cfservd\" 600 >/dev/null 2>&1 & echo $! >\"$pid\"; sleep 0.02; }\n\
             case $1 in start) start ;; stop) stop ;; restart) stop; start ;; esac\n";
        self.program(host, "sbin/init.d/cfservd", service);
        fs::copy(
            source.join("init/rc.config.d/cfservd"),
            root.join("etc/rc.config.d/cfservd"),
        )
        .unwrap();
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost").unwrap();
    }

    pub fn program(&self, host: &str, name: &str, text: &str) {
        let path = self.root(host).join(name);
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        drop(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn read(&self, host: &str, file: &str) -> String {
        let path = self.root(host).join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn exists(&self, host: &str, file: &str) -> bool {
        self.root(host).join(file).exists()
    }

    /// Types `input` at the menu; gives the status and the screen.
    pub fn menu(&self, input: &str) -> (Exit, String) {
        let (mut input, mut screen) = (input.as_bytes(), Vec::new());
        let mut dialog = Watched {
            lines: Lines::new(&mut input, &mut screen, false),
            site: self,
        };
        let paths = self.paths();
        let mut wizard = Wizard {
            paths: &paths,
            names: self,
            remote: self,
            dialog: &mut dialog,
        };
        let exit = wizard.menu().unwrap();
        (exit, self.clean(screen))
    }

    pub fn replay(&self, answers: &Answers) -> (Result<Exit, WizardError>, String) {
        self.silent(|wizard| wizard.replay(answers))
    }

    /// What needs no answers.
    pub fn silent(
        &self,
        act: impl FnOnce(&mut Wizard<'_>) -> Result<Exit, WizardError>,
    ) -> (Result<Exit, WizardError>, String) {
        let mut screen = Vec::new();
        let mut dialog = Watched {
            lines: Replay::new(&mut screen),
            site: self,
        };
        let paths = self.paths();
        let mut wizard = Wizard {
            paths: &paths,
            names: self,
            remote: self,
            dialog: &mut dialog,
        };
        let exit = act(&mut wizard);
        (exit, self.clean(screen))
    }

    /// The screen without the prefix of the test.
    pub fn clean(&self, screen: Vec<u8>) -> String {
        let prefix = self.root("m").display().to_string();
        String::from_utf8(screen).unwrap().replace(&prefix, "")
    }

    /// Every policy and start-up file of the master, to see that nothing changed.
    pub fn state(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        for dir in [
            "var/opt/dsau/cfengine_master/inputs",
            "var/opt/dsau/cfengine/inputs",
            "etc/rc.config.d",
        ] {
            for entry in fs::read_dir(self.root("m").join(dir)).into_iter().flatten() {
                let path = entry.unwrap().path();
                list.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
            }
        }
        list.sort();
        list
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self._owned.is_none() {
            return;
        }
        for entry in fs::read_dir(&self.top).into_iter().flatten().flatten() {
            if let Ok(pid) = fs::read_to_string(entry.path().join(PID)) {
                let _ = Command::new("kill").arg(pid.trim()).output();
            }
        }
    }
}

impl Names for Site {
    fn own(&self) -> Option<String> {
        Some("m".to_string())
    }

    fn canonical(&self, name: &str) -> Option<String> {
        let short = name.split('.').next()?;
        let domain = if short == "far" { "other.net" } else { "example.com" };
        Some(format!("{short}.{domain}"))
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let hosts = ["m", "c1", "c2", "far", "dead"];
        let short = match name.split('.').next().unwrap() {
            "twin" => "c1",
            "mirror" => "m",
            own => own,
        };
        let known = hosts.iter().position(|host| *host == short);
        known
            .map(|n| format!("10.0.0.{}", n + 1).parse().unwrap())
            .into_iter()
            .collect()
    }

    fn interfaces(&self) -> Vec<IpAddr> {
        vec!["10.0.0.1".parse().unwrap()]
    }
}

impl Remote for Site {
    fn run(&self, order: &Order) -> Result<Output, RemoteError> {
        let Order {
            host,
            script,
            args,
            stdin,
        } = order;
        self.event();
        assert!(host.contains('.'), "clients are called by their full names: {host}");
        let short = host.split('.').next().unwrap();
        if self.dead.lock().unwrap().contains(short) || !self.root(short).exists() {
            return Err(unreachable(Cause::Auth, "Permission denied (publickey)."));
        }
        if let Some((who, what)) = &*self.broken.lock().unwrap()
            && who == short
            && script.contains(what)
        {
            return Err(unreachable(Cause::Lost, "closed by remote host"));
        }
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script, "csync_wizard"])
            .args(args)
            .env("DSAU_ROOT", self.root(short));
        Ok(feed(&mut command, stdin)?)
    }
}

/// A dialog whose texts count as events.
struct Watched<'a, D> {
    lines: D,
    site: &'a Site,
}

impl<D: Dialog> Dialog for Watched<'_, D> {
    fn say(&mut self, text: &str) -> Result<(), Stop> {
        self.site.event();
        self.lines.say(text)
    }

    fn line(&mut self, text: &str) -> Result<(), Stop> {
        self.lines.line(text)
    }

    fn ask(&mut self, question: &Question) -> Result<String, Stop> {
        self.lines.ask(question)
    }

    fn pause(&mut self) -> Result<(), Stop> {
        self.lines.pause()
    }
}

pub fn unreachable(cause: Cause, said: &str) -> RemoteError {
    RemoteError::Unreachable(Trouble {
        cause,
        said: said.to_string(),
    })
}
