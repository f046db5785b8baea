//! Connections that are kept after a command: where their sockets are, how ssh is told, how they are closed.
//!
//! The connection belongs to an ssh of the user's own that stays in the background (`ControlMaster`) until it has been
//! idle for some time. It takes new sessions over a socket in a directory that nobody else can enter; see [`super::mux`].

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bstr::BString;

use super::config::{Found, environment};
use super::mux::{self, Message};
use super::{Ssh, config};
use crate::digest::{hex, sha256};
use crate::hosts::Host;
use crate::sys::Paths;
use crate::sys::pass::connect_now;

/// The longest path of a socket, in bytes: 107 are allowed, and ssh makes it under a name that is 17 longer.
const PATH_LIMIT: usize = 107 - 17;

/// How long a connection that is told to close may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How connections are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The directory of the sockets; nobody else can enter it.
    pub dir: PathBuf,
    /// After how many idle seconds a connection ends.
    pub seconds: u32,
    /// What each session gets of the environment, `NAME=value`.
    pub environment: Vec<BString>,
    /// What the configuration of ssh says of the way to each host; none: it is left to ssh.
    pub ways: Option<Arc<Found>>,
}

/// A kept connection to one host, as far as it is there, and what to run over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The socket.
    pub socket: PathBuf,
    /// Options for an ssh that makes the connection and leaves it behind.
    pub options: Vec<OsString>,
    /// The request for a session, ready to be sent.
    pub request: Vec<u8>,
    /// How long opening a session may take.
    pub patience: Duration,
    /// An ssh that holds a connection which is made here, where that is possible.
    pub hold: Option<Hold>,
}

/// How to make a connection here and to have ssh keep it. The socket of the connection is ssh's standard input and output
/// (`ProxyCommand=-`); when it has logged in it goes into the background, where it takes sessions.
///
/// ssh itself leaves Nagle's algorithm on until the command runs. Together with delayed acknowledgements that is two
/// waits of 40 ms in each login; a connection that is made here has none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The host to connect to.
    pub name: String,
    /// The port.
    pub port: u16,
    /// How long connecting may take; after that ssh shall try it on its own, and say what is wrong.
    pub patience: Duration,
    /// Program and arguments, but for the place of the socket for sessions.
    pub argv: Vec<OsString>,
}

impl Hold {
    /// The command line, with the place of the socket for sessions. Nothing may be there: ssh would go into the
    /// background all the same, and stay there.
    pub fn command(&self, socket: &Path) -> Vec<OsString> {
        let mut argv = self.argv.clone();
        let mut option = OsString::from("-oControlPath=");
        option.push(socket);
        argv.insert(1, option);
        argv
    }
}

