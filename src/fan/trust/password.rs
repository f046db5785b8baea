//! A password on its way to ssh: in a pipe that is read once, by a helper that ssh starts (`SSH_ASKPASS`). It is in no
//! argument, environment, log or file.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::files::{Told, Verb, told};
use super::{Input, Job, Spool, State, Trust};
use crate::hosts::Host;
use crate::remote::known::Effective;
use crate::remote::{Cause, Launch, Ssh};

/// Where the helper finds the pipe, and for whom the password is.
const PIPE: &str = "DSAU_ASKPASS";
const FOR: &str = "DSAU_ASKPASS_FOR";

/// The longest password, in bytes.
const LIMIT: u64 = 1024;

/// A password that can be read once.
pub(super) struct Sealed {
    pipe: OwnedFd,
}

impl Sealed {
    fn new(password: &[u8]) -> io::Result<Self> {
        if password.len() as u64 > LIMIT {
            return Err(io::Error::other("the password is too long"));
        }
        let (pipe, end) = pipe2(OFlag::O_CLOEXEC)?;
        std::fs::File::from(end).write_all(password)?;
        Ok(Sealed { pipe })
    }

    /// What ssh's environment needs so that it asks the helper.
    fn environment(&self, helper: &Path, who: &str) -> Vec<(OsString, OsString)> {
        let pipe = format!("/proc/{}/fd/{}", std::process::id(), self.pipe.as_raw_fd());
        vec![
            ("SSH_ASKPASS".into(), helper.into()),
            ("SSH_ASKPASS_REQUIRE".into(), "force".into()),
            (PIPE.into(), pipe.into()),
            (FOR.into(), who.into()),
        ]
    }
}

/// The helper's side: whether this process is it, and what it answers to ssh's question. Nothing but the question for
/// this one's password gets the answer: one for a passphrase, or of another host on the way, must not.
pub fn helper(arguments: &[OsString]) -> Option<Result<Vec<u8>, ()>> {
    let (pipe, who) = (std::env::var(PIPE).ok()?, std::env::var(FOR).ok()?);
    let [_, question] = arguments else { return None };
    let inside = pipe.strip_prefix("/proc/").and_then(|rest| rest.split_once("/fd/"))?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !number(inside.0) || !number(inside.1) {
        return None;
    }
    if !is_for(&question.to_string_lossy(), &who) {
        return Some(Err(()));
    }
    let mut answer = Vec::new();
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&pipe)
        .and_then(|file| file.take(LIMIT).read_to_end(&mut answer));
    // Read already: the password was refused, and is not tried again.
    Some(if read.is_ok() && !answer.is_empty() {
        Ok(answer)
    } else {
        Err(())
    })
}

/// `root@n1's password: ` and `(root@n1) Password: ` are for `root@n1`.
fn is_for(question: &str, who: &str) -> bool {
    let (question, who) = (question.to_lowercase(), who.to_lowercase());
    question.trim() == format!("{who}'s password:") || question.starts_with(&format!("({who}) "))
}

/// How a host can be asked for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `password`.
    Password,
    /// `keyboard-interactive`.
    Questions,
    /// The host takes none.
    None,
    /// It did not say.
    Unknown,
}

/// What the host said it takes when it refused everything else: `Permission denied (publickey,password).`
pub fn way(said: &str) -> Way {
    let Some((_, list)) = said.split_once("ermission denied (") else {
        return Way::Unknown;
    };
    let has = |method: &str| list.split([',', ')']).any(|found| found.trim() == method);
    match () {
        () if has("password") => Way::Password,
        () if has("keyboard-interactive") => Way::Questions,
        () => Way::None,
    }
}

/// One host whose user's key is to be installed.
pub struct Offer<'a> {
    /// The host.
    pub host: Host,
    /// What ssh's configuration says of it.
    pub effective: &'a Effective,
    /// The way to ask it.
    pub way: Way,
    /// The password; none: ssh asks for it itself.
    pub password: Option<&'a [u8]>,
}

impl Offer<'_> {
    /// Who logs in, as ssh says it when it asks.
    pub fn who(&self, ssh: &Ssh) -> String {
        who(&self.host, self.effective, ssh)
    }
}

/// Who logs in, as ssh says it when it asks.
pub fn who(host: &Host, effective: &Effective, ssh: &Ssh) -> String {
    let name = effective.alias.as_ref().unwrap_or(&effective.hostname);
    format!("{}@{name}", login(host, effective, ssh))
}

/// The login name.
pub fn login(host: &Host, effective: &Effective, ssh: &Ssh) -> String {
    let told = effective.user.clone();
    let given = host.user.clone().or_else(|| ssh.user.clone()).or(told);
    given.unwrap_or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        user.map_or_else(|| "root".into(), |user| user.name)
    })
}

