//! The steps on a managed client (KY-06, CM-07, CC-04, CC-05, MK-03 … MK-05), each safe to do again. A step is data: what
//! is to run there, and what to make of the answer.

use std::net::IpAddr;

use bstr::ByteSlice;

use crate::keys::PublicKey;
use crate::rcconf::{Other, RcError, RcFile};
use crate::remote::{Cause, Trouble};

use super::names::Host;
use super::remote::{Order, Output, Remote, RemoteError};
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

/// A step on one client.
pub(super) struct Step<R> {
    order: Order,
    read: Box<dyn Fn(Output) -> Result<R, ClientError>>,
}

impl<R> Step<R> {
    /// What is to run there. It can be taken once.
    pub fn take_order(&mut self) -> Order {
        std::mem::take(&mut self.order)
    }

    /// What came of it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read(&self, result: Result<Output, RemoteError>) -> Result<R, ClientError> {
        (self.read)(result?)
    }

    /// Does it, on this client alone.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&self, remote: &dyn Remote) -> Result<R, ClientError> {
        self.read(remote.run(&self.order))
    }
}

fn order(host: &str, script: &'static str, args: Vec<String>, stdin: &[u8]) -> Order {
    Order {
        host: host.to_string(),
        script,
        args,
        stdin: stdin.to_vec(),
    }
}

/// A step whose script fails with any status but 0.
fn plain<R>(what: &'static str, order: Order, read: impl Fn(Output) -> Result<R, ClientError> + 'static) -> Step<R> {
    Step {
        order,
        read: Box::new(move |output| match output.status {
            0 => read(output),
            _ => Err(failed(what, &output)),
        }),
    }
}

fn failed(step: &'static str, output: &Output) -> ClientError {
    ClientError::Step {
        step,
        why: output.last_words(),
    }
}

/// CC-01: ssh works without asking anything, as root, and dsau is there.
pub(super) fn probe(host: &str) -> Step<()> {
    Step {
        order: order(host, scripts::PROBE, Vec::new(), b""),
        read: Box::new(|output| match output.status {
            0 => Ok(()),
            scripts::NOT_INSTALLED => Err(ClientError::NotInstalled),
            scripts::NOT_ROOT => Err(ClientError::NotRoot),
            _ => Err(failed("looking around", &output)),
        }),
    }
}

/// Gives it the master's entry in /etc/hosts (CM-07), notes how it is before this run changes it, makes its keys where there
/// are none, and has it trust the master's key at the master's addresses. The step gives its public key and its start-up
/// file.
pub(super) fn prepare(host: &str, run: &str, master: &Host, key: &PublicKey) -> Step<(PublicKey, Vec<u8>)> {
    const END: &[u8] = b"-----END PUBLIC KEY-----\n";
    let addresses = words(&master.addresses);
    let (name, here) = (master.name.clone(), addresses.join(", "));
    let mut args = vec![run.to_string(), name.clone(), master.short().to_string()];
    args.extend(addresses);
    Step {
        order: order(host, scripts::PREPARE, args, key.pem().as_bytes()),
        read: Box::new(move |output| match output.status {
            0 => {
                let end = output.stdout.find(END).ok_or(ClientError::BadKey)? + END.len();
                let (key, rc) = output.stdout.split_at(end);
                Ok((PublicKey::from_pem(key).ok_or(ClientError::BadKey)?, rc.to_vec()))
            }
            scripts::OTHER_ADDRESS => Err(ClientError::OtherAddress {
                master: name.clone(),
                there: String::from_utf8_lossy(&output.stdout).trim().to_string(),
                here: here.clone(),
            }),
            _ => Err(failed("exchanging keys", &output)),
        }),
    }
}

/// Puts it back as it was before this run, if this run came to it at all.
pub(super) fn undo(host: &str, run: &str, master: &Host) -> Step<()> {
    let order = order(host, scripts::UNDO, of_run(run, master), b"");
    plain("putting it back", order, |_| Ok(()))
}