impl Keep {
    /// Makes ready to keep connections for `seconds`. The error says in one sentence why it cannot be: the user's own
    /// configuration does it its own way (unless `forced`), or there is no private directory.
    pub fn prepare(paths: &Paths, seconds: u32, forced: bool) -> Result<Self, String> {
        let found = config::look();
        if let (Some(own), false) = (&found.own, forced) {
            return Err(format!("{own}: connections are left to the configuration of ssh"));
        }
        let dir = place(paths).ok_or("there is no run-time directory of this user's own")?;
        private(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-".contains(b);
        let bytes = dir.as_os_str().as_bytes();
        if bytes.len() + 1 + NAME > PATH_LIMIT || !bytes.iter().all(plain) {
            return Err(format!("{}: no path for a socket", dir.display()));
        }
        Ok(Keep {
            dir,
            seconds: seconds.max(1),
            environment: environment(&found.send),
            ways: found.own.is_none().then(|| Arc::new(found)),
        })
    }

    /// What keeping means for one host and one command.
    pub(super) fn launch(&self, ssh: &Ssh, host: &Host, command: &[OsString]) -> Option<Kept> {
        let text = command.join(std::ffi::OsStr::new(" "));
        let mut request = mux::hello();
        request.extend(mux::open(1, text.as_bytes(), &self.environment));
        // A login without a command has no place here; a long one must not wait for room in the socket.
        if text.is_empty() || request.len() > mux::REQUEST_LIMIT {
            return None;
        }
        let socket = self.dir.join(name(ssh, host));
        let mut options = Vec::new();
        let mut option = |key: &str, value: &std::ffi::OsStr| {
            let mut text = OsString::from(key);
            text.push(value);
            options.extend([OsString::from("-o"), text]);
        };
        option("ControlMaster=", "auto".as_ref());
        option("ControlPersist=", self.seconds.to_string().as_ref());
        option("ControlPath=", socket.as_os_str());
        Some(Kept {
            socket,
            options,
            request,
            patience: Duration::from_secs(u64::from(ssh.connect_seconds.max(1))),
            hold: self.hold(ssh, host),
        })
    }

    /// Whether and how a connection can be made here. Another program than the system's ssh may know other ways.
    fn hold(&self, ssh: &Ssh, host: &Host) -> Option<Hold> {
        let ways = self.ways.as_ref()?;
        if ssh.program != Path::new("ssh") || !ssh.batch || !ssh.options.is_empty() || !ways.direct(&host.name) {
            return None;
        }
        let mut argv = ssh.options(host);
        argv.extend(["-f", "-N", "-M", "-oProxyCommand=-"].map(OsString::from));
        argv.push(format!("-oControlPersist={}", self.seconds).into());
        argv.extend(["--", host.name.as_str()].map(OsString::from));
        Some(Hold {
            name: host.name.clone(),
            port: host.port.unwrap_or(22),
            patience: Duration::from_millis((u64::from(ssh.connect_seconds.max(1)) * 250).min(500)),
            argv,
        })
    }
}

/// The length of a socket's name.
const NAME: usize = 24;

/// Whatever makes a connection another one is in its name: the host, who logs in there, how, and with whose agent.
fn name(ssh: &Ssh, host: &Host) -> String {
    let mut text = Vec::new();
    let mut add = |bytes: &[u8]| {
        text.extend_from_slice(&bytes.len().to_be_bytes());
        text.extend_from_slice(bytes);
    };
    add(ssh.program.as_os_str().as_bytes());
    add(host.name.as_bytes());
    add(host.port.map(|port| port.to_string()).unwrap_or_default().as_bytes());
    add(host
        .user
        .as_ref()
        .or(ssh.user.as_ref())
        .map_or("", String::as_str)
        .as_bytes());
    add(std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default().as_bytes());
    for option in &ssh.options {
        add(option.as_bytes());
    }
    let mut name = hex(&sha256(&text));
    name.truncate(NAME);
    name
}

/// Where the sockets of this user are: `/run/dsau/ssh` for root, else `dsau` in the user's run-time directory.
pub fn place(paths: &Paths) -> Option<PathBuf> {
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        return Some(paths.at("/run/dsau/ssh"));
    }
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let own = |dir: &PathBuf| dir.is_absolute() && dir.metadata().is_ok_and(|meta| meta.uid() == uid.as_raw());
    given.into_iter().chain([usual]).find(own).map(|dir| dir.join("dsau"))
}

/// Makes the directory, and makes sure that nobody else can enter it.
fn private(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = dir.symlink_metadata()?;
    let ours = meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    match ours {
        true => Ok(()),
        false => Err(io::Error::other("not a directory of this user's own with mode 0700")),
    }
}

/// Closes all kept connections of this user, with the sessions on them; gives how many there were.
pub fn close_all(paths: &Paths) -> io::Result<usize> {
    let Some(dir) = place(paths) else {
        return Ok(0);
    };
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => {
            private(&dir)?;
            entries?
        }
    };
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_socket() {
            continue;
        }
        let path = entry.path();
        let closed = close(&path).is_ok();
        count += usize::from(closed);
        // Nobody is behind it any more, or nobody who listens: it must not stand in the way of the next one.
        if !closed || !lives(&path) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(count)
}

fn close(socket: &Path) -> io::Result<()> {
    match ask(socket, &mux::terminate(1)) {
        Ok(Message::Refused(..)) => Err(io::ErrorKind::PermissionDenied.into()),
        Ok(_) => Ok(()),
        // Gone without a word is gone, too.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the owner of a connection lives. That its socket takes us in says nothing: the sockets of a process that is
/// being killed close one after the other. May take a second.
pub fn lives(socket: &Path) -> bool {
    matches!(ask(socket, &mux::alive(1)), Ok(Message::Alive(..)))
}

/// Asks the owner of a connection one thing, and gives its answer.
fn ask(socket: &Path, request: &[u8]) -> io::Result<Message> {
    let mut stream = connect_now(socket)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[&mux::hello(), request].concat())?;
    let (mut reader, mut buffer) = (mux::Reader::default(), [0; 512]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reader.feed(&buffer[..count]);
        while let Some(message) = reader.message().map_err(|_| io::ErrorKind::InvalidData)? {
            if let Message::Ok(_) | Message::Alive(..) | Message::Refused(..) = message {
                return Ok(message);
            }
        }
    }
}
