//! The trust that lets one machine run commands on others without a question (FO-01, FO-02): looking at it, setting it
//! up for one host, and for all members of a list among each other. Asks nobody anything; ssh itself asks for passwords.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Answer, Input, Job, Options, Spool, State, Stop, ask};
use crate::hosts::Host;
use crate::remote::known::{self, Effective, PublicKey};
use crate::remote::{self, Launch, Ssh};

/// How much of an answer is kept, in bytes: enough for the keys of a host, or a line for each of 10,000 members.
const LIMIT: usize = 1 << 20;

/// Appends what standard input brings to the files of ssh, each line once, under a lock, and never rewrites a line.
/// `key TYPE BLOB NAME` goes to authorized_keys, `host NAME TYPE BLOB` to known_hosts. Group and others lose the right to
/// write to both and to `.ssh`, or sshd would not look at them.
const INSTALL: &str = concat!(
    "umask 077; cd && mkdir -p .ssh && chmod go-w .ssh || exit 1; ",
    "a=.ssh/authorized_keys; k=.ssh/known_hosts; n=0; exec 9>>$a || exit 1; flock 9; ",
    "for f in $a $k; do [ -e $f ] || : >>$f || exit 1; [ -z \"$(tail -c 1 $f)\" ] || echo >>$f; done; chmod go-w $a $k; ",
    "while read -r what t b c; do case $what in ",
    "key) grep -v \"^ *#\" $a | grep -qF -e \"$t $b\" || { printf \"%s\\n\" \"$t $b $c\" >>$a || exit 1; n=$((n+1)); };; ",
    "host) grep -qxF -e \"$t $b $c\" $k || { printf \"%s\\n\" \"$t $b $c\" >>$k || exit 1; n=$((n+1)); };; ",
    "esac; done; command -v restorecon >/dev/null && restorecon -R .ssh; sync $a $k 2>/dev/null; ",
    "[ -z \"$(find . -maxdepth 0 -perm /022)\" ] || echo \"note: $PWD can be written by others, so sshd may ignore its keys\"; ",
    "echo added $n",
);

/// Prints the user's public key, made if there is none, and the host's public keys.
const COLLECT: &str = concat!(
    "umask 077; cd && mkdir -p .ssh || exit 1; exec 9>>.ssh/authorized_keys || exit 1; flock 9; k=; ",
    "for f in .ssh/id_ed25519 .ssh/id_ecdsa .ssh/id_rsa; do [ -z \"$k\" ] && [ -s $f ] && k=$f; done; ",
    "if [ -z \"$k\" ]; then k=.ssh/id_ed25519; ssh-keygen -q -t ed25519 -N \"\" -C \"$(id -un)@$(uname -n)\" -f $k </dev/null || exit 1; fi; ",
    "if [ -s $k.pub ]; then echo \"key $(cat $k.pub)\"; else echo \"key $(ssh-keygen -y -P \"\" -f $k) $(id -un)@$(uname -n)\"; fi; ",
    "for f in /etc/ssh/ssh_host_*_key.pub; do [ -s $f ] && echo \"host $(cat $f)\"; done; exit 0",
);

/// Tries ssh from a member to all the others, which standard input names as `PORT USER NAME`; `-` is the default.
const REACH: &str = concat!(
    "while read -r p u h; do set --; [ $p = - ] || set -- -p $p; [ $u = - ] || set -- \"$@\" -l $u; ",
    "m=$(ssh -n -T -a -x -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -o LogLevel=ERROR \"$@\" -- $h true 2>&1) ",
    "&& echo ok $h || echo \"no $h $(printf %s \"$m\" | tail -n 1)\"; done",
);

