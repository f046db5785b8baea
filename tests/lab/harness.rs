//! The lab as the tests see it: `Lab::up(4)` brings up hosts with the build under test installed, dropping it takes them
//! away. The lab is tied to this process by a pipe: it ends with the test run, however that ends.

#![allow(dead_code)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// The domain of hosts named without one.
pub const DOMAIN: &str = "lab.example.com";

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab");

/// Hosts that exist as long as this value.
pub struct Lab {
    name: String,
    hosts: Vec<String>,
    tie: Option<ChildStdin>,
}

/// What a command on a host did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit status; 255 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Both streams, for messages that may come on either.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(255),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Lab {
    /// Brings up `master`, `client1`, `client2`, … : `n` hosts. None, with the reason said, where a lab cannot be.
    pub fn up(n: usize) -> Option<Lab> {
        let names: Vec<String> = (0..n)
            .map(|i| match i {
                0 => "master".into(),
                i => format!("client{i}"),
            })
            .collect();
        Lab::of(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Brings up hosts of the given names; a name with dots is taken as it is.
    pub fn of(names: &[&str]) -> Option<Lab> {
        if let Some(reason) = missing() {
            assert!(std::env::var_os("CI").is_none(), "the lab must run in CI: {reason}");
            eprintln!("skipped: no lab here: {reason}");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = installed();
        let lock = File::open(lock_path(&root)).unwrap();
        lock.lock_shared().unwrap();
        let mut child = Command::new(TOOL)
            .args(["-n", &name, "-t", "-r"])
            .arg(&root)
            .arg("up")
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let tie = child.stdin.take();
        let lab = Lab {
            name,
            hosts: names.iter().map(ToString::to_string).collect(),
            tie,
        };
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "lab up: {}", ran.all());
        Some(lab)
    }

    /// Brings up `n` hosts of which `master` reaches all others by key, without a question, and with an exchange of keys
    /// that costs little.
    pub fn trusted(n: usize) -> Option<Lab> {
        let lab = Lab::up(n)?;
        let key = lab.ok(
            "master",
            "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; cat /root/.ssh/id_ed25519.pub
            echo 'KexAlgorithms curve25519-sha256' >>/etc/ssh/ssh_config",
        );
        let give = format!(
            "echo '{}' >/root/.ssh/authorized_keys; cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub",
            key.trim()
        );
        let known: String = (1..n)
            .map(|i| format!("client{i} {}", lab.ok(&format!("client{i}"), &give)))
            .collect();
        lab.write("master", "/root/.ssh/known_hosts", known);
        Some(lab)
    }

    /// Its name, for the `lab` command.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of a host.
    pub fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|h| h.split('.').next() == Some(host));
        format!("10.78.1.{}", index.unwrap_or_else(|| panic!("no host {host}")) + 1)
    }

    /// The command that runs a shell line on a host, ready to be given pipes.
    pub fn command(&self, host: &str, line: &str) -> Command {
        let mut command = Command::new(TOOL);
        command.args(["-n", &self.name, "sh", host, line]).stdin(Stdio::null());
        command
    }

    /// Runs a shell line as root on a host.
    pub fn sh(&self, host: &str, line: &str) -> Ran {
        self.command(host, line).output().unwrap().into()
    }

    /// Starts a shell line and leaves it running; its output goes nowhere.
    pub fn spawn(&self, host: &str, line: &str) -> Child {
        let mut command = self.command(host, line);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts a shell line and leaves it running; what it says is read when it is waited for with [`ended`].
    pub fn begin(&self, host: &str, line: &str) -> Child {
        let mut command = self.command(host, line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a shell line on a terminal of its own: what is written to its standard input is typed there.
    #[track_caller]
    pub fn type_to(&self, host: &str, line: &str) -> Child {
        self.write(host, "/root/typed", line);
        let mut command = self.command(host, "exec script -q -e -c 'exec bash /root/typed' /dev/null");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a shell line that must succeed; gives its standard output.
    #[track_caller]
    pub fn ok(&self, host: &str, line: &str) -> String {
        let ran = self.sh(host, line);
        assert_eq!(ran.code, 0, "{host}# {line}\n{}{}", ran.out, ran.err);
        ran.out
    }

    /// Writes a file, making its folder.
    #[track_caller]
    pub fn write(&self, host: &str, path: &str, bytes: impl AsRef<[u8]>) {
        let mut child = self
            .command(host, &format!("mkdir -p \"$(dirname '{path}')\" && cat >'{path}'"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes.as_ref()).unwrap();
        assert!(child.wait().unwrap().success(), "cannot write {path} on {host}");
    }

    /// Reads a file that must be there.
    #[track_caller]
    pub fn read(&self, host: &str, path: &str) -> String {
        self.ok(host, &format!("cat '{path}'"))
    }

    /// Power cut.
    #[track_caller]
    pub fn kill(&self, host: &str) {
        self.tool("kill", host);
    }

    /// Switches a host on again.
    #[track_caller]
    pub fn boot(&self, host: &str) {
        self.tool("boot", host);
    }

    /// Pulls the network cable.
    #[track_caller]
    pub fn cut(&self, host: &str) {
        self.tool("cut", host);
    }

    /// Plugs it in again.
    #[track_caller]
    pub fn heal(&self, host: &str) {
        self.tool("heal", host);
    }

    #[track_caller]
    fn tool(&self, verb: &str, host: &str) {
        let ran: Ran = Command::new(TOOL)
            .args(["-n", &self.name, verb, host])
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, 0, "lab {verb} {host}: {}", ran.all());
    }

    /// Waits until a shell line succeeds on a host, at most 30 s.
    #[track_caller]
    pub fn wait(&self, host: &str, line: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let ran = self.sh(host, line);
            if ran.code == 0 {
                return;
            }
            assert!(Instant::now() < end, "never true on {host}: {line}\n{}", ran.all());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the lab without tidying up, as a test run does that is killed.
    pub fn crash(mut self) {
        self.tie = None;
        std::mem::forget(self);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in &self.hosts {
                let log = self
                    .sh(host.split('.').next().unwrap_or_default(), "cat /var/log/syslog")
                    .out;
                if !log.is_empty() {
                    eprintln!("--- syslog of {host}\n{log}");
                }
            }
        }
        self.tie = None;
        let done = Command::new(TOOL).args(["-n", &self.name, "down"]).status();
        if !std::thread::panicking() {
            assert!(done.unwrap().success(), "lab down");
        }
    }
}

/// Waits for what was begun, and gives what it did.
pub fn ended(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}

/// A lab that several tests use, one after the other. A test that fails takes it away, so that the next one finds it as
/// it should be.
pub struct Shared {
    lab: Mutex<Option<Lab>>,
    make: fn() -> Option<Lab>,
}

impl Shared {
    /// A lab that is made when it is first asked for. It ends with the test run.
    pub const fn new(make: fn() -> Option<Lab>) -> Self {
        Shared {
            lab: Mutex::new(None),
            make,
        }
    }

    /// Runs a test in it; does nothing where a lab cannot be.
    pub fn with(&self, test: impl FnOnce(&Lab)) {
        self.place(|place| {
            if let Some(lab) = place.as_ref() {
                test(lab);
            }
        });
    }

    /// Runs a test that leaves it of no use to others.
    pub fn last(&self, test: impl FnOnce(&Lab)) {
        self.place(|place| {
            if let Some(lab) = place.take() {
                test(&lab);
            }
        });
    }

    fn place(&self, run: impl FnOnce(&mut Option<Lab>)) {
        let mut place = self.lab.lock().unwrap_or_else(|poisoned| {
            self.lab.clear_poison();
            let mut place = poisoned.into_inner();
            drop(place.take());
            place
        });
        if place.is_none() {
            *place = (self.make)();
        }
        run(&mut place);
    }
}

/// Why a lab cannot be here.
fn missing() -> Option<String> {
    static ANSWER: OnceLock<Option<String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| {
            if !nix::unistd::geteuid().is_root() {
                return Some("needs root".into());
            }
            let tools = "ip unshare nsenter setpriv script dnsmasq sshd ssh-keygen perl ss make sudo";
            let script = format!("for t in {tools}; do command -v $t >/dev/null || echo $t; done");
            let lacking = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
            if !lacking.is_empty() {
                let lacking = String::from_utf8_lossy(&lacking);
                return Some(format!(
                    "needs {} (tests/setup installs it)",
                    lacking.trim().replace('\n', ", ")
                ));
            }
            let tried = Command::new("unshare")
                .args([
                    "--net", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "true",
                ])
                .output()
                .unwrap();
            (!tried.status.success()).then(|| String::from_utf8_lossy(&tried.stderr).trim().to_string())
        })
        .clone()
}

fn lock_path(root: &Path) -> PathBuf {
    root.with_extension("lock")
}

/// Installs the build under test beside it, once for all tests and only when it is newer.
fn installed() -> PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = Path::new(env!("CARGO_BIN_EXE_dsau")).parent().unwrap();
        let target = built.parent().unwrap();
        let root = target.join("lab-root");
        let lock = File::create(lock_path(&root)).unwrap();
        lock.lock().unwrap();
        let stamp = root.with_extension("stamp");
        let newest = [
            built.join("dsau"),
            built.join("cfservd"),
            project.join("Makefile"),
            project.join("share"),
            project.join("init"),
            project.join("man"),
        ]
        .iter()
        .map(|path| newest(path))
        .max();
        let made = fs::metadata(&stamp).and_then(|m| m.modified()).ok();
        if made < newest || !root.exists() {
            let _ = fs::remove_dir_all(&root);
            let ran: Ran = Command::new("make")
                .current_dir(project)
                .args(["-s", "install"])
                .arg(format!("PROFILE={}", built.file_name().unwrap().to_string_lossy()))
                .arg(format!("TARGET={}", target.display()))
                .arg(format!("DESTDIR={}", root.display()))
                .env_remove("MAKEFLAGS")
                .output()
                .unwrap()
                .into();
            assert_eq!(ran.code, 0, "make install: {}", ran.all());
            File::create(&stamp).unwrap().set_modified(newest.unwrap()).unwrap();
        }
        root
    })
    .clone()
}

fn newest(path: &Path) -> SystemTime {
    let Ok(meta) = fs::metadata(path) else {
        return SystemTime::UNIX_EPOCH;
    };
    let own = meta.modified().unwrap();
    if !meta.is_dir() {
        return own;
    }
    fs::read_dir(path)
        .unwrap()
        .map(|entry| newest(&entry.unwrap().path()))
        .fold(own, Ord::max)
}
