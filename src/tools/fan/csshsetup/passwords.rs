//! Passwords: asked for once where one fits all, tried once on each host, asked for again where it was refused.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use super::{Outcome, Setup};
use crate::fan::trust::password::{Installed, Offer, Way, login, way, who};
use crate::hosts;
use crate::remote;
use crate::tools::fan::secret;

/// Who asks for passwords.
enum Asker {
    /// This process, on the terminal.
    Terminal(PathBuf),
    /// ssh, through the program that the user has named.
    Theirs,
    /// An ssh that knows no other way, on the terminal.
    Ssh,
    /// Nobody can be asked.
    Nobody,
}

fn asker(version: Option<(u32, u32)>) -> Asker {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let required = std::env::var("SSH_ASKPASS_REQUIRE").unwrap_or_default();
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok();
    let wanted = required == "force" || required == "prefer" || !terminal && (set("DISPLAY") || set("WAYLAND_DISPLAY"));
    match (terminal, std::env::current_exe()) {
        _ if set("SSH_ASKPASS") && wanted => Asker::Theirs,
        (false, _) => Asker::Nobody,
        // SSH_ASKPASS_REQUIRE is known since 8.4.
        (true, Ok(program)) if version.is_none_or(|version| version >= (8, 4)) => Asker::Terminal(program),
        (true, _) => Asker::Ssh,
    }
}

