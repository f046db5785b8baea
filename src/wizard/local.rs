//! Programs and keys on the master itself.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::keys::{KeyError, PublicKey, Store};
use crate::sys::{self, Paths};

use super::error::WizardError;
use super::files::private_dir;
use super::process::{PATIENCE, await_end};
use super::remote::Output;

/// The user whose keys these are (KY-02).
pub(super) const USER: &str = "root";
/// What is kept of a program's output.
const MAX_OUTPUT: u64 = 64 * 1024;
/// The programs in WORK/bin (FIL-13).
const PROGRAMS: [&str; 5] = ["cfagent", "cfexecd", "cfservd", "cfrun", "cfkey"];

/// Runs a program of this system to its end. Its output goes to a file: a daemon that it leaves behind may keep it open.
pub(super) fn run(paths: &Paths, program: &Path, args: &[&str]) -> Result<(), WizardError> {
    let failed = |why: String| WizardError::Program {
        program: program.to_path_buf(),
        why,
    };
    let output = capture(paths, program, args).map_err(|e| failed(e.to_string()))?;
    match output.status {
        0 => Ok(()),
        _ => Err(failed(output.last_words())),
    }
}

fn capture(paths: &Paths, program: &Path, args: &[&str]) -> io::Result<Output> {
    let dir = tmpdir(paths)?;
    let name = dir.join(format!(".said.{}", std::process::id()));
    let mut said = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)?;
    fs::remove_file(&name)?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .process_group(0);
    let root = paths.at("/");
    if root != Path::new("/") {
        command.env("DSAU_ROOT", root);
    }
    let status = await_end(&mut command.spawn()?, PATIENCE)?;
    said.rewind()?;
    let mut stdout = Vec::new();
    said.take(MAX_OUTPUT).read_to_end(&mut stdout)?;
    Ok(Output {
        status,
        stdout,
        ..Output::default()
    })
}

/// The directory of FIL-15.
fn tmpdir(paths: &Paths) -> io::Result<std::path::PathBuf> {
    let answers = paths.wizard_answers();
    let dir = answers.parent().unwrap_or(Path::new("/")).to_path_buf();
    private_dir(&dir)?;
    Ok(dir)
}

/// Only one wizard at a time.
pub(super) fn lock(paths: &Paths) -> Result<Flock<File>, WizardError> {
    let held = tmpdir(paths).and_then(|dir| {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("csync_wizard.lock"))
    });
    let file = held.map_err(WizardError::io("cannot make the lock file"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => WizardError::Busy,
        other => WizardError::io("cannot lock")(other.into()),
    })
}

/// The process in the pid file of a daemon, if it is that daemon.
pub(super) fn daemon(paths: &Paths, name: &str) -> Option<u32> {
    let pid: u32 = fs::read_to_string(paths.pid_file(name)).ok()?.trim().parse().ok()?;
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (comm.trim() == name).then_some(pid)
}

/// Whether there is a place for all that will be written: asked before anything else is.
pub(super) fn writable(paths: &Paths) -> Result<(), WizardError> {
    for dir in [paths.master(), paths.work(), paths.ppkeys(), paths.rc_cfservd()] {
        // What does not exist yet is made where the first directory above it is.
        let Some(there) = dir.ancestors().find(|dir| dir.exists()) else {
            continue;
        };
        nix::unistd::access(there, nix::unistd::AccessFlags::W_OK)
            .map_err(|errno| WizardError::io(format!("cannot write in {}", there.display()))(errno.into()))?;
    }
    Ok(())
}

/// `start`, `stop` or `restart` of cfservd (FIL-02).
pub(super) fn service(paths: &Paths, verb: &str) -> Result<(), WizardError> {
    run(paths, &paths.init_d().join("cfservd"), &[verb])
}

/// One run of cfagent on the master: its own copies of the policy come from where those of all others come from.
pub(super) fn agent(paths: &Paths) -> Result<(), WizardError> {
    run(
        paths,
        &paths.opt().join("sbin/cfagent"),
        &["--no-lock", "--no-splay", "--inform"],
    )
}

/// Makes WORK/bin.
pub(super) fn programs(paths: &Paths) -> Result<(), WizardError> {
    let bin = paths.work_bin();
    let make = || -> io::Result<()> {
        fs::create_dir_all(&bin)?;
        for program in PROGRAMS {
            match symlink(paths.opt().join("sbin").join(program), bin.join(program)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        Ok(())
    };
    make().map_err(WizardError::io(format!("cannot make {}", bin.display())))
}

/// The master's own key, made where there is none (KY-01); never overwritten. Trusted at its own addresses (KY-03).
pub(super) fn own_key(store: &Store, addresses: &[IpAddr]) -> Result<PublicKey, WizardError> {
    store.prepare()?;
    let private = match store.load_local() {
        Ok(key) => key,
        Err(KeyError::Missing(_)) => Store::create(&store.local())?,
        Err(other) => return Err(other.into()),
    };
    // A run that was killed between the two halves leaves a public half that is missing or old.
    let half = store.local().with_extension("pub");
    let pem = private.public().pem();
    if fs::read(&half).ok().as_deref() != Some(pem.as_bytes()) {
        sys::replace(&half, pem.as_bytes(), 0o644)
            .map_err(WizardError::io(format!("cannot write {}", half.display())))?;
    }
    trust(store, addresses, &private.public())?;
    Ok(private.public())
}

/// Trusts a key for root at these addresses. It came over ssh, so it takes the place of an older one.
pub(super) fn trust(store: &Store, addresses: &[IpAddr], key: &PublicKey) -> Result<(), WizardError> {
    for address in addresses {
        if store.trusted(USER, *address)?.is_some_and(|old| old != *key) {
            distrust(store, &[*address])?;
        }
        store.trust(USER, *address, key)?;
    }
    Ok(())
}

/// Forgets the keys of these addresses.
pub(super) fn distrust(store: &Store, addresses: &[IpAddr]) -> Result<(), WizardError> {
    for address in addresses {
        let file = store.trusted_file(USER, *address)?;
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(WizardError::io(format!("cannot remove {}", file.display()))(e));
            }
            _ => {}
        }
    }
    Ok(())
}