/// Makes it trust the master's key at the master's addresses.
pub(super) fn trust(host: &str, master: &Host, key: &PublicKey) -> Step<()> {
    let order = order(host, scripts::TRUST, words(&master.addresses), key.pem().as_bytes());
    plain("storing the master's key", order, |_| Ok(()))
}

/// Gives it its first policy, cfservd at boot and now (CC-05, CW-15), and one run of cfagent. `rc`: its start-up file as it
/// was. The step gives `Some` when everything is in place but the run of cfagent failed.
///
/// # Errors
/// [`ClientError::Rc`].
pub(super) fn set_up(
    host: &str,
    update: &[u8],
    server: &[u8],
    rc: &[u8],
) -> Result<Step<Option<ClientError>>, ClientError> {
    let rc = rc_with(host, rc, "1")?;
    let lengths = [update, server, &rc].map(|part| part.len().to_string());
    Ok(Step {
        order: order(host, scripts::SET_UP, lengths.to_vec(), &[update, server, &rc].concat()),
        read: Box::new(|output| match output.status {
            0 => Ok(None),
            scripts::AGENT_FAILED => Ok(Some(failed("the first run of cfagent", &output))),
            _ => Err(failed("starting cfservd", &output)),
        }),
    })
}

/// VAR-01: a start-up file with another value.
fn rc_with(host: &str, old: &[u8], value: &str) -> Result<Vec<u8>, ClientError> {
    let mut rc = RcFile::parse(format!("{host}:{RC}"), old, Other::Keep)?;
    rc.set(CONFIGURED, value)?;
    Ok(rc.to_bytes())
}

/// Starts cfservd there, anew if it runs.
pub(super) fn start(host: &str) -> Step<()> {
    let order = order(host, scripts::START, Vec::new(), b"");
    plain("starting cfservd", order, |_| Ok(()))
}

/// Ends management of this client (CC-08), but for its start-up file, which the step gives.
pub(super) fn forget(host: &str, master: &Host) -> Step<Vec<u8>> {
    let order = order(host, scripts::FORGET, words(&master.addresses), b"");
    plain("ending the service", order, |output| Ok(output.stdout))
}

/// Has it start no cfservd any more. `rc`: its start-up file as it was.
///
/// # Errors
/// [`ClientError::Rc`].
pub(super) fn disable(host: &str, rc: &[u8]) -> Result<Step<()>, ClientError> {
    let new = rc_with(host, rc, "0")?;
    let args = vec![RC.to_string(), "644".to_string(), new.len().to_string()];
    let order = order(host, scripts::WRITE, args, &new);
    Ok(plain("writing its start-up file", order, |_| Ok(())))
}

/// Makes a second key pair beside the one in use (CC-09).
pub(super) fn stage_key(host: &str) -> Step<()> {
    let order = order(host, scripts::STAGE_KEY, Vec::new(), b"");
    plain("making a new key", order, |_| Ok(()))
}

/// Forgets the second pair.
pub(super) fn unstage_key(host: &str) -> Step<()> {
    let order = order(host, scripts::UNSTAGE_KEY, Vec::new(), b"");
    plain("forgetting the new key", order, |_| Ok(()))
}

/// Takes the second pair into use, where there is one, and gives the public key that is in use then.
pub(super) fn switch_key(host: &str) -> Step<PublicKey> {
    let order = order(host, scripts::SWITCH_KEY, Vec::new(), b"");
    plain("taking the new key into use", order, |output| {
        PublicKey::from_pem(&output.stdout).ok_or(ClientError::BadKey)
    })
}

/// How it is: what [`super::check`] looks at.
pub(super) fn look(host: &str, master: &Host) -> Step<Output> {
    Step {
        order: order(host, scripts::LOOK, words(&master.addresses), b""),
        read: Box::new(|output| match output.status {
            0 => Ok(output),
            scripts::NOT_INSTALLED => Err(ClientError::NotInstalled),
            _ => Err(failed("looking around", &output)),
        }),
    }
}

fn words(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(IpAddr::to_string).collect()
}

fn of_run(run: &str, master: &Host) -> Vec<String> {
    let mut args = vec![run.to_string()];
    args.extend(words(&master.addresses));
    args
}
