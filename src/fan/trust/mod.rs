//! The trust that lets one machine run commands on others without a question (FO-01, FO-02): looking at it, setting it
//! up for one host, and for all members of a list among each other. Asks nobody anything; ssh itself asks for passwords.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod check;
pub mod files;
pub mod password;

use super::{Answer, Input, Job, Options, Spool, State, Stop, ask};
use crate::hosts::Host;
use crate::remote::known::{self, Effective, PublicKey};
use crate::remote::{self, Launch, Ssh};

/// The types of keys that a user may have, as ssh-keygen calls them; the first is made when there is none.
pub const TYPES: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// How much of an answer is kept, in bytes: enough for the keys of a host, or a line for each of 10,000 members.
const LIMIT: usize = 1 << 20;

/// Prints the user's public key, made if there is none, and the host's public keys. `$1`: the type it must have.
const COLLECT: &str = concat!(
    "umask 077; cd && mkdir -p .ssh || exit 1; exec 9<.ssh || exit 1; flock 9; k=; t=$1; ",
    "for f in ${t:-ed25519 ecdsa rsa}; do [ -z \"$k\" ] && [ -s .ssh/id_$f ] && k=.ssh/id_$f; done; t=${t:-ed25519}; ",
    "if [ -z \"$k\" ]; then k=.ssh/id_$t; ssh-keygen -q -t $t -N \"\" -C \"$(id -un)@$(uname -n)\" -f $k </dev/null || exit 1; fi; ",
    "if [ -s $k.pub ]; then echo \"key $(cat $k.pub)\"; else echo \"key $(ssh-keygen -y -P \"\" -f $k) $(id -un)@$(uname -n)\"; fi; ",
    "for f in /etc/ssh/ssh_host_*_key.pub; do [ -s $f ] && echo \"host $(cat $f)\"; done; exit 0",
);

/// Tries ssh from a member to all the others, eight at a time, which standard input names as `PORT USER NAME`; `-` is
/// the default.
const REACH: &str = concat!(
    "n=0; while read -r p u h; do set --; [ $p = - ] || set -- -p $p; [ $u = - ] || set -- \"$@\" -l $u; ",
    "(m=$(ssh -n -T -a -x -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o LogLevel=ERROR \"$@\" -- $h true 2>&1) ",
    "&& echo ok $h || echo \"no $h $(printf %s \"$m\" | tail -n 1)\") & n=$((n+1)); [ $((n%8)) -ne 0 ] || wait; done; wait",
);

/// What is needed to look at trust and set it up.
pub struct Trust<'a> {
    /// How ssh is called. The host key is always checked strictly, whatever the configuration says.
    pub ssh: Ssh,
    /// Window and time-outs.
    pub options: Options,
    /// The home directory of the user of this machine.
    pub home: PathBuf,
    /// The name of the small files that belong together: `hosts`, the name of a cluster.
    pub group: String,
    /// The type the users' keys must have: `ed25519`; the first of their default keys when not given.
    pub key_type: Option<String>,
    /// The user's wish to stop.
    pub stop: Option<&'a Stop>,
}

/// What one member told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its user's public key, with its comment.
    pub key: String,
    /// Its host keys.
    pub host_keys: Vec<PublicKey>,
}

