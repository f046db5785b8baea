//! Host keys: shown, asked about, pinned; and the small files they stand in.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Outcome, Setup};
use crate::diag::{Exit, Fail, stderr_line};
use crate::fan::Stop;
use crate::fan::trust::files::{Kept, Verb};
use crate::remote::known::{Effective, PublicKey};

impl Setup<'_> {
    /// Shows the keys of unknown hosts, and pins them when somebody says so. Gives the hosts whose keys are pinned now.
    pub(super) fn pin(&mut self, which: &[usize]) -> io::Result<Vec<usize>> {
        let hosts = self.those(which);
        let effective: Vec<Effective> = which.iter().map(|&index| self.effective[index].clone()).collect();
        let scanned = self.trust.scan(&hosts, &effective)?;
        let (mut taken, mut asked) = (Vec::new(), Vec::new());
        for (&index, keys) in which.iter().zip(scanned) {
            let named: Vec<PublicKey> = keys
                .iter()
                .filter(|key| self.wanted.contains(&key.fingerprint()))
                .cloned()
                .collect();
            if keys.is_empty() {
                self.results[index] = Some(Outcome::Failed(
                    "its host key could not be fetched with ssh-keyscan".into(),
                ));
            } else if !named.is_empty() {
                self.show(index, &named)?;
                taken.push((index, named));
            } else if self.yes {
                self.show(index, &keys)?;
                taken.push((index, keys));
            } else if !self.wanted.is_empty() {
                self.show(index, &keys)?;
                self.results[index] = Some(Outcome::Failed(
                    "it presents no host key with a given fingerprint".into(),
                ));
            } else {
                self.show(index, &keys)?;
                asked.push((index, keys));
            }
        }
        let why = match asked.is_empty() {
            true => None,
            false => confirm(self.trust.stop)?,
        };
        for (index, keys) in asked {
            match &why {
                None => taken.push((index, keys)),
                Some(why) => self.results[index] = Some(Outcome::Failed(why.clone())),
            }
        }
        self.write_keys(taken)
    }

    fn show(&mut self, index: usize, keys: &[PublicKey]) -> io::Result<()> {
        self.say(index, "its host key is not known here; it presents")?;
        for key in keys {
            self.out
                .line(format!("  {:<8} {}", key.short_kind(), key.fingerprint()))?;
        }
        self.out.flush()
    }

    /// Writes down keys that somebody has vouched for, all at once. Gives the hosts for which that went well.
    fn write_keys(&mut self, taken: Vec<(usize, Vec<PublicKey>)>) -> io::Result<Vec<usize>> {
        // A host that has a small file already stays in it.
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        let mut groups = Vec::new();
        for (index, keys) in &taken {
            let (name, known, kept) = (
                &self.hosts[*index].name,
                &self.effective[*index].known_as,
                self.kept(*index),
            );
            let group = match &kept {
                Kept::Small(group) => group.clone(),
                _ => self.trust.group.clone(),
            };
            let text = texts.entry(group.clone()).or_default();
            for key in keys {
                text.push_str(&match &kept {
                    Kept::Usual | Kept::Small(_) => format!("host {name} {known} {key}\n"),
                    Kept::Own(file) => format!("line {name} {} {known} {key}\n", file.display()),
                });
            }
            groups.push(group);
        }
        let mut told = BTreeMap::new();
        for (group, text) in texts {
            let answer = self.trust.here(Verb::Add, &group, &text)?;
            told.insert(group, answer);
        }
        let mut pinned = Vec::new();
        for ((index, _), group) in taken.into_iter().zip(groups) {
            match &told[&group] {
                Ok(told) if told.changed.contains(&self.hosts[index].name) => {
                    self.results[index] = Some(Outcome::Failed(format!(
                        "another host key is pinned for it in ~/.ssh/known_hosts; nothing was changed. Find out why; \
                         when the new key is right, remove the old one with: ssh-keygen -R '{}'",
                        self.effective[index].known_as
                    )));
                }
                Ok(_) => pinned.push(index),
                Err(why) => self.results[index] = Some(Outcome::Failed(format!("cannot pin its host key: {why}"))),
            }
        }
        Ok(pinned)
    }

    /// What is said about a host whose key is another than the one that is pinned.
    pub(super) fn changed(&self, index: usize) -> String {
        let known = &self.effective[index].known_as;
        let files = self.effective[index].known_files.iter().filter(|file| file.exists());
        let files: Vec<String> = files.map(|file| format!(" -f {}", file.display())).collect();
        let file = match files.as_slice() {
            [one] => one.as_str(),
            _ => "",
        };
        format!(
            "its host key is not the one pinned here; nothing was changed. Find out why; when the new key is right, \
             remove the old one with: ssh-keygen -R '{known}'{file}"
        )
    }

    /// Gives the hosts that are known here a small file of their own, with what known_hosts says of them; a connection
    /// through it must work, or it is taken back.
    pub(super) fn move_keys(&mut self) -> io::Result<()> {
        let good = |outcome: &Option<Outcome>| outcome.as_ref().is_some_and(Outcome::is_good);
        let usual: Vec<usize> = (0..self.hosts.len())
            .filter(|&index| good(&self.results[index]) && self.kept(index) == Kept::Usual)
            .collect();
        let mut text = String::new();
        for &index in &usual {
            text.push_str("move");
            text.push_str(self.naming(index).trim_start_matches("host"));
        }
        if text.is_empty() {
            return Ok(());
        }
        let group = self.trust.group.clone();
        let told = match self.trust.here(Verb::Add, &group, &text)? {
            Ok(told) => told,
            Err(why) => {
                stderr_line(&format!("csshsetup: host keys stay where they are: {why}"));
                return Ok(());
            }
        };
        let moved: Vec<usize> = usual
            .into_iter()
            .filter(|&index| told.took.contains(&self.hosts[index].name))
            .collect();
        let states = self.check(&moved)?;
        if self.trust.stop.is_some_and(|stop| stop.signal().is_some()) {
            // Not tried to its end tells nothing, and what was written is whole.
            return Ok(());
        }
        let mut back = String::new();
        for (&index, state) in moved.iter().zip(states) {
            match state.is_ok() {
                true if self.results[index] == Some(Outcome::Already) => self.results[index] = Some(Outcome::Moved),
                true => {}
                false => {
                    back.push_str(&self.naming(index));
                    self.note(
                        index,
                        &format!("its host key stays in known_hosts: a small file does not work: {state}"),
                    )?;
                }
            }
        }
        if !back.is_empty()
            && let Err(why) = self.trust.here(Verb::Undo, &group, &back)?
        {
            stderr_line(&format!("csshsetup: cannot take back the small file: {why}"));
        }
        Ok(())
    }

    /// The order of key exchanges that is asked for: one that is allowed for all hosts, and after it what else is.
    pub(super) fn order(&self) -> Result<Option<String>, Fail> {
        let Some(wanted) = self.kex.clone().filter(|kex| kex != "default") else {
            return Ok(self.kex.clone());
        };
        let mut allowed: Option<Vec<String>> = None;
        for (host, effective) in self.hosts.iter().zip(&self.effective) {
            if !effective.exchanges.contains(&wanted) {
                let list = effective.exchanges.join(", ");
                return Err(Fail::new(
                    Exit::Policy,
                    format!("the key exchange {wanted} is not allowed for {host} by the configuration of ssh"),
                )
                .hint(format!("it allows {list}")));
            }
            let both = |found: &String| effective.exchanges.contains(found);
            allowed = Some(match allowed {
                None => effective.exchanges.clone(),
                Some(list) => list.into_iter().filter(both).collect(),
            });
        }
        let rest = allowed.unwrap_or_default().into_iter().filter(|found| *found != wanted);
        Ok(Some(
            std::iter::once(wanted.clone())
                .chain(rest)
                .collect::<Vec<_>>()
                .join(","),
        ))
    }

    /// Writes the order down for the groups of the hosts.
    pub(super) fn prefer(&mut self, order: Option<&str>) -> io::Result<()> {
        let Some(order) = order else { return Ok(()) };
        // One alone would be looked up again: here it is decided.
        let order = if order == "default" {
            order.to_string()
        } else {
            format!("{order},")
        };
        for group in self.groups() {
            match self.trust.here(Verb::Add, &group, &format!("kex {order}\n"))? {
                Ok(told) => told
                    .notes
                    .iter()
                    .for_each(|note| stderr_line(&format!("csshsetup: {note}"))),
                Err(why) => {
                    self.failed = true;
                    stderr_line(&format!("csshsetup: the key exchange cannot be set for {group}: {why}"));
                }
            }
        }
        Ok(())
    }
}

