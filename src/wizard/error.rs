//! What can go wrong, what to do about it, and with which status the tool ends.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::diag::Exit;
use crate::hosts::FileError;
use crate::keys::KeyError;
use crate::rcconf::RcError;

use super::dialog::Stop;
use super::files::FilesError;
use super::names::NameError;

/// Why an option of the menu was not carried out.
#[derive(Debug)]
pub enum WizardError {
    /// The conversation ended.
    Stop(Stop),
    /// A name cannot be used.
    Name(NameError),
    /// The policy files cannot be made.
    Files(FilesError),
    /// The list of clients cannot be read.
    Hosts(FileError),
    /// A key cannot be made, read or stored.
    Key(KeyError),
    /// A start-up or answer file cannot be read or edited.
    Rc(RcError),
    /// Something on this system.
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program on this system failed.
    Program {
        /// Which one.
        program: PathBuf,
        /// Its last words.
        why: String,
    },
    /// Only a master can do this.
    NotMaster,
    /// Recorded answers of another system.
    OtherMaster {
        /// Whom the file is for.
        file: String,
        /// Who we are.
        own: String,
    },
    /// Not a managed client.
    NotClient(String),
    /// The master is no client.
    MasterItself(String),
    /// Two systems with one address.
    AddressTaken {
        /// Who cannot have it.
        name: String,
        /// Which one.
        address: IpAddr,
        /// Who has it.
        by: String,
    },
    /// Another wizard runs.
    Busy,
    /// There is no such backup.
    NoBackup(Option<String>),
    /// New keys are in use on some systems only.
    KeysHalf(Box<WizardError>),
    /// New keys are for all or for none (CC-09).
    NotAll(usize),
    /// It failed half way and was put back.
    RolledBack(Box<WizardError>),
    /// It failed half way and could not be put back.
    Half {
        /// What failed first.
        cause: Box<WizardError>,
        /// Why it could not be put back.
        source: io::Error,
        /// Where the old files are.
        dir: PathBuf,
    },
}

impl WizardError {
    /// Something on this system failed.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> WizardError {
        let what = what.into();
        move |source| WizardError::Io { what, source }
    }

    /// The tool's exit status.
    pub fn exit(&self) -> Exit {
        match self {
            WizardError::Stop(Stop::End) => Exit::Done,
            WizardError::Files(FilesError::Template(_))
            | WizardError::Hosts(_)
            | WizardError::Rc(RcError::Line { .. } | RcError::Value(_))
            | WizardError::NotMaster
            | WizardError::OtherMaster { .. }
            | WizardError::NotClient(_)
            | WizardError::MasterItself(_)
            | WizardError::AddressTaken { .. }
            | WizardError::NoBackup(_)
            | WizardError::Name(_) => Exit::Policy,
            WizardError::NotAll(_) => Exit::Unreachable,
            WizardError::RolledBack(cause) | WizardError::KeysHalf(cause) | WizardError::Half { cause, .. } => {
                cause.exit()
            }
            _ => Exit::Failed,
        }
    }

    /// What the administrator can do.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            WizardError::Name(NameError::Unqualified(_) | NameError::Loopback(_)) => {
                "give it a fully qualified name in DNS or in /etc/hosts: ADDRESS NAME.DOMAIN NAME".to_string()
            }
            WizardError::NotMaster => "set up the master first: choice 1 of the menu".to_string(),
            WizardError::OtherMaster { .. } => {
                "the file was recorded elsewhere; change or remove its POLICYHOST line to use it here".to_string()
            }
            WizardError::NotClient(_) => "choice 5 of the menu lists the managed clients".to_string(),
            WizardError::AddressTaken { .. } => {
                "a key belongs to an address: give each system one of its own in DNS or in /etc/hosts".to_string()
            }
            WizardError::Busy => "wait until it has ended".to_string(),
            WizardError::NoBackup(_) => "'csync_wizard --backups' lists those there are".to_string(),
            WizardError::KeysHalf(_) => {
                "remove the cause and start csync_wizard again: it takes the new keys into use everywhere".to_string()
            }
            WizardError::RolledBack(cause) => {
                let mut hints = cause.hints();
                hints.push("everything is as it was before".to_string());
                return hints;
            }
            WizardError::Half { dir, .. } => format!(
                "remove the cause and start csync_wizard again: it takes the rest back; the files as they were before are in {}",
                dir.display()
            ),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

impl fmt::Display for WizardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WizardError::Stop(e) => e.fmt(f),
            WizardError::Name(e) => e.fmt(f),
            WizardError::Files(e) => e.fmt(f),
            WizardError::Hosts(e) => e.fmt(f),
            WizardError::Key(e) => e.fmt(f),
            WizardError::Rc(e) => e.fmt(f),
            WizardError::Io { what, source } => write!(f, "{what}: {source}"),
            WizardError::Program { program, why } => write!(f, "{} failed: {why}", program.display()),
            WizardError::NotMaster => f.write_str("this system is not a cfengine master server"),
            WizardError::OtherMaster { file, own } => {
                write!(
                    f,
                    "the answers are for the master server {file}, but this system is {own}"
                )
            }
            WizardError::NotClient(name) => write!(f, "{name} is not a managed client"),
            WizardError::MasterItself(name) => write!(f, "{name} is the master server itself"),
            WizardError::AddressTaken { name, address, by } => {
                write!(f, "{name} has the address {address}, which is that of {by}")
            }
            WizardError::NoBackup(None) => f.write_str("there is no backup"),
            WizardError::NoBackup(Some(name)) => write!(f, "there is no backup '{name}'"),
            WizardError::KeysHalf(cause) => write!(f, "new keys are in use on some systems only: {cause}"),
            WizardError::Busy => f.write_str("another csync_wizard is running on this system"),
            WizardError::NotAll(1) => f.write_str("a managed client cannot take part, so no key was changed"),
            WizardError::NotAll(n) => write!(f, "{n} managed clients cannot take part, so no key was changed"),
            WizardError::RolledBack(cause) => write!(f, "the configuration failed and was taken back: {cause}"),
            WizardError::Half { cause, source, .. } => {
                write!(
                    f,
                    "the configuration failed ({cause}) and could not be taken back: {source}"
                )
            }
        }
    }
}

impl std::error::Error for WizardError {}

macro_rules! from {
    ($($variant:ident($error:ty)),+ $(,)?) => {$(
        impl From<$error> for WizardError {
            fn from(error: $error) -> Self {
                WizardError::$variant(error)
            }
        }
    )+};
}

from!(
    Stop(Stop),
    Name(NameError),
    Files(FilesError),
    Hosts(FileError),
    Key(KeyError),
    Rc(RcError),
);