/// What is needed to look at trust and set it up.
pub struct Trust<'a> {
    /// How ssh is called. The host key is always checked strictly, whatever the configuration says.
    pub ssh: Ssh,
    /// Window and time-outs.
    pub options: Options,
    /// The home directory of the user of this machine.
    pub home: PathBuf,
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

    fn on_each(&self, hosts: &[Host], command: &[OsString], input: Input) -> io::Result<Vec<Answer>> {
        let ssh = self.ssh(true);
        let job = |host: &Host| Job {
            host: host.clone(),
            launch: ssh.launch(host, command),
            input: input.clone(),
        };
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
                launch,
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
            launch: Launch {
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
            },
            input: Input::Nothing,
        };
        let answers = self.ask(&hosts.iter().zip(effective).map(job).collect::<Vec<_>>())?;
        let read = |answer: &Answer| known::scanned(&String::from_utf8_lossy(&answer.out));
        Ok(answers.iter().map(read).collect())
    }

    /// The public key of this user, as a line for authorized_keys; one is made (Ed25519, no passphrase) when ssh has none
    /// to try.
    pub fn own_key(&self, identities: &[PathBuf]) -> io::Result<String> {
        let dir = self.home.join(".ssh");
        known::make_dir(&dir)?;
        let made = dir.join("id_ed25519");
        let preferred = std::iter::once(&made).chain(identities);
        let mut existing = preferred.clone().filter(|file| file.exists());
        let file = match existing.next() {
            Some(file) => file.clone(),
            None => {
                self.make_key(&made)?;
                made
            }
        };
        let mut public = file.clone().into_os_string();
        public.push(".pub");
        match std::fs::read_to_string(Path::new(&public)) {
            Ok(text) if PublicKey::parse(&text).is_some() => Ok(text.trim().to_string()),
            _ => self.keygen(&["-y".into(), "-P".into(), "".into(), "-f".into(), file.into()]),
        }
    }

    fn make_key(&self, file: &Path) -> io::Result<()> {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let user = user.map_or_else(|| "root".to_string(), |user| user.name);
        let name = nix::unistd::gethostname().unwrap_or_default();
        let comment = format!("{user}@{}", name.to_string_lossy());
        let made = self.keygen(&[
            "-q".into(),
            "-t".into(),
            "ed25519".into(),
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
        };
        let job = Job {
            host,
            launch,
            input: Input::Nothing,
        };
        match self.ask(&[job])?.pop() {
            Some(answer) if answer.report.state.is_ok() => Ok(last_line(&answer.out)),
            Some(answer) => Err(io::Error::other(format!("ssh-keygen: {}", reason(&answer)))),
            None => Err(io::Error::other("ssh-keygen did not run")),
        }
    }

    /// Adds a public key to the authorized keys of a host. ssh asks for the password, on the terminal or through
    /// SSH_ASKPASS.
    pub fn install(&self, host: &Host, key: &str) -> io::Result<Result<String, String>> {
        let job = Job {
            host: host.clone(),
            launch: self.ssh(false).launch(host, &remote::script(INSTALL, &[])),
            input: Input::Spool(Arc::new(Spool::of(format!("key {key}\n").as_bytes())?)),
        };
        Ok(match self.ask(&[job])?.pop() {
            Some(answer) if answer.report.state.is_ok() => Ok(notes(&answer.out)),
            Some(answer) => Err(reason(&answer)),
            None => Err("it was not tried".into()),
        })
    }

    /// Collects the keys of members that let this user in.
    pub fn collect(&self, hosts: &[Host]) -> io::Result<Vec<Result<Member, String>>> {
        let answers = self.on_each(hosts, &remote::script(COLLECT, &[]), Input::Nothing)?;
        Ok(answers.iter().map(member).collect())
    }

    /// Gives all members the user keys and host keys of all: the text is what [`shared`] makes.
    pub fn distribute(&self, hosts: &[Host], text: &str) -> io::Result<Vec<Result<String, String>>> {
        let input = Input::Spool(Arc::new(Spool::of(text.as_bytes())?));
        let answers = self.on_each(hosts, &remote::script(INSTALL, &[]), input)?;
        Ok(answers
            .iter()
            .map(|answer| match answer.report.state.is_ok() {
                true => Ok(notes(&answer.out)),
                false => Err(reason(answer)),
            })
            .collect())
    }

    /// Tries ssh from every member to every member. For each one the members that it does not reach, and why.
    pub fn matrix(&self, hosts: &[Host]) -> io::Result<Vec<Result<Vec<String>, String>>> {
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
            let bad: Vec<String> = text
                .lines()
                .filter_map(|line| line.strip_prefix("no "))
                .map(|line| line.replacen(' ', ": ", 1))
                .collect();
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
        text.push_str(&format!("key {}\n", member.key));
        for key in &member.host_keys {
            // Under the name that was listed: that is the one members will use.
            let name = known::known_name(&host.name, host.port.unwrap_or(effective.port));
            text.push_str(&format!("host {name} {key}\n"));
        }
    }
    text
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

fn notes(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let notes = text.lines().filter_map(|line| line.strip_prefix("note: "));
    notes.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::{Command, Stdio};

    fn run(home: &Path, script: &str, input: &str) -> String {
        use std::io::Write;
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(&remote::script(script, &[])[0])
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn the_scripts_pass_any_login_shell() {
        for script in [INSTALL, COLLECT, REACH] {
            assert!(!script.contains(['\'', '!', '\n']), "{script}");
        }
    }

    #[test]
    fn keys_are_installed_once_and_what_is_there_stays() {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str| home.path().join(".ssh").join(name);
        let text = "key ssh-ed25519 AAAA root@a b\nhost h1 ssh-ed25519 BBBB\nhost h1 ssh-rsa CCCC\n";
        assert!(run(home.path(), INSTALL, text).contains("added 3"));
        assert_eq!(run(home.path(), INSTALL, text), "added 0\n");
        let read = |name| std::fs::read_to_string(file(name)).unwrap();
        assert_eq!(read("authorized_keys"), "ssh-ed25519 AAAA root@a b\n");
        assert_eq!(read("known_hosts"), "h1 ssh-ed25519 BBBB\nh1 ssh-rsa CCCC\n");
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((mode(&file("authorized_keys")), mode(&file(""))), (0o600, 0o700));
    }

    #[test]
    fn a_key_with_options_counts_as_there_a_commented_one_does_not_and_modes_are_only_narrowed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".ssh");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
        let file = dir.join("authorized_keys");
        let old = "from=\"10.0.0.1\" ssh-ed25519 AAAA x\n# ssh-ed25519 BBBB y";
        std::fs::write(&file, old).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o664)).unwrap();
        run(home.path(), INSTALL, "key ssh-ed25519 AAAA x\nkey ssh-ed25519 BBBB y\n");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("{old}\nssh-ed25519 BBBB y\n"));
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o644);
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_home_that_others_can_write_to_is_told() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let text = run(home.path(), INSTALL, "key ssh-ed25519 AAAA x\n");
        assert!(
            notes(text.as_bytes()).ends_with("so sshd may ignore its keys"),
            "{text}"
        );
    }

    #[test]
    fn a_key_is_made_once_and_told_each_time() {
        let home = tempfile::tempdir().unwrap();
        let keys = |text: &str| {
            text.lines()
                .filter(|l| l.starts_with("key "))
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        let first = keys(&run(home.path(), COLLECT, ""));
        assert_eq!(first.len(), 1);
        assert!(PublicKey::parse(&first[0][4..]).is_some());
        assert_eq!(keys(&run(home.path(), COLLECT, "")), first);
        std::fs::remove_file(home.path().join(".ssh/id_ed25519.pub")).unwrap();
        let again = keys(&run(home.path(), COLLECT, ""));
        assert_eq!(PublicKey::parse(&again[0][4..]), PublicKey::parse(&first[0][4..]));
    }
}
