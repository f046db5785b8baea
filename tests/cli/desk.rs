//! A desk for tests of policies: a directory `T` for the objects, a policy that names it, and cfagent run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// A directory of its own, gone with the test.
pub struct Desk {
    top: tempfile::TempDir,
}

/// What a run said and how it ended.
pub struct Said {
    /// Lines of standard output; the host's name is `HOST`, the directory `T`.
    pub out: Vec<String>,
    /// Standard error, likewise.
    pub err: String,
    /// The exit status.
    pub status: i32,
}

impl Desk {
    /// An empty desk.
    pub fn new() -> Desk {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("t")).unwrap();
        fs::create_dir(top.path().join("inputs")).unwrap();
        Desk { top }
    }

    /// A path on the desk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.path().join("t").join(name)
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, content: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A file's content.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A file's permissions.
    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The names in a directory, sorted.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs the agent without locks on a policy in which `T` is the desk's directory (`$(T)` in the text below).
    pub fn run(&self, args: &[&str], policy: &str) -> Said {
        self.run_with_locks(&[&["-K"], args].concat(), policy)
    }

    /// As [`Desk::run`], with locks.
    pub fn run_with_locks(&self, args: &[&str], policy: &str) -> Said {
        self.told(self.command(args, policy).output().unwrap())
    }

    /// Runs a shell script in name spaces of its own (`flags` are those of unshare(1)), in the desk's directory; `"$@"` is
    /// the agent as [`Desk::run`] starts it. `None`, and a word about it, where this machine allows no such thing.
    pub fn apart(&self, flags: &str, script: &str, args: &[&str], policy: &str) -> Option<Said> {
        let possible = std::process::Command::new("unshare").args([flags, "true"]).output();
        if !possible.is_ok_and(|ran| ran.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "needs name spaces (unshare {flags})");
            eprintln!("skipped: unshare {flags} is not allowed here");
            return None;
        }
        let agent = self.command(&[&["-K"], args].concat(), policy);
        let mut shell = std::process::Command::new("unshare");
        shell.args([flags, "sh", "-ec", script, "sh"]);
        shell.arg(agent.get_program()).args(agent.get_args());
        shell.env_clear().current_dir(self.path(""));
        shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Some(self.told(shell.output().unwrap()))
    }

    /// A file below the desk's own root, `/etc/fstab` for instance.
    pub fn system(&self, path: &str) -> PathBuf {
        self.top.path().join(path.trim_start_matches('/'))
    }

    /// Puts a file below the desk's own root.
    pub fn put_system(&self, path: &str, content: &str) {
        let path = self.system(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The content of a file below the desk's own root; empty where there is none.
    pub fn read_system(&self, path: &str) -> String {
        fs::read_to_string(self.system(path)).unwrap_or_default()
    }

    fn command(&self, args: &[&str], policy: &str) -> Command {
        let t = self.path("");
        let t = t.to_str().unwrap().trim_end_matches('/');
        let file = self.top.path().join("inputs/p.cf");
        fs::write(&file, policy.replace("@T@", t)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::cargo_bin("cfagent").unwrap();
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TZ", "UTC")
            .env("HOME", self.top.path())
            .env("DSAU_ROOT", self.top.path())
            .env("CFINPUTS", self.top.path().join("inputs"))
            .arg("-q")
            .args(args)
            .arg("-f")
            .arg(&file);
        command
    }

    fn told(&self, output: std::process::Output) -> Said {
        let t = self.path("");
        let t = t.to_str().unwrap().trim_end_matches('/');
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let short = host.split('.').next().unwrap().to_lowercase();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(t, "T")
                .replace(self.top.path().to_str().unwrap(), "TOP")
                .replace(&format!("cfengine:{short}"), "cfengine:HOST")
        };
        Said {
            out: text(&output.stdout).lines().map(str::to_string).collect(),
            err: text(&output.stderr),
            status: output.status.code().unwrap(),
        }
    }
}

impl Said {
    /// Whether a line was said.
    pub fn has(&self, line: &str) -> bool {
        self.out.iter().any(|said| said == line)
    }
}

/// Where a path is, for messages of assertions.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