impl Trust<'_> {
    fn ssh(&self, batch: bool) -> Ssh {
        let mut ssh = self.ssh.clone();
        ssh.batch = batch;
        ssh.options.push("StrictHostKeyChecking=yes".into());
        ssh
    }

    fn ask(&self, jobs: &[Job]) -> io::Result<Vec<Answer>> {
        ask(jobs, &self.options, self.stop, LIMIT)
    }

    /// Runs one command on each host.
    fn on_each(&self, hosts: &[Host], command: &[OsString], input: Input) -> io::Result<Vec<Answer>> {
        let (ssh, command) = (Arc::new(self.ssh(true)), command.into());
        let job = |host: &Host| Job::over(&ssh, host.clone(), &command, input.clone());
        self.ask(&hosts.iter().map(job).collect::<Vec<_>>())
    }

    /// Whether each host lets this user in without a question.
    pub fn check(&self, hosts: &[Host]) -> io::Result<Vec<State>> {
        let answers = self.on_each(hosts, &["true".into()], Input::Nothing)?;
        Ok(answers.into_iter().map(|answer| answer.report.state).collect())
    }

    /// What ssh's configuration says about each host.
    pub fn effective(&self, hosts: &[Host]) -> io::Result<Vec<Effective>> {
        let job = |host: &Host| {
            let mut launch = self.ssh.launch(host, &[]);
            launch.argv.insert(1, "-G".into());
            launch.ssh = false;
            Job {
                host: host.clone(),
                start: launch.into(),
                input: Input::Nothing,
            }
        };
        let answers = self.ask(&hosts.iter().map(job).collect::<Vec<_>>())?;
        let read = |(answer, host): (&Answer, &Host)| {
            let text = String::from_utf8_lossy(&answer.out);
            // An ssh that does not tell is taken at the host's word.
            let fallback = format!("hostname {}\nport {}\n", host.name, host.port.unwrap_or(22));
            let told = answer.report.state.is_ok() && text.contains("hostname ");
            Effective::parse(if told { &text } else { &fallback }, &self.home)
        };
        Ok(answers.iter().zip(hosts).map(read).collect())
    }

    /// The keys each host presents on the network: not to be trusted before somebody has looked at them.
    pub fn scan(&self, hosts: &[Host], effective: &[Effective]) -> io::Result<Vec<Vec<PublicKey>>> {
        let program = remote::program("DSAU_SSH_KEYSCAN", "ssh-keyscan");
        let seconds = self.ssh.connect_seconds.to_string();
        let job = |(host, known): (&Host, &Effective)| Job {
            host: host.clone(),
            start: Launch {
                argv: vec![
                    program.clone().into(),
                    "-T".into(),
                    seconds.clone().into(),
                    "-p".into(),
                    known.port.to_string().into(),
                    "--".into(),
                    known.hostname.clone().into(),
                ],
                ssh: false,
                kept: None,
                env: Vec::new(),
            }
            .into(),
            input: Input::Nothing,
        };
        let answers = self.ask(&hosts.iter().zip(effective).map(job).collect::<Vec<_>>())?;
        let read = |answer: &Answer| known::scanned(&String::from_utf8_lossy(&answer.out));
        Ok(answers.iter().map(read).collect())
    }

    /// The public key of this user, as a line for authorized_keys: that of the wanted type, else the first there is; one
    /// is made (without a passphrase) when ssh has none to try.
    pub fn own_key(&self, identities: &[PathBuf]) -> io::Result<String> {
        let dir = self.home.join(".ssh");
        known::make_dir(&dir)?;
        let kind = self.key_type.as_deref();
        let made = dir.join(format!("id_{}", kind.unwrap_or("ed25519")));
        let others = identities.iter().filter(|_| kind.is_none());
        let mut existing = std::iter::once(&made).chain(others).filter(|file| file.exists());
        let file = match existing.next() {
            Some(file) => file.clone(),
            None => {
                self.make_key(&made)?;
                made
            }
        };
        match public(&file) {
            Some(line) => Ok(line),
            None => self.keygen(&["-y".into(), "-P".into(), "".into(), "-f".into(), file.into()]),
        }
    }

    /// The public keys that this user has in files, as lines for authorized_keys.
    pub fn own_keys(&self, identities: &[PathBuf]) -> Vec<String> {
        let usual = TYPES.iter().map(|kind| self.home.join(format!(".ssh/id_{kind}")));
        let mut keys: Vec<String> = usual
            .chain(identities.iter().cloned())
            .filter_map(|file| public(&file))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn make_key(&self, file: &Path) -> io::Result<()> {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let user = user.map_or_else(|| "root".to_string(), |user| user.name);
        let name = nix::unistd::gethostname().unwrap_or_default();
        let comment = format!("{user}@{}", name.to_string_lossy());
        let made = self.keygen(&[
            "-q".into(),
            "-t".into(),
            self.key_type.as_deref().unwrap_or("ed25519").into(),
            "-N".into(),
            "".into(),
            "-C".into(),
            comment.into(),
            "-f".into(),
            file.into(),
        ]);
        match made {
            // Somebody else made it at the same moment.
            Err(_) if file.exists() => Ok(()),
            other => other.map(drop),
        }
    }

    fn keygen(&self, arguments: &[OsString]) -> io::Result<String> {
        self.keygen_all(arguments).map(|text| last_line(text.as_bytes()))
    }

    /// All that ssh-keygen prints.
    fn keygen_all(&self, arguments: &[OsString]) -> io::Result<String> {
        let mut argv = vec![remote::program("DSAU_SSH_KEYGEN", "ssh-keygen").into()];
        argv.extend_from_slice(arguments);
        let host = Host {
            name: "localhost".into(),
            user: None,
            port: None,
        };
        let launch = Launch {
            argv,
            ssh: false,
            kept: None,
            env: Vec::new(),
        };
        let job = Job {
            host,
            start: launch.into(),
            input: Input::Nothing,
        };
        match self.ask(&[job])?.pop() {
            Some(answer) if answer.report.state.is_ok() => Ok(String::from_utf8_lossy(&answer.out).into_owned()),
            Some(answer) => Err(io::Error::other(format!("ssh-keygen: {}", reason(&answer)))),
            None => Err(io::Error::other("ssh-keygen did not run")),
        }
    }

    /// Collects the keys of members that let this user in.
    pub fn collect(&self, hosts: &[Host]) -> io::Result<Vec<Result<Member, String>>> {
        let kind = self.key_type.as_deref().unwrap_or_default();
        let answers = self.on_each(hosts, &remote::script(COLLECT, &[kind.as_bytes()]), Input::Nothing)?;
        Ok(answers.iter().map(member).collect())
    }

    /// Tries ssh from every member to every member. For each one the members that it does not reach, and why.
    pub fn matrix(&self, hosts: &[Host]) -> io::Result<Vec<Result<Vec<(String, String)>, String>>> {
        let mut text = String::new();
        for host in hosts {
            let port = host.port.map_or_else(|| "-".to_string(), |port| port.to_string());
            let user = host.user.as_deref().or(self.ssh.user.as_deref()).unwrap_or("-");
            text.push_str(&format!("{port} {user} {}\n", host.name));
        }
        let input = Input::Spool(Arc::new(Spool::of(text.as_bytes())?));
        let answers = self.on_each(hosts, &remote::script(REACH, &[]), input)?;
        let read = |answer: &Answer| {
            let text = String::from_utf8_lossy(&answer.out).into_owned();
            let good = text.lines().filter(|line| line.starts_with("ok ")).count();
            let bad = text.lines().filter_map(|line| line.strip_prefix("no "));
            let bad = bad.map(|line| line.split_once(' ').unwrap_or((line, "")));
            let mut bad: Vec<(String, String)> = bad.map(|(name, why)| (name.into(), why.into())).collect();
            bad.sort();
            match answer.report.state.is_ok() && good + bad.len() == hosts.len() {
                true => Ok(bad),
                false => Err(reason(answer)),
            }
        };
        Ok(answers.iter().map(read).collect())
    }
}

