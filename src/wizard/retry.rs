//! Clients that could not be configured: remembered until they are, so that nobody has to find them in a long screen.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::diag::Exit;
use crate::sys::Paths;

use super::answers::{Action, Answers};
use super::error::WizardError;
use super::fleet::Fleet;
use super::local;
use super::menu::{Wizard, worse};
use super::names::Host;
use super::text;

/// Where they are, in the form of an answer file.
fn path(paths: &Paths) -> PathBuf {
    paths.wizard_answers().with_file_name("csync_wizard_retry.txt")
}

fn load(paths: &Paths) -> Result<Vec<String>, WizardError> {
    match path(paths) {
        file if file.exists() => Ok(Answers::load(&file)?.clients),
        _ => Ok(Vec::new()),
    }
}

fn store(paths: &Paths, clients: Vec<String>) -> Result<(), WizardError> {
    let file = path(paths);
    let done = match clients.is_empty() {
        true => match fs::remove_file(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
        false => Answers {
            action: Action::Add,
            policy_host: None,
            clients,
        }
        .store(&file),
    };
    done.map_err(WizardError::io(format!("cannot write {}", file.display())))
}

impl Wizard<'_> {
    /// Does again what failed for some clients in earlier runs.
    ///
    /// # Errors
    /// As [`Wizard::replay`].
    pub fn retry(&mut self) -> Result<Exit, WizardError> {
        let _lock = local::lock(self.paths)?;
        let before = self.recover()?;
        let clients = load(self.paths)?;
        if clients.is_empty() {
            self.dialog.say("All clients that were named are configured.")?;
            return Ok(before);
        }
        Ok(worse(self.add(&clients)?, before))
    }

    /// After a run: who is to be tried again. `lost`: names that are of no use yet.
    pub(super) fn remember(&mut self, master: &Host, fleet: &Fleet<'_>, lost: &[String]) -> Result<(), WizardError> {
        let done = fleet.good_names();
        let failed: Vec<String> = fleet
            .bad()
            .map(|(member, _)| member.host.name.clone())
            .chain(lost.iter().cloned())
            .collect();
        let mut clients = load(self.paths)?;
        // A name that did not resolve before may stand here without its domain.
        let is = |full: &String, name: &String| full == name || full.split('.').next() == Some(name.as_str());
        clients.retain(|name| !done.iter().any(|full| is(full, name)) && *name != master.name);
        for name in &failed {
            if !clients.contains(name) {
                clients.push(name.clone());
            }
        }
        store(self.paths, clients)?;
        if !failed.is_empty() {
            self.dialog
                .say(&format!("\n{}", text::remaining(done.len(), done.len() + failed.len())))?;
        }
        Ok(())
    }

    /// These are not tried again.
    pub(super) fn not_again(&mut self, names: &[String]) -> Result<(), WizardError> {
        let mut clients = load(self.paths)?;
        let before = clients.len();
        clients.retain(|name| !names.contains(name));
        match clients.len() == before {
            true => Ok(()),
            false => store(self.paths, clients),
        }
    }

    /// These are.
    pub(super) fn once_more(&mut self, names: &[String]) -> Result<(), WizardError> {
        let mut clients = load(self.paths)?;
        for name in names {
            if !clients.contains(name) {
                clients.push(name.clone());
            }
        }
        store(self.paths, clients)
    }
}