/// Asks the person at the terminal. Gives why not, if not.
fn confirm(stop: Option<&Stop>) -> io::Result<Option<String>> {
    let Ok(mut terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(Some(
            "its host key is not known here and there is no terminal to ask on; compare the fingerprint, then use \
             --fingerprint"
                .into(),
        ));
    };
    let mut answer = Vec::new();
    loop {
        answer.clear();
        write!(
            terminal,
            "Compare with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' says on each host itself.\n\
             Trust these keys and pin them? (yes/no) "
        )?;
        while !answer.ends_with(b"\n") {
            // Ctrl-C is caught, so a plain read would not notice it.
            let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(200u8)).unwrap_or(0) > 0;
            if stop.is_some_and(|stop| stop.signal().is_some()) {
                return Ok(Some("stopped".into()));
            }
            let mut byte = [0];
            if ready && terminal.read(&mut byte)? == 0 || answer.len() > 64 {
                return Ok(Some("its host key was not accepted".into()));
            }
            if ready {
                answer.push(byte[0]);
            }
        }
        match answer.trim_ascii() {
            b"yes" => return Ok(None),
            b"no" => return Ok(Some("its host key was not accepted".into())),
            _ => writeln!(terminal, "Please answer 'yes' or 'no'.")?,
        }
    }
}
