//! The steps on a managed client (KY-06, CM-07, CC-04, CC-05, MK-03 … MK-05), each over ssh and each safe to do again.

use std::net::IpAddr;

use bstr::ByteSlice;

use crate::keys::PublicKey;
use crate::rcconf::{Other, RcError, RcFile};
use crate::remote::{Cause, Trouble};

use super::names::Host;
use super::remote::{Output, Remote, RemoteError};
use super::scripts;

/// FIL-01.
const RC: &str = "/etc/rc.config.d/cfservd";
/// VAR-01.
pub(super) const CONFIGURED: &str = "CSYNC_CONFIGURED";

/// Why a step on a client failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It could not be reached over ssh without a password.
    #[error("root cannot run commands there by ssh: {0}")]
    Unreachable(Trouble),
    /// dsau is missing there.
    #[error("dsau is not installed there (no /opt/dsau/sbin/cfkey)")]
    NotInstalled,
    /// Somebody else than root was let in.
    #[error("ssh does not log in as root there")]
    NotRoot,
    /// /etc/hosts there contradicts us.
    #[error("its /etc/hosts gives the master {master} the address {there}, here it is {here}")]
    OtherAddress {
        /// The master's name.
        master: String,
        /// What the client believes.
        there: String,
        /// What we believe.
        here: String,
    },
    /// Its key file holds no key.
    #[error("its public key is not an Ed25519 key")]
    BadKey,
    /// A script failed.
    #[error("{step} failed there: {why}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// What it said.
        why: String,
    },
    /// Its start-up file cannot be edited.
    #[error(transparent)]
    Rc(#[from] RcError),
    /// ssh could not be run at all.
    #[error(transparent)]
    Remote(RemoteError),
}

impl ClientError {
    /// What the administrator can do.
    pub fn hint(&self, name: &str) -> Option<String> {
        match self {
            ClientError::Unreachable(trouble) => match trouble.cause {
                Cause::Auth | Cause::HostKeyUnknown => Some(csshsetup(name)),
                cause => Some(cause.hint()?.replace("HOST", name)),
            },
            ClientError::NotRoot => Some(csshsetup(name)),
            ClientError::NotInstalled => Some("Install dsau there first.".to_string()),
            ClientError::OtherAddress { .. } => Some("Correct the line in its /etc/hosts.".to_string()),
            _ => None,
        }
    }
}

fn csshsetup(name: &str) -> String {
    format!("Set up ssh for root with 'csshsetup {name}' first.")
}

impl From<RemoteError> for ClientError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unreachable(why) => ClientError::Unreachable(why),
            other => ClientError::Remote(other),
        }
    }
}

/// A client, reached through a [`Remote`].
#[derive(Clone, Copy)]
pub struct Client<'a> {
    remote: &'a dyn Remote,
    name: &'a str,
}

impl<'a> Client<'a> {
    /// The client of that name.
    pub fn new(remote: &'a dyn Remote, name: &'a str) -> Self {
        Client { remote, name }
    }

