//! All paths of the suite come from here (FIL-01 … FIL-19). A root prefix (`DSAU_ROOT`) lets a test live elsewhere.

use std::path::{Path, PathBuf};

/// The places of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths::from_env()
    }
}

impl Paths {
    /// Paths under `/`, or under `DSAU_ROOT` when that is an absolute path.
    pub fn from_env() -> Self {
        match std::env::var_os("DSAU_ROOT") {
            Some(root) if Path::new(&root).is_absolute() => Paths::under(root),
            _ => Paths::under("/"),
        }
    }

    /// Paths under the given prefix.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Paths { root: root.into() }
    }

    /// An absolute path of the manuals, under the prefix.
    pub fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// `/opt/dsau`.
    pub fn opt(&self) -> PathBuf {
        self.at("/opt/dsau")
    }

    /// FIL-06: the five policy templates.
    pub fn templates(&self) -> PathBuf {
        self.at("/opt/dsau/share/cfengine/templates")
    }

    /// FIL-09: the work directory on every system. For a user who is not root it is `$HOME/.cfagent` (cfengine2.md 4).
    pub fn work(&self) -> PathBuf {
        if self.root == Path::new("/")
            && !nix::unistd::geteuid().is_root()
            && let Some(home) = std::env::var_os("HOME")
        {
            return PathBuf::from(home).join(".cfagent");
        }
        self.at("/var/opt/dsau/cfengine")
    }

    /// FIL-10: local copies of the policy files; an absolute `CFINPUTS` overrides it.
    pub fn inputs(&self) -> PathBuf {
        match std::env::var_os("CFINPUTS") {
            Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
            _ => self.work().join("inputs"),
        }
    }

    /// FIL-11: output of agent runs collected by cfexecd.
    pub fn outputs(&self) -> PathBuf {
        self.work().join("outputs")
    }

    /// FIL-12: the key store.
    pub fn ppkeys(&self) -> PathBuf {
        self.work().join("ppkeys")
    }

    /// FIL-13: local copies of the programs.
    pub fn work_bin(&self) -> PathBuf {
        self.work().join("bin")
    }

    /// Locks, digests, persistent classes.
    pub fn state(&self) -> PathBuf {
        self.work().join("state")
    }

    /// FIL-14: backups of the wizard.
    pub fn backups(&self) -> PathBuf {
        self.work().join("backups")
    }

    /// FIL-15: the answers of the last wizard run.
    pub fn wizard_answers(&self) -> PathBuf {
        self.work().join("tmpdir/csync_wizard_input.txt")
    }

    /// The master's own tree of a standalone master (FIL-16 is its `inputs`).
    pub fn master(&self) -> PathBuf {
        self.at("/var/opt/dsau/cfengine_master")
    }

    /// FIL-01: the start-up variable file of cfservd.
    pub fn rc_cfservd(&self) -> PathBuf {
        self.at("/etc/rc.config.d/cfservd")
    }

    /// FIL-02: the start and stop scripts.
    pub fn init_d(&self) -> PathBuf {
        self.at("/sbin/init.d")
    }

    /// Pid files of the daemons.
    pub fn pid_file(&self, daemon: &str) -> PathBuf {
        self.work().join(format!("{daemon}.pid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_manuals_is_found_under_the_prefix() {
        let paths = Paths::under("/lab/h1");
        assert_eq!(paths.ppkeys(), Path::new("/lab/h1/var/opt/dsau/cfengine/ppkeys"));
        assert_eq!(
            paths.templates(),
            Path::new("/lab/h1/opt/dsau/share/cfengine/templates")
        );
        assert_eq!(
            paths.wizard_answers(),
            Path::new("/lab/h1/var/opt/dsau/cfengine/tmpdir/csync_wizard_input.txt")
        );
    }
}
