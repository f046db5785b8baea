//! Why a host does or does not work: one connection, listened to closely. Changes nothing.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::files::{Kept, kept};
use super::password::{Offer, login, way};
use super::{Answer, Input, Job, Spool, State, Trust, last_line};
use crate::hosts::Host;
use crate::remote::known::Effective;
use crate::remote::{self, Cause, Launch, Trouble, explain};

const LOOK: &str = include_str!("look.sh");

/// What the probe says when it is there; whatever stands before it was printed by the login.
const MARK: &str = "dsau-is-here";

/// How often a connection is made to see what it costs; the cheapest one counts.
const TIMES: usize = 3;

/// A host key file of more bytes than this is worth a measurement.
const LARGE: u64 = 64 * 1024;

/// Key exchanges that may be cheaper than others, and whether what is recorded today stays secret from a quantum computer.
pub const CHEAP: [(&str, bool); 4] = [
    ("mlkem768x25519-sha256", true),
    ("curve25519-sha256", false),
    ("curve25519-sha256@libssh.org", false),
    ("ecdh-sha2-nistp256", false),
];

/// What was seen on the way to a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Address and port, when there was a plain connection.
    pub address: Option<String>,
    /// Whether it answered.
    pub answered: bool,
    /// What it calls itself: `OpenSSH_9.2p1`.
    pub software: Option<String>,
    /// The key exchange that was used.
    pub kex: Option<String>,
    /// Those that the host would have taken.
    pub offers: Vec<String>,
    /// Its host key: type and fingerprint.
    pub host_key: Option<String>,
    /// Where that key is pinned: `FILE:LINE`.
    pub pinned: Option<String>,
    /// Where another key is pinned.
    pub offending: Option<String>,
    /// Keys that were offered to it.
    pub keys: Vec<String>,
    /// What ssh complained about.
    pub trouble: Option<Trouble>,
    /// True: logged in.
    pub login: bool,
    /// What the login printed before anything was asked of it: its size in bytes, its first line.
    pub junk: Option<(usize, String)>,
    /// Seconds from the start to the end.
    pub seconds: f64,
    /// Why it does not work, the first one first; empty: it works.
    pub why: Vec<String>,
    /// What should be known besides.
    pub notes: Vec<String>,
}

impl Seen {
    /// Whether commands can be run on it, and what they say is what arrives.
    pub fn works(&self) -> bool {
        self.why.is_empty()
    }

    /// Reads what ssh said at `LogLevel=DEBUG2`, and what came on standard output.
    pub fn parse(err: &[u8], out: &[u8]) -> Self {
        let mut seen = Seen::default();
        let mut theirs = false;
        let mut rest = Vec::new();
        for line in String::from_utf8_lossy(err).lines() {
            let line = line.trim_end();
            let Some(said) = line.strip_prefix("debug1: ").or_else(|| line.strip_prefix("debug2: ")) else {
                if let Some(at) = line.find("ffending ").filter(|_| line.contains(" in /")) {
                    seen.offending = line[at..].rsplit(" in ").next().map(str::to_string);
                }
                if !line.starts_with("OpenSSH_") && !line.starts_with("Authenticated to ") {
                    rest.extend_from_slice(line.as_bytes());
                    rest.push(b'\n');
                }
                continue;
            };
            let after = |start: &str| said.strip_prefix(start).map(str::to_string);
            if let Some(to) = after("Connecting to ") {
                let inside = to.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                seen.address = inside.map(|(address, port)| format!("{address}{}", port.trim_end_matches('.')));
            } else if said == "Connection established." {
                seen.answered = true;
            } else if let Some((_, software)) = said.split_once("remote software version ") {
                seen.answered = true;
                seen.software = software.split_whitespace().next().map(str::to_string);
            } else if said == "peer server KEXINIT proposal" {
                theirs = true;
            } else if let Some(list) = after("KEX algorithms: ").filter(|_| theirs && seen.offers.is_empty()) {
                seen.offers = list.split(',').map(str::to_string).collect();
            } else if let Some(name) = after("kex: algorithm: ") {
                seen.kex = Some(name);
            } else if let Some(key) = after("Server host key: ") {
                seen.host_key = Some(key);
            } else if let Some(place) = after("Found key in ") {
                seen.pinned = Some(place);
            } else if let Some(key) = after("Offering public key: ") {
                seen.keys
                    .push(key.split_whitespace().next().unwrap_or_default().to_string());
            }
        }
        let text = String::from_utf8_lossy(out);
        match text.find(MARK) {
            Some(0) => seen.login = true,
            Some(at) => {
                seen.login = true;
                let line = text[..at]
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default();
                seen.junk = Some((at, line.chars().take(60).collect()));
            }
            None => seen.trouble = explain(&rest),
        }
        seen
    }
}

