//! [`Machine`]: the real answers to what the policy language asks.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use nix::unistd::{Gid, Group, Uid, User};
use ring::rand::SecureRandom;

use super::host::Host;
use crate::policy::{CommandOutput, FileFacts, FileKind, World};
use crate::sys::at::Dir;
use crate::sys::process::{self, Argv, Command};
use crate::sys::{Paths, names};

/// No policy file is larger: what is larger is a mistake or an attack.
const POLICY_LIMIT: u64 = 64 << 20;
/// What a command may print into a variable.
const OUTPUT_LIMIT: usize = 1 << 20;
/// How long a command of ExecResult or ReturnsZero may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(300);
/// How long ReadTCP may take for each step.
const TCP_PATIENCE: Duration = Duration::from_secs(10);

/// This machine as the policy language sees it.
pub struct Machine {
    inputs: PathBuf,
    modules: PathBuf,
    host: Host,
    notes: Vec<String>,
    library_path: Option<OsString>,
    /// A policy file that was read before.
    given: Option<(PathBuf, Vec<u8>)>,
}

impl Machine {
    /// A machine whose policy files lie in the inputs directory and whose modules lie in `WORK/modules`.
    pub fn new(paths: &Paths, host: Host) -> Self {
        Machine {
            inputs: paths.inputs(),
            modules: paths.work().join("modules"),
            host,
            notes: Vec::new(),
            library_path: None,
            given: None,
        }
    }

    /// Policy files are looked up in this directory instead.
    #[must_use]
    pub fn with_inputs(mut self, inputs: impl Into<PathBuf>) -> Self {
        self.inputs = inputs.into();
        self
    }

    /// Modules are looked up in this directory instead (`moduledirectory`).
    pub fn set_modules(&mut self, modules: impl Into<PathBuf>) {
        self.modules = modules.into();
    }

    /// Commands find their libraries here (`ChildLibPath`).
    pub fn set_library_path(&mut self, path: impl Into<OsString>) {
        self.library_path = Some(path.into());
    }

    /// What that makes of a command's environment.
    pub fn library_path(&self) -> Option<(OsString, OsString)> {
        let path = self.library_path.clone()?;
        Some(("LD_LIBRARY_PATH".into(), path))
    }

    /// Where modules and methods are.
    pub fn modules(&self) -> &Path {
        &self.modules
    }

    /// A policy file as it was read already, for when it is out of reach.
    pub fn give_policy(&mut self, path: PathBuf, content: Vec<u8>) {
        self.given = Some((path, content));
    }

    /// Leaves out the interfaces whose name is chosen. Gives what the host was and what it is now, if that changes it.
    pub fn ignore_interfaces(&mut self, chosen: &dyn Fn(&str) -> bool) -> Option<(Host, Host)> {
        let before = self.host.clone();
        self.host.interfaces.retain(|interface| !chosen(&interface.name));
        (before != self.host).then(|| (before, self.host.clone()))
    }