impl Setup<'_> {
    /// Installs this user's key on hosts that refused it, given with what ssh said then.
    pub(super) fn install(&mut self, refused: Vec<(usize, String)>) -> io::Result<()> {
        let Some(&(first, _)) = refused.first() else {
            return Ok(());
        };
        let key = match self.trust.own_key(&self.effective[first].identities) {
            Ok(key) => key,
            Err(error) => {
                for (index, _) in refused {
                    self.results[index] = Some(Outcome::Failed(format!("no key to install: {error}")));
                }
                return Ok(());
            }
        };
        let mut rows = Vec::new();
        for (index, said) in refused {
            match way(&said) {
                Way::None => {
                    let user = login(&self.hosts[index], &self.effective[index], &self.trust.ssh);
                    self.results[index] = Some(Outcome::Failed(format!(
                        "it refuses our key and takes no password; add this line to .ssh/authorized_keys of {user} \
                         there: {key}"
                    )));
                }
                way => rows.push((index, way)),
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut serial = false;
        let program = match asker(remote::version(&self.trust.ssh.program)) {
            Asker::Terminal(program) => program,
            Asker::Theirs => return self.offer(&rows, &BTreeMap::new(), &key, None, false).map(drop),
            Asker::Ssh => {
                serial = true;
                PathBuf::new()
            }
            Asker::Nobody => {
                for (index, _) in rows {
                    self.results[index] = Some(Outcome::Failed(
                        "its password is needed and there is no terminal to ask on; SSH_ASKPASS can name a program \
                         that knows it"
                            .into(),
                    ));
                }
                return Ok(());
            }
        };
        if serial {
            return self.offer(&rows, &BTreeMap::new(), &key, None, true).map(drop);
        }
        // One for all hosts with the same user; then one for each host that refused it.
        let Some(passwords) = self.ask_together(&rows)? else {
            return self.give_up(&rows);
        };
        let (with, without): (Vec<_>, Vec<_>) = rows.iter().partition(|(index, _)| passwords.contains_key(index));
        let mut again = self.offer(&with, &passwords, &key, Some(&program), false)?;
        again.extend(without);
        again.sort_by_key(|(index, _)| *index);
        let several = rows.len() > 1;
        if !several || again.is_empty() {
            return Ok(());
        }
        let Some(passwords) = self.ask_each(&again)? else {
            return self.give_up(&again);
        };
        again.retain(|(index, _)| passwords.contains_key(index));
        self.offer(&again, &passwords, &key, Some(&program), false).map(drop)
    }

    fn give_up(&mut self, rows: &[(usize, Way)]) -> io::Result<()> {
        self.given_up = true;
        for (index, _) in rows {
            self.results[*index] = Some(Outcome::Failed("stopped".into()));
        }
        Ok(())
    }

    /// One question for each user name. None: the user has had enough. No password for a host: it shall be asked for
    /// on its own.
    fn ask_together(&mut self, rows: &[(usize, Way)]) -> io::Result<Option<BTreeMap<usize, Vec<u8>>>> {
        let mut users: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, _) in rows {
            let user = login(&self.hosts[*index], &self.effective[*index], &self.trust.ssh);
            users.entry(user).or_default().push(*index);
        }
        let mut passwords = BTreeMap::new();
        for (user, which) in users {
            let question = match which.as_slice() {
                [one] => format!("password of {user} on {}: ", self.hosts[*one].name),
                several => {
                    let bare: Vec<_> = self.those(several).into_iter().map(bare).collect();
                    format!(
                        "password of {user} on {} hosts, {} (Enter alone: asked for each): ",
                        several.len(),
                        hosts::fold(&bare)
                    )
                }
            };
            let Some(answer) = question_of(&question)? else {
                return Ok(None);
            };
            if !answer.is_empty() {
                passwords.extend(which.into_iter().map(|index| (index, answer.clone())));
            }
        }
        Ok(Some(passwords))
    }

    /// One question for each host.
    fn ask_each(&mut self, rows: &[(usize, Way)]) -> io::Result<Option<BTreeMap<usize, Vec<u8>>>> {
        let mut passwords = BTreeMap::new();
        for (index, _) in rows {
            let user = login(&self.hosts[*index], &self.effective[*index], &self.trust.ssh);
            let name = &self.hosts[*index].name;
            let question = format!("password of {user} on {name} (Enter alone: leave it out): ");
            let Some(answer) = question_of(&question)? else {
                return Ok(None);
            };
            if answer.is_empty() {
                self.results[*index].get_or_insert(Outcome::Failed("left out: no password was given".into()));
            } else {
                passwords.insert(*index, answer);
            }
        }
        Ok(Some(passwords))
    }

    /// Tries the passwords, all hosts at once. Gives the hosts that refused theirs.
    fn offer(
        &mut self,
        rows: &[(usize, Way)],
        passwords: &BTreeMap<usize, Vec<u8>>,
        key: &str,
        program: Option<&PathBuf>,
        serial: bool,
    ) -> io::Result<Vec<(usize, Way)>> {
        let offers: Vec<Offer<'_>> = rows
            .iter()
            .map(|&(index, way)| Offer {
                host: self.hosts[index].clone(),
                effective: &self.effective[index],
                way,
                password: passwords.get(&index).map(Vec::as_slice),
            })
            .collect();
        let nothing = PathBuf::new();
        let program = program.unwrap_or(&nothing);
        let installed = self.trust.install(&offers, key, program, serial)?;
        let (mut fine, mut refused) = (Vec::new(), Vec::new());
        for (&(index, way), installed) in rows.iter().zip(installed) {
            match installed {
                Installed::Done(told) => fine.push((index, told.notes)),
                Installed::Refused(why) => {
                    let user = who(&self.hosts[index], &self.effective[index], &self.trust.ssh);
                    refused.push((index, way));
                    self.results[index] = Some(Outcome::Failed(format!(
                        "the key could not be installed: the password of {user} was refused: {why}"
                    )));
                }
                Installed::Failed(why) => {
                    self.results[index] = Some(Outcome::Failed(format!("the key could not be installed: {why}")));
                }
            }
        }
        let which: Vec<usize> = fine.iter().map(|(index, _)| *index).collect();
        for ((index, notes), state) in fine.into_iter().zip(self.check(&which)?) {
            self.results[index] = Some(match (state.is_ok(), notes.is_empty()) {
                (true, _) => Outcome::Done,
                (false, true) => Outcome::Failed(format!(
                    "the key is installed, but logging in with it fails: {state}; \
                     'csshsetup --check --ask-password {}' looks for the reason",
                    self.hosts[index]
                )),
                (false, false) => Outcome::Failed(format!("the key is installed, but {}", notes.join("; "))),
            });
        }
        Ok(refused)
    }
}

/// A host without its user, whose name is said already.
fn bare(mut host: hosts::Host) -> hosts::Host {
    host.user = None;
    host
}

/// Asks without showing the answer. None: the user has had enough.
pub(super) fn question_of(question: &str) -> io::Result<Option<Vec<u8>>> {
    match secret::ask(question) {
        Ok(answer) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
