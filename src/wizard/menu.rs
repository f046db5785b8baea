//! The menu, and replaying an answer file.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::diag::Exit;
use crate::sys::Paths;

use super::answers::{Action, Answers};
use super::client;
use super::dialog::{Dialog, Stop};
use super::error::WizardError;
use super::fleet::Member;
use super::local;
use super::names::{self, Host, Names};
use super::question::{self, Question};
use super::remote::Remote;
use super::site::Site;
use super::text;

/// The wizard and everything it touches the world with.
pub struct Wizard<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// The name service.
    pub names: &'a dyn Names,
    /// The way to the clients.
    pub remote: &'a dyn Remote,
    /// The administrator.
    pub dialog: &'a mut dyn Dialog,
}

impl Wizard<'_> {
    /// The whole conversation (CW-01 … CW-11). The end of the input is a clean end. Gives the worst status of what was
    /// done.
    ///
    /// # Errors
    /// What prevents a conversation at all; failures of a single choice are told and the menu comes back.
    pub fn menu(&mut self) -> Result<Exit, WizardError> {
        let _lock = local::lock(self.paths)?;
        let mut worst = Exit::Done;
        match self.talk(&mut worst) {
            Ok(()) | Err(WizardError::Stop(Stop::End)) => Ok(worst),
            Err(other) => Err(other),
        }
    }

    fn talk(&mut self, worst: &mut Exit) -> Result<(), WizardError> {
        let own = self.own_name()?;
        self.dialog.say(&text::querying(&own))?;
        *worst = self.recover()?;
        self.dialog.say(&format!("\n{}", text::INTRODUCTION))?;
        self.dialog.pause()?;
        loop {
            self.dialog.say(text::MENU)?;
            let choice = self.dialog.ask(&question::CHOICE)?;
            let done = match choice.as_str() {
                "1" => self.ask_master().and_then(|answers| match answers {
                    Some(answers) => self.set_up(&answers),
                    None => Ok(Exit::Done),
                }),
                "2" => self.ask_add(),
                "3" => self.ask_remove(),
                "4" => self.ask_keys(),
                "5" => self.display(),
                "9" => return Ok(()),
                _ => {
                    self.dialog
                        .say("\nPlease answer with one of the numbers of the menu.\n")?;
                    continue;
                }
            };
            match done {
                Ok(exit) => *worst = worse(*worst, exit),
                Err(WizardError::Stop(stop)) => return Err(stop.into()),
                Err(error) => {
                    self.dialog.say(&format!("\nERROR: {error}."))?;
                    for hint in error.hints() {
                        self.dialog.say(&format!("  hint: {hint}"))?;
                    }
                    *worst = worse(*worst, error.exit());
                }
            }
            self.dialog.pause()?;
        }
    }

    /// CW-20: does again what was recorded, without asking.
    ///
    /// # Errors
    /// What prevented it; then the master is as it was.
    pub fn replay(&mut self, answers: &Answers) -> Result<Exit, WizardError> {
        let _lock = local::lock(self.paths)?;
        let own = self.own_name()?;
        self.dialog.say(&text::querying(&own))?;
        let before = self.recover()?;
        self.dialog.say("")?;
        if answers.action == Action::Master {
            self.dialog.say(&text::configured_on(&own))?;
        }
        Ok(worse(self.carry_out(answers)?, before))
    }

    /// Does what the answers say.
    pub(super) fn carry_out(&mut self, answers: &Answers) -> Result<Exit, WizardError> {
        match answers.action {
            Action::Master => self.set_up(answers),
            Action::Add => self.add(&answers.clients),
            Action::Remove => self.remove(&answers.clients, false),
            Action::Keys => self.new_keys(),
        }
    }

    /// What this system calls itself.
    pub(super) fn own_name(&self) -> Result<String, WizardError> {
        Ok(self.names.own().ok_or(names::NameError::Nameless)?)
    }

    /// This system as the clients know it.
    pub(super) fn master(&self, wanted: Option<&str>) -> Result<Host, WizardError> {
        let own = names::find(self.names, &self.own_name()?, true);
        let Some(wanted) = wanted else { return Ok(own?) };
        let host = names::find(self.names, wanted, true)?;
        // A name of another interface of this machine will do as well.
        let ours = self.names.interfaces();
        let same = own.as_ref().is_ok_and(|own| own.name == host.name);
        if same || host.addresses.iter().any(|address| ours.contains(address)) {
            return Ok(host);
        }
        Err(WizardError::OtherMaster {
            file: host.name,
            own: own.map_or_else(|_| self.own_name().unwrap_or_default(), |own| own.name),
        })
    }

    /// Asks for one client until the answer is usable; `None` for an empty answer. `taken`: named already.
    pub(super) fn ask_client(&mut self, master: &Host, taken: &[Host]) -> Result<Option<Host>, WizardError> {
        loop {
            let answer = self.dialog.ask(&question::ADD)?;
            if answer.is_empty() {
                return Ok(None);
            }
            match self.usable(&answer, master, taken) {
                Ok(host) if taken.iter().any(|other| other.name == host.name) => {
                    self.dialog.say(&format!("{} is named already.", host.name))?;
                }
                Ok(host) => return Ok(Some(host)),
                Err((why, hint)) => {
                    self.dialog.say(&format!("{answer} cannot be a client: {why}."))?;
                    if let Some(hint) = hint {
                        self.dialog.say(&hint)?;
                    }
                }
            }
        }
    }

    fn usable(&self, name: &str, master: &Host, taken: &[Host]) -> Result<Host, (String, Option<String>)> {
        let host = self.client_host(name, master).map_err(|e| (e.to_string(), None))?;
        let mut addresses = Taken::of(master);
        for other in taken.iter().filter(|other| other.name != host.name) {
            let _ = addresses.take(other);
        }
        addresses.take(&host).map_err(|e| (e.to_string(), None))?;
        client::probe(&host.name)
            .run(self.remote)
            .map_err(|e| (e.to_string(), e.hint(name)))?;
        Ok(host)
    }

    /// Who a client is.
    pub(super) fn client_host(&self, name: &str, master: &Host) -> Result<Host, WizardError> {
        let host = names::find(self.names, name, false)?;
        if host.name == master.name {
            return Err(WizardError::MasterItself(host.name));
        }
        Ok(host)
    }

    /// Clients by name; those whose name is of no use are told at once and left out. Gives their names, too.
    pub(super) fn members(
        &mut self,
        wanted: &[String],
        master: &Host,
        known: &[String],
    ) -> Result<(Vec<Member>, Vec<String>), WizardError> {
        let mut members: Vec<Member> = Vec::new();
        let mut lost = Vec::new();
        let mut taken = Taken::of(master);
        for name in wanted {
            let found = self.client_host(name, master).and_then(|host| {
                let twice = members.iter().any(|member| member.host.name == host.name);
                if !twice {
                    taken.take(&host)?;
                }
                Ok((host, twice))
            });
            match found {
                Ok((_, true)) => {}
                Ok((host, false)) => {
                    let known = known.contains(&host.name);
                    members.push(Member::new(host, known));
                }
                // Written into cfrun.hosts by hand, so that cfrun reaches the master too: there is nothing to do for it.
                Err(WizardError::MasterItself(own)) if known.contains(&own) => {}
                Err(error) => {
                    lost.push(name.clone());
                    self.dialog
                        .say(&format!("The client {name} could not be configured: {error}."))?;
                }
            }
        }
        Ok((members, lost))
    }

    /// Asks until the answer is yes or no.
    pub(super) fn ask_yes(&mut self, question: &Question) -> Result<bool, WizardError> {
        loop {
            let answer = self.dialog.ask(question)?;
            match question::yes(&answer) {
                Some(yes) => return Ok(yes),
                None => self.dialog.say("Please answer y or n.")?,
            }
        }
    }

    fn display(&mut self) -> Result<Exit, WizardError> {
        let site = Site::look(self.paths)?;
        let text = site.display(self.paths, self.names);
        self.dialog.say(&format!("\n{text}"))?;
        Ok(Exit::Done)
    }
}

/// The status that says more: anything but 0, the first one when both do.
pub(super) fn worse(a: Exit, b: Exit) -> Exit {
    if a == Exit::Done { b } else { a }
}

/// Whose each address is: a key belongs to an address, so two systems cannot share one.
struct Taken(HashMap<IpAddr, String>);

impl Taken {
    fn of(master: &Host) -> Self {
        let own = master.addresses.iter().map(|address| (*address, master.name.clone()));
        Taken(own.collect())
    }

    fn take(&mut self, host: &Host) -> Result<(), WizardError> {
        for address in &host.addresses {
            if let Some(by) = self.0.get(address) {
                return Err(WizardError::AddressTaken {
                    name: host.name.clone(),
                    address: *address,
                    by: by.clone(),
                });
            }
        }
        for address in &host.addresses {
            self.0.insert(*address, host.name.clone());
        }
        Ok(())
    }
}
