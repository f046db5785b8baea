//! The way back: what a run that fails takes back by itself, and what a run that was killed leaves to the next one.

use std::io;

use crate::diag::Exit;
use crate::sys::Hold;

use super::answers::Action;
use super::backup::Backups;
use super::client;
use super::error::WizardError;
use super::fleet::{Fleet, Member};
use super::journal::Journal;
use super::local;
use super::menu::Wizard;
use super::names::Host;
use super::question;
use super::text;

impl<'w> Wizard<'w> {
    /// Takes back what a run has changed: on its clients, in the files of the master, and whether cfservd runs. Killed at any
    /// moment, it can be done again.
    pub(super) fn take_back(&mut self, journal: &Journal) -> io::Result<()> {
        let answers = journal.answers.as_ref();
        if let Some(answers) = answers
            && matches!(answers.action, Action::Master | Action::Add)
            && !journal.touched.is_empty()
        {
            match self.master(answers.policy_host.as_deref()) {
                Ok(master) => self.take_back_clients(journal, &master),
                Err(error) => self.note(&format!("The clients could not be put back: {error}.")),
            }
        }
        let backups = Backups::at(self.paths.backups());
        backups.restore()?;
        let verb = if journal.running { "restart" } else { "stop" };
        if let Err(error) = local::service(self.paths, verb) {
            self.note(&format!("cfservd on this system is not as it was: {error}."));
        }
        backups.finish()?;
        Journal::remove(self.paths)
    }

    fn take_back_clients(&mut self, journal: &Journal, master: &Host) {
        let mut fleet = self.named(&journal.touched);
        fleet.all(|member| client::undo(&member.host.name, &journal.run, master));
        let lines: Vec<String> = fleet
            .bad()
            .map(|(member, fault)| {
                let name = &member.host.name;
                format!(
                    "The client {name} could not be put back: {fault}. When it can be reached, add it or remove it."
                )
            })
            .collect();
        for line in lines {
            self.note(&line);
        }
    }

    /// Clients that are called by their names alone.
    pub(super) fn named(&self, names: &[String]) -> Fleet<'w> {
        let member = |name: &String| {
            let host = Host {
                name: name.clone(),
                addresses: Vec::new(),
            };
            Member::new(host, true)
        };
        Fleet::new(self.remote, names.iter().map(member).collect())
    }

    /// Finishes or takes back what a run that was killed left half done. Nobody who answers means: take back.
    pub(super) fn recover(&mut self) -> Result<Exit, WizardError> {
        let backups = Backups::at(self.paths.backups());
        let unfinished = backups.unfinished();
        let failed = "cannot take back the configuration that was interrupted";
        let Some(journal) = Journal::load(self.paths)? else {
            if unfinished {
                let done = backups.restore().and_then(|()| backups.finish());
                done.map_err(WizardError::io(failed))?;
                self.dialog.say(text::FILES_TAKEN_BACK)?;
            }
            return Ok(Exit::Done);
        };
        let action = journal.answers.as_ref().map(|answers| answers.action);
        if action == Some(Action::Keys) {
            return self.recover_keys(&journal);
        }
        if !unfinished {
            // It had not begun to change anything, or it had ended.
            Journal::remove(self.paths).map_err(WizardError::io(failed))?;
            return Ok(Exit::Done);
        }
        self.note(&text::interrupted(journal.doing()));
        let finish = match journal.answers {
            Some(_) => self.ask_yes(&question::FINISH),
            None => Ok(false),
        };
        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        self.take_back(&journal).map_err(WizardError::io(failed))?;
        let mut exit = Exit::Done;
        match (&journal.answers, &finish) {
            (Some(answers), Ok(true)) => exit = self.carry_out(answers)?,
            (answers, _) => {
                self.note(text::TAKEN_BACK);
                // Clients that were leaving are in the files again, and get everything again.
                let leaving = answers.as_ref().is_none_or(|answers| answers.action == Action::Remove);
                if leaving && !journal.touched.is_empty() {
                    exit = self.add(&journal.touched)?;
                }
            }
        }
        hold.release();
        finish.map(|_| exit)
    }

    /// New keys that are nowhere in use yet are forgotten or made once more; those in use somewhere are taken into use
    /// everywhere.
    fn recover_keys(&mut self, journal: &Journal) -> Result<Exit, WizardError> {
        if journal.switching {
            self.note(text::KEYS_GO_ON);
            return self.finish_keys(journal);
        }
        self.note(&text::interrupted(journal.doing()));
        let finish = self.ask_yes(&question::FINISH);
        self.forget_keys(&journal.touched)?;
        match finish {
            Ok(true) => self.new_keys(),
            other => {
                self.note(text::TAKEN_BACK);
                other.map(|_| Exit::Done)
            }
        }
    }

    /// Forgets the keys that were made and are not in use yet.
    pub(super) fn forget_keys(&mut self, clients: &[String]) -> Result<(), WizardError> {
        // What is left on a client that cannot be reached harms nobody: the next new keys replace it.
        self.named(clients).all(|member| client::unstage_key(&member.host.name));
        super::rekey::discard(self.paths)?;
        Journal::remove(self.paths).map_err(WizardError::io("cannot remove the journal"))
    }
}