/// What one connection costs this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Milliseconds of CPU, of ssh and all it starts.
    pub cpu: f64,
    /// Milliseconds from start to end.
    pub wall: f64,
}

impl Trust<'_> {
    /// Looks at each host, all at once.
    pub fn look(&self, hosts: &[Host], effective: &[Effective]) -> io::Result<Vec<Seen>> {
        let job = |host: &Host| Job {
            host: host.clone(),
            start: self.loud(host, &["echo".into(), MARK.into()]).into(),
            input: Input::Nothing,
        };
        let answers = self.ask(&hosts.iter().map(job).collect::<Vec<_>>())?;
        let rows = answers.iter().zip(hosts).zip(effective);
        Ok(rows
            .map(|((answer, host), effective)| self.judge(answer, host, effective))
            .collect())
    }

    /// ssh that tells what it does, on standard error.
    fn loud(&self, host: &Host, command: &[std::ffi::OsString]) -> Launch {
        let mut launch = self.ssh(true).launch(host, command);
        for word in &mut launch.argv {
            if word == "LogLevel=ERROR" {
                *word = "LogLevel=DEBUG2".into();
            }
        }
        // Not known as an ssh: what it says must not be taken away.
        launch.ssh = false;
        launch.kept = None;
        launch
    }

    fn judge(&self, answer: &Answer, host: &Host, effective: &Effective) -> Seen {
        let mut seen = Seen::parse(&answer.err, &answer.out);
        seen.seconds = answer.report.took.as_secs_f64();
        let name = &effective.hostname;
        let through = match host.name.eq_ignore_ascii_case(name) {
            true => String::new(),
            false => format!(" (the configuration of ssh calls {} so)", host.name),
        };
        if let Some((size, line)) = &seen.junk {
            seen.why.push(format!(
                "its login prints {size} bytes before the answer of any command: '{line}'; what prints them must do so \
                 for terminals only (see .bashrc, .profile, .cshrc there)"
            ));
        }
        if seen.login {
            return seen;
        }
        let said = seen
            .trouble
            .as_ref()
            .map(|trouble| trouble.said.clone())
            .unwrap_or_default();
        let fresh = seen.host_key.clone().unwrap_or_else(|| "no key at all".into());
        seen.why.push(match (seen.trouble.as_ref().map(|trouble| trouble.cause), &answer.report.state) {
            (Some(Cause::Resolve), _) => format!("the name {name} has no address{through}: {said}"),
            (Some(Cause::Connect | Cause::TimeOut | Cause::Busy), _) if seen.answered => {
                format!("{} answers, but the connection failed: {said}", place(&seen, effective))
            }
            (Some(Cause::Connect | Cause::TimeOut), _) => {
                format!("{} does not answer{through}: {said}", place(&seen, effective))
            }
            (Some(Cause::HostKeyUnknown), _) => {
                format!("its host key is not known here; it presents {fresh}; 'csshsetup {host}' pins it")
            }
            (Some(Cause::HostKeyChanged), _) => {
                let pinned = seen.offending.clone().unwrap_or_else(|| "the files of known hosts".into());
                format!(
                    "its host key has changed: it presents {fresh}, another one is pinned in {pinned}; find out why \
                     before you remove that one"
                )
            }
            (Some(Cause::Auth), _) => match seen.keys.is_empty() {
                true => format!("there is no key here that could be offered to it: {said}; 'csshsetup {host}' makes one"),
                false => format!("it refuses our key ({}): {said}", seen.keys.join(", ")),
            },
            (Some(_), _) => said,
            (None, State::Exited(255)) => "ssh failed and did not say why".into(),
            (None, State::Exited(code)) => {
                format!("its login ended with status {code} before any command was run: {}", last_line(&answer.out))
            }
            (None, other) => other.to_string(),
        });
        if seen
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.cause == Cause::Auth)
        {
            let local = self.local(effective);
            seen.why.extend(local);
        }
        seen
    }

    /// What is wrong with the keys on this side.
    fn local(&self, effective: &Effective) -> Vec<String> {
        let mut why = Vec::new();
        for file in effective.identities.iter().filter(|file| file.exists()) {
            let Ok(meta) = file.metadata() else { continue };
            let mode = meta.permissions().mode() & 0o777;
            if meta.uid() == nix::unistd::geteuid().as_raw() && mode & 0o077 != 0 {
                why.push(format!(
                    "ssh does not use the key {} because others can read it (mode {mode:o}); chmod 600 {}",
                    file.display(),
                    file.display()
                ));
            } else if self.locked(file) {
                why.push(format!(
                    "the key {} has a passphrase: unattended it works only through an agent that holds it",
                    file.display()
                ));
            }
        }
        why
    }

    fn locked(&self, file: &Path) -> bool {
        let told = self.keygen(&["-y".into(), "-P".into(), "".into(), "-f".into(), file.into()]);
        told.is_err_and(|error| error.to_string().contains("passphrase"))
    }

    /// Asks a host from inside why it refuses our keys: as root, or with a password where there is one.
    pub fn inside(&self, offer: &Offer<'_>, program: &Path) -> io::Result<Result<Vec<String>, String>> {
        let user = login(&offer.host, offer.effective, &self.ssh);
        let keys = self.own_keys(&offer.effective.identities).join("\n") + "\n";
        let command = remote::carry(LOOK, &[user.as_bytes()]);
        let input = Input::Spool(Arc::new(Spool::of(keys.as_bytes())?));
        let answer = match offer.password {
            Some(_) => {
                let (launch, _sealed) = self.with_password(offer, &command, program)?;
                let job = Job {
                    host: offer.host.clone(),
                    start: launch.into(),
                    input,
                };
                self.ask(&[job])?.pop()
            }
            None if user == "root" => return Ok(Err("there is no other way in".into())),
            None => {
                let mut host = offer.host.clone();
                host.user = Some("root".into());
                self.on_each(&[host], &command, input)?.pop()
            }
        };
        let Some(answer) = answer else {
            return Ok(Err("it was not tried".into()));
        };
        if !answer.report.state.is_ok() {
            return Ok(Err(super::reason(&answer)));
        }
        let text = String::from_utf8_lossy(&answer.out).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("why "));
        Ok(Ok(lines.map(str::to_string).collect()))
    }

    /// What one connection costs, with more options for ssh. None: it does not work so.
    pub fn cost(&self, host: &Host, options: &[String]) -> io::Result<Option<Cost>> {
        let mut ssh = self.ssh(true);
        // The first one counts.
        ssh.options.splice(0..0, options.iter().cloned());
        let mut launch = ssh.launch(host, &["true".into()]);
        launch.kept = None;
        let mut best: Option<Cost> = None;
        for _ in 0..TIMES {
            let (before, begun) = (children()?, Instant::now());
            let job = Job {
                host: host.clone(),
                start: launch.clone().into(),
                input: Input::Nothing,
            };
            if !self.ask(&[job])?.iter().all(|answer| answer.report.state.is_ok()) {
                return Ok(None);
            }
            let wall = begun.elapsed().as_secs_f64() * 1e3;
            let cpu = children()? - before;
            if best.is_none_or(|best| cpu < best.cpu) {
                best = Some(Cost { cpu, wall });
            }
        }
        Ok(best)
    }

    /// What a connection would cost if the keys of this host stood in a file of their own. None: they do, or the files
    /// are small.
    pub fn cost_of_files(&self, host: &Host, effective: &Effective) -> io::Result<Option<(u64, Cost)>> {
        let sizes = effective.known_files.iter().filter_map(|file| file.metadata().ok());
        let size: u64 = sizes.map(|meta| meta.len()).sum();
        if kept(effective) != Kept::Usual || size < LARGE {
            return Ok(None);
        }
        let mut text = String::new();
        for file in effective.known_files.iter().filter(|file| file.exists()) {
            let found = self.keygen_all(&[
                "-F".into(),
                effective.known_as.clone().into(),
                "-f".into(),
                file.clone().into(),
            ]);
            // Not found in this one is an error for ssh-keygen only.
            let found = found.unwrap_or_default();
            text.extend(
                found
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .map(|line| format!("{line}\n")),
            );
        }
        let mut spool = Spool::in_memory()?;
        io::Write::write_all(&mut spool, text.as_bytes())?;
        let option = format!("UserKnownHostsFile={}", spool.path().display());
        Ok(self.cost(host, &[option])?.map(|cost| (size, cost)))
    }
}