/// The lines that give every member the user keys and host keys of all.
pub fn shared(members: &[(Host, &Effective, Member)]) -> String {
    let mut text = String::new();
    for (host, effective, member) in members {
        text.push_str(&format!("key {} {}\n", host.name, member.key));
        for key in &member.host_keys {
            // Under the name that was listed: that is the one members will use.
            let known = known::known_name(&host.name, host.port.unwrap_or(effective.port));
            text.push_str(&format!("host {} {known} {key}\n", host.name));
        }
    }
    text
}

/// The public half of a key, from the file beside it.
fn public(file: &Path) -> Option<String> {
    let mut name = file.to_path_buf().into_os_string();
    name.push(".pub");
    let text = std::fs::read_to_string(Path::new(&name)).ok()?;
    let line = text.lines().next()?.trim();
    PublicKey::parse(line).map(|_| line.to_string())
}

fn member(answer: &Answer) -> Result<Member, String> {
    if !answer.report.state.is_ok() {
        return Err(reason(answer));
    }
    let text = String::from_utf8_lossy(&answer.out).into_owned();
    let part = |what: &'static str| {
        let lines = text.lines();
        lines
            .filter_map(move |line| line.strip_prefix(what))
            .filter(|key| PublicKey::parse(key).is_some())
    };
    let key = part("key ").next().ok_or("it has no usable key of its own")?;
    let host_keys: Vec<PublicKey> = part("host ").filter_map(PublicKey::parse).collect();
    if host_keys.is_empty() {
        return Err("its host keys in /etc/ssh cannot be read".into());
    }
    Ok(Member {
        key: key.trim().to_string(),
        host_keys,
    })
}

/// Why a host did not do what it was asked, in one line: what it said last, or how it ended.
fn reason(answer: &Answer) -> String {
    match (&answer.report.state, last_line(&answer.err)) {
        (State::Exited(_), said) if !said.is_empty() => said,
        (state, _) => state.to_string(),
    }
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests;