    fn script(&self, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, ClientError> {
        Ok(self.remote.run(self.name, script, args, stdin)?)
    }

    fn step(&self, step: &'static str, script: &str, args: &[&str], stdin: &[u8]) -> Result<Output, ClientError> {
        let output = self.script(script, args, stdin)?;
        match output.status {
            0 => Ok(output),
            _ => Err(ClientError::Step {
                step,
                why: output.last_words(),
            }),
        }
    }

    /// CC-01: ssh works without asking anything, as root, and dsau is there.
    ///
    /// # Errors
    /// [`ClientError`], also for all that follow.
    pub fn probe(&self) -> Result<(), ClientError> {
        let output = self.script(scripts::PROBE, &[], b"")?;
        match output.status {
            0 => Ok(()),
            scripts::NOT_INSTALLED => Err(ClientError::NotInstalled),
            scripts::NOT_ROOT => Err(ClientError::NotRoot),
            _ => Err(ClientError::Step {
                step: "looking around",
                why: output.last_words(),
            }),
        }
    }

    /// Its public key, made first where there is none, and its start-up file.
    pub fn key(&self) -> Result<(PublicKey, Vec<u8>), ClientError> {
        const END: &[u8] = b"-----END PUBLIC KEY-----\n";
        let output = self.step("making its keys", scripts::KEY, &[], b"")?;
        let end = output.stdout.find(END).ok_or(ClientError::BadKey)? + END.len();
        let (key, rc) = output.stdout.split_at(end);
        Ok((PublicKey::from_pem(key).ok_or(ClientError::BadKey)?, rc.to_vec()))
    }

    /// Makes it trust the master's key at the master's addresses.
    pub fn trust(&self, master: &Host, key: &PublicKey) -> Result<(), ClientError> {
        let addresses = words(&master.addresses);
        let args: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.step("storing the master's key", scripts::TRUST, &args, key.pem().as_bytes())?;
        Ok(())
    }

    /// CM-07. True when the entry was added.
    pub fn hosts_entry(&self, master: &Host) -> Result<bool, ClientError> {
        let addresses = words(&master.addresses);
        let mut args = vec![master.name.as_str(), master.short()];
        args.extend(addresses.iter().map(String::as_str));
        let output = self.script(scripts::HOSTS, &args, b"")?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_string();
        match output.status {
            0 => Ok(said == "added"),
            scripts::OTHER_ADDRESS => Err(ClientError::OtherAddress {
                master: master.name.clone(),
                there: said,
                here: addresses.join(", "),
            }),
            _ => Err(ClientError::Step {
                step: "verifying /etc/hosts",
                why: output.last_words(),
            }),
        }
    }

    /// Gives it its first policy, cfservd at boot and now (CC-05, CW-15), and one run of cfagent. `rc`: its start-up file
    /// as it was. `Some`: everything is in place, but the run of cfagent failed.
    pub fn set_up(&self, update: &[u8], server: &[u8], rc: &[u8]) -> Result<Option<ClientError>, ClientError> {
        let rc = self.rc_with(rc, "1")?;
        let lengths = [update, server, &rc].map(|part| part.len().to_string());
        let args: Vec<&str> = lengths.iter().map(String::as_str).collect();
        let output = self.script(scripts::SET_UP, &args, &[update, server, &rc].concat())?;
        let failed = |step| ClientError::Step {
            step,
            why: output.last_words(),
        };
        match output.status {
            0 => Ok(None),
            scripts::AGENT_FAILED => Ok(Some(failed("the first run of cfagent"))),
            _ => Err(failed("starting cfservd")),
        }
    }

    /// VAR-01: its start-up file with another value.
    fn rc_with(&self, old: &[u8], value: &str) -> Result<Vec<u8>, ClientError> {
        let mut rc = RcFile::parse(format!("{}:{RC}", self.name), old, Other::Keep)?;
        rc.set(CONFIGURED, value)?;
        Ok(rc.to_bytes())
    }

    /// Starts cfservd there, anew if it runs.
    pub fn start(&self) -> Result<(), ClientError> {
        self.step("starting cfservd", scripts::START, &[], b"").map(drop)
    }

    /// Ends management of this client (CC-08).
    pub fn forget(&self, master: &Host) -> Result<(), ClientError> {
        let addresses = words(&master.addresses);
        let args: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.step("ending the service", scripts::FORGET, &args, b"")?;
        let old = self.step("reading its start-up file", scripts::READ, &[RC], b"")?;
        let new = self.rc_with(&old.stdout, "0")?;
        let length = new.len().to_string();
        self.step("writing its start-up file", scripts::WRITE, &[RC, "644", &length], &new)?;
        Ok(())
    }

    /// Makes a second key pair beside the one in use (CC-09).
    pub fn stage_key(&self) -> Result<PublicKey, ClientError> {
        let output = self.step("making a new key", scripts::STAGE_KEY, &[], b"")?;
        PublicKey::from_pem(&output.stdout).ok_or(ClientError::BadKey)
    }

    /// Forgets the second pair; what fails here harms nobody.
    pub fn unstage_key(&self) {
        let _ = self.script(scripts::UNSTAGE_KEY, &[], b"");
    }

    /// Takes the second pair into use.
    pub fn switch_key(&self) -> Result<(), ClientError> {
        self.step("taking the new key into use", scripts::SWITCH_KEY, &[], b"")
            .map(drop)
    }
}

fn words(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(IpAddr::to_string).collect()
}