    /// What was found out about the host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Takes what was said at verbose level since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

impl World for Machine {
    fn read_policy(&mut self, name: &BStr) -> io::Result<(PathBuf, Vec<u8>)> {
        let name = name
            .to_path()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        if let Some((path, content)) = self.given.as_ref().filter(|(path, _)| path == name) {
            return Ok((path.clone(), content.clone()));
        }
        let direct = name.is_absolute() || name.as_os_str().as_encoded_bytes().starts_with(b".");
        let path = if direct {
            name.to_path_buf()
        } else {
            self.inputs.join(name)
        };
        let file = fs::File::open(&path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        let mut text = Vec::new();
        file.take(POLICY_LIMIT + 1).read_to_end(&mut text)?;
        if text.len() as u64 > POLICY_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "a policy file may not be larger than 64 MiB",
            ));
        }
        Ok((path, text))
    }

    fn env(&self, name: &BStr) -> Option<BString> {
        let value = std::env::var_os(name.to_os_str().ok()?)?;
        Some(BString::from(value.into_encoded_bytes()))
    }

    fn run(&mut self, command: &BStr, shell: bool) -> io::Result<CommandOutput> {
        collect(
            Argv::from_line(command, shell),
            self.library_path().into_iter().collect(),
        )
    }

    fn lstat(&self, path: &BStr) -> Option<FileFacts> {
        let meta = fs::symlink_metadata(path.to_path().ok()?).ok()?;
        let kind = match meta.file_type() {
            t if t.is_symlink() => FileKind::Link,
            t if t.is_dir() => FileKind::Dir,
            t if t.is_file() => FileKind::Plain,
            _ => FileKind::Other,
        };
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some(FileFacts {
            kind,
            atime: nanos(meta.atime(), meta.atime_nsec()),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        })
    }

    fn read_file(&self, path: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        let path = path
            .to_path()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        let mut text = Vec::new();
        fs::File::open(path)?.take(limit as u64).read_to_end(&mut text)?;
        Ok(text)
    }

    fn user_exists(&self, user: &BStr) -> bool {
        let Ok(name) = user.to_str() else {
            return false;
        };
        let found = match name.parse() {
            Ok(id) => User::from_uid(Uid::from_raw(id)),
            Err(_) => User::from_name(name),
        };
        matches!(found, Ok(Some(_)))
    }

    fn group_exists(&self, group: &BStr) -> bool {
        let Ok(name) = group.to_str() else {
            return false;
        };
        let found = match name.parse() {
            Ok(id) => Group::from_gid(Gid::from_raw(id)),
            Err(_) => Group::from_name(name),
        };
        matches!(found, Ok(Some(_)))
    }

    fn in_netgroup(&self, group: &BStr) -> bool {
        names::in_netgroup(group, &self.host.full) || names::in_netgroup(group, &self.host.short)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.host.interfaces.iter().map(|interface| interface.address).collect()
    }

    fn run_module(&mut self, name: &BStr, args: &BStr, classes: &BStr) -> Option<io::Result<CommandOutput>> {
        // Links are resolved once: what was looked at is what runs.
        let program = self.modules.join(format!("module:{name}"));
        let program = fs::canonicalize(&program).ok()?;
        if let Err(error) = trusted(&program) {
            return Some(Err(error));
        }
        let mut argv = vec![path_bytes(&program)];
        argv.extend(process::split(args));
        let mut env: Vec<_> = self.library_path().into_iter().collect();
        env.push(("CFALLCLASSES".into(), classes.to_os_str_lossy().into_owned()));
        Some(collect(Argv::Direct(argv), env))
    }

    fn read_tcp(&mut self, host: &BStr, port: u16, send: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        let host = host
            .to_str()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a host name"))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TCP_PATIENCE) {
                Ok(mut stream) => {
                    stream.set_read_timeout(Some(TCP_PATIENCE))?;
                    stream.set_write_timeout(Some(TCP_PATIENCE))?;
                    stream.write_all(send)?;
                    let mut text = Vec::new();
                    stream.take(limit as u64).read_to_end(&mut text)?;
                    return Ok(text);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn random(&mut self, low: u64, high: u64) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness the lowest number is still within the range that was asked for.
        let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
        low + u64::from_le_bytes(bytes) % high.saturating_sub(low).max(1)
    }

    fn verbose(&mut self, text: &str) {
        self.notes.push(text.to_string());
    }
}