fn place(seen: &Seen, effective: &Effective) -> String {
    match &seen.address {
        Some(address) => address.clone(),
        None => format!("{} port {}", effective.hostname, effective.port),
    }
}

/// Milliseconds of CPU that the children of this process have used.
fn children() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e3)
}

/// Whether a host that refused a key could be asked for a password.
pub fn takes_password(seen: &Seen) -> bool {
    let said = seen.trouble.as_ref().filter(|trouble| trouble.cause == Cause::Auth);
    said.is_some_and(|trouble| way(&trouble.said) != super::password::Way::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19\n\
        debug1: Connecting to n1 [10.78.1.2] port 22.\ndebug1: Connection established.\n\
        debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2\n\
        debug2: local client KEXINIT proposal\ndebug2: KEX algorithms: mine\n\
        debug2: peer server KEXINIT proposal\ndebug2: KEX algorithms: sntrup761x25519-sha512@openssh.com,curve25519-sha256\n\
        debug1: kex: algorithm: sntrup761x25519-sha512@openssh.com\n\
        debug1: Server host key: ssh-ed25519 SHA256:abc\ndebug1: Found key in /root/.ssh/known_hosts:7\n\
        debug1: Offering public key: /root/.ssh/id_ed25519 ED25519 SHA256:def\n\
        Authenticated to n1 ([10.78.1.2]:22) using \"publickey\".\n";

    #[test]
    fn what_ssh_tells_on_the_way_is_read() {
        let seen = Seen::parse(GOOD.as_bytes(), format!("{MARK}\n").as_bytes());
        assert!(seen.login && seen.junk.is_none() && seen.trouble.is_none());
        assert_eq!(seen.address.as_deref(), Some("10.78.1.2 port 22"));
        assert_eq!(seen.offers, ["sntrup761x25519-sha512@openssh.com", "curve25519-sha256"]);
        assert_eq!(seen.pinned.as_deref(), Some("/root/.ssh/known_hosts:7"));
        assert_eq!(seen.keys, ["/root/.ssh/id_ed25519"]);
        let seen = Seen::parse(GOOD.as_bytes(), format!("\nWelcome!\nx{MARK}\n").as_bytes());
        assert_eq!(seen.junk, Some((11, "Welcome!".into())));
    }

    #[test]
    fn what_ssh_complains_about_is_found_among_it() {
        let text = "debug1: Connecting to n1 [10.78.1.2] port 22.\n\
            @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
            Offending ED25519 key in /root/.ssh/known_hosts:1\nHost key verification failed.\n";
        let seen = Seen::parse(text.as_bytes(), b"");
        assert_eq!(seen.trouble.map(|trouble| trouble.cause), Some(Cause::HostKeyChanged));
        assert_eq!(seen.offending.as_deref(), Some("/root/.ssh/known_hosts:1"));
        let text =
            "debug1: Connecting to n1 [10.78.1.2] port 22.\nssh: connect to host n1 port 22: Connection refused\n";
        let seen = Seen::parse(text.as_bytes(), b"");
        assert!(!seen.answered && !seen.login);
        assert_eq!(seen.trouble.map(|trouble| trouble.cause), Some(Cause::Connect));
    }
}
