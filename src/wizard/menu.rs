//! The menu, and replaying an answer file.

use crate::diag::Exit;
use crate::sys::Paths;

use super::answers::{Action, Answers};
use super::backup::Backups;
use super::client::Client;
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
        self.recover()?;
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
        self.recover()?;
        self.dialog.say("")?;
        match answers.action {
            Action::Master => {
                self.dialog.say(&text::configured_on(&own))?;
                self.set_up(answers)
            }
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

    /// Puts back what a run that was killed left half done.
    fn recover(&mut self) -> Result<(), WizardError> {
        let backups = Backups::at(self.paths.backups());
        if backups.unfinished() {
            backups.roll_back().map_err(WizardError::io(
                "cannot take back the configuration that was interrupted",
            ))?;
            self.dialog.say(
                "\nThe last run of this wizard was interrupted. Its changes to the configuration files of this system \
                 have been taken back.",
            )?;
        }
        Ok(())
    }

    /// Asks for one client until the answer is usable; `None` for an empty answer. `taken`: named already.
    pub(super) fn ask_client(&mut self, master: &Host, taken: &[String]) -> Result<Option<String>, WizardError> {
        loop {
            let answer = self.dialog.ask(&question::ADD)?;
            if answer.is_empty() {
                return Ok(None);
            }
            match self.usable(&answer, master) {
                Ok(host) if taken.contains(&host.name) => {
                    self.dialog.say(&format!("{} is named already.", host.name))?;
                }
                Ok(host) => return Ok(Some(host.name)),
                Err((why, hint)) => {
                    self.dialog.say(&format!("{answer} cannot be a client: {why}."))?;
                    if let Some(hint) = hint {
                        self.dialog.say(&hint)?;
                    }
                }
            }
        }
    }

    fn usable(&self, name: &str, master: &Host) -> Result<Host, (String, Option<String>)> {
        let host = self.client_host(name, master).map_err(|e| (e.to_string(), None))?;
        Client::new(self.remote, &host.name)
            .probe()
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

    /// Clients by name; those whose name is of no use are told at once and left out. Gives whether there were such.
    pub(super) fn members(
        &mut self,
        wanted: &[String],
        master: &Host,
        known: &[String],
    ) -> Result<(Vec<Member>, bool), WizardError> {
        let mut members: Vec<Member> = Vec::new();
        let mut lost = false;
        for name in wanted {
            match self.client_host(name, master) {
                Ok(host) if members.iter().any(|member| member.host.name == host.name) => {}
                Ok(host) => {
                    let known = known.contains(&host.name);
                    members.push(Member::new(host, known));
                }
                // Written into cfrun.hosts by hand, so that cfrun reaches the master too: there is nothing to do for it.
                Err(WizardError::MasterItself(own)) if known.contains(&own) => {}
                Err(error) => {
                    lost = true;
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