/// A program that runs with our rights is ours or root's, and nobody else may write it or put another one in its place.
/// The group of root is root.
fn trusted(program: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (program.parent(), program.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let own = nix::unistd::geteuid().as_raw();
    let dir = Dir::open(parent)?;
    let file = dir.object(name.as_encoded_bytes().as_bstr())?.meta()?;
    for (what, meta) in [("it", file), ("its directory", dir.self_meta()?)] {
        let group = meta.mode() & 0o020 != 0 && meta.gid() != 0;
        if !(meta.uid() == 0 || meta.uid() == own) || group || meta.mode() & 0o002 != 0 {
            let text = format!("{} is not run: others own {what} or may write it", program.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    Ok(())
}

fn path_bytes(path: &Path) -> BString {
    BString::from(path.as_os_str().as_encoded_bytes())
}

/// Runs a command and keeps what it prints, up to [`OUTPUT_LIMIT`].
fn collect(argv: Argv, env: Vec<(OsString, OsString)>) -> io::Result<CommandOutput> {
    let command = Command {
        timeout: Some(COMMAND_PATIENCE),
        env,
        ..Command::new(argv)
    };
    let mut text = BString::default();
    let outcome = process::run(&command, &mut |line| {
        let room = OUTPUT_LIMIT.saturating_sub(text.len());
        text.extend_from_slice(&line[..line.len().min(room)]);
        if room > 0 {
            text.push(b'\n');
        }
    })?;
    Ok(CommandOutput {
        text,
        status: outcome.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine::new(&Paths::under("/nonexistent"), Host::default())
    }

    #[test]
    fn a_relative_policy_name_is_looked_up_in_the_inputs_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cf.main"), "control:\n").unwrap();
        let mut machine = machine().with_inputs(dir.path());
        assert_eq!(machine.read_policy("cf.main".into()).unwrap().1, b"control:\n");
        let absolute = BString::from(dir.path().join("cf.main").into_os_string().into_encoded_bytes());
        assert_eq!(
            machine.read_policy(absolute.as_ref()).unwrap().0,
            dir.path().join("cf.main")
        );
        assert_eq!(
            machine.read_policy("nothing".into()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(machine.read_policy("/".into()).is_err());
    }

    #[test]
    fn a_command_gives_its_output_and_its_status() {
        let out = machine().run("/bin/echo one two; exit 3".into(), true).unwrap();
        assert_eq!((out.text.as_slice(), out.status), (b"one two\n".as_slice(), 3));
        let out = machine().run("/bin/echo 'one  two'".into(), false).unwrap();
        assert_eq!(out.text, "one  two\n");
    }

    #[test]
    fn users_and_groups_exist_by_name_and_by_number() {
        let machine = machine();
        assert!(machine.user_exists("root".into()) && machine.user_exists("0".into()));
        assert!(machine.group_exists("root".into()) && machine.group_exists("0".into()));
        assert!(!machine.user_exists("no-such-user".into()) && !machine.user_exists("4294967294".into()));
    }

    #[test]
    fn a_random_number_stays_in_its_range() {
        let mut machine = machine();
        assert!((0..100).all(|_| (5..7).contains(&machine.random(5, 7))));
    }

    #[test]
    fn a_module_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("module:hello");
        fs::write(&module, "#!/bin/sh\necho +hello $1\n").unwrap();
        let mut machine = machine();
        machine.set_modules(dir.path());
        fs::set_permissions(&module, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            machine
                .run_module("hello".into(), "you".into(), "any:linux".into())
                .unwrap()
                .unwrap()
                .text,
            "+hello you\n"
        );
        let mut refused = |why: &str| {
            let error = machine.run_module("hello".into(), "".into(), "".into()).unwrap();
            let error = error.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        let mode = |path: &Path, bits| fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
        mode(&module, 0o757);
        refused("others own it or may write it");
        mode(&module, 0o755);
        mode(dir.path(), 0o777);
        refused("others own its directory or may write it");
        mode(dir.path(), 0o755);
        if nix::unistd::geteuid().is_root() {
            // A group of others is others; root's own is not.
            let group = |gid| std::os::unix::fs::chown(&module, None, Some(gid)).unwrap();
            group(65534);
            mode(&module, 0o775);
            refused("others own it or may write it");
            group(0);
            let said = machine.run_module("hello".into(), "you".into(), "".into());
            assert_eq!(said.unwrap().unwrap().text, "+hello you\n");
        }
        assert!(machine.run_module("nothing".into(), "".into(), "".into()).is_none());
    }
}