/// How installing a key went.
pub enum Installed {
    /// It is there.
    Done(Told),
    /// The password was refused.
    Refused(String),
    /// Something else.
    Failed(String),
}

impl Trust<'_> {
    /// ssh that logs in to a host with a password, and the pipe it is in, which must stay until ssh has ended.
    pub(super) fn with_password(
        &self,
        offer: &Offer<'_>,
        command: &[OsString],
        program: &Path,
    ) -> io::Result<(Launch, Option<Sealed>)> {
        let mut ssh = self.ssh(false);
        let mut option = |text: &str| ssh.options.push(text.into());
        option("NumberOfPasswordPrompts=1");
        match offer.way {
            Way::Password => option("PreferredAuthentications=password"),
            Way::Questions => option("PreferredAuthentications=keyboard-interactive"),
            Way::None | Way::Unknown => option("PreferredAuthentications=password,keyboard-interactive"),
        }
        // Keys have been refused already, and each one offered again counts as a try.
        option("PubkeyAuthentication=no");
        let mut launch = ssh.launch(&offer.host, command);
        let Some(password) = offer.password else {
            return Ok((launch, None));
        };
        let pipe = Sealed::new(password)?;
        launch.env = pipe.environment(program, &offer.who(&self.ssh));
        Ok((launch, Some(pipe)))
    }

    /// Adds a public key to the authorized keys of hosts, in parallel; each password is tried once. `helper` is the
    /// program that calls [`helper`]; `serial`: ssh asks on the terminal, so that there must be one at a time.
    pub fn install(&self, offers: &[Offer<'_>], key: &str, program: &Path, serial: bool) -> io::Result<Vec<Installed>> {
        let input = Arc::new(Spool::of(format!("key - {key}\n").as_bytes())?);
        let command = self.command(Verb::Add, "");
        let mut sealed = Vec::new();
        let mut jobs = Vec::new();
        for offer in offers {
            let (launch, pipe) = self.with_password(offer, &command, program)?;
            sealed.extend(pipe);
            jobs.push(Job {
                host: offer.host.clone(),
                start: launch.into(),
                input: Input::Spool(Arc::clone(&input)),
            });
        }
        let mut options = self.options.clone();
        if serial {
            options.window = 1;
        }
        let answers = super::ask(&jobs, &options, self.stop, super::LIMIT)?;
        Ok(answers
            .iter()
            .map(|answer| match (&answer.report.state, told(answer)) {
                (_, Ok(told)) => Installed::Done(told),
                (State::Unreachable(trouble), Err(why)) if trouble.cause == Cause::Auth => Installed::Refused(why),
                (_, Err(why)) => Installed::Failed(why),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_for_this_password_is_answered() {
        for (question, who, yes) in [
            ("root@n1's password: ", "root@n1", true),
            ("root@N1's password: ", "root@n1", true),
            ("(root@n1) Password: ", "root@n1", true),
            ("(root@n1) Passwort: ", "root@n1", true),
            ("root@n11's password: ", "root@n1", false),
            ("root@jump's password: ", "root@n1", false),
            ("(root@jump) Password: ", "root@n1", false),
            ("Password: ", "root@n1", false),
            ("Enter passphrase for key '/root/.ssh/id_rsa': ", "root@n1", false),
        ] {
            assert_eq!(is_for(question, who), yes, "{question}");
        }
    }

    #[test]
    fn a_password_is_read_once() {
        let sealed = Sealed::new(b"secret").unwrap();
        let read = || {
            let mut text = Vec::new();
            let path = format!("/proc/{}/fd/{}", std::process::id(), sealed.pipe.as_raw_fd());
            let flags = OFlag::O_NONBLOCK.bits();
            let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).unwrap();
            file.read_to_end(&mut text).unwrap();
            text
        };
        assert_eq!((read(), read()), (b"secret".to_vec(), Vec::new()));
        assert!(Sealed::new(&[b'x'; 1025]).is_err());
        let shown = format!("{:?}", sealed.environment(Path::new("/x"), "root@n1"));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_host_says_what_it_takes() {
        for (said, expected) in [
            ("root@n1: Permission denied (publickey,password).", Way::Password),
            (
                "root@n1: Permission denied (publickey,keyboard-interactive).",
                Way::Questions,
            ),
            ("root@n1: Permission denied (publickey,gssapi-with-mic).", Way::None),
            ("Too many authentication failures", Way::Unknown),
        ] {
            assert_eq!(way(said), expected, "{said}");
        }
    }
}
