//! Option 3: a client leaves (CC-08). The manual has no text for it.

use crate::diag::Exit;
use crate::keys::Store;
use crate::sys::Hold;

use super::client::{Client, ClientError};
use super::error::WizardError;
use super::local;
use super::menu::{Wizard, worse};
use super::names::Host;
use super::question;
use super::site::Site;
use super::text;

impl Wizard<'_> {
    /// Asks for one client and removes it.
    pub(super) fn ask_remove(&mut self) -> Result<Exit, WizardError> {
        let (site, _) = self.managed()?;
        self.dialog.say(&format!("\n{}\n", text::REMOVE))?;
        loop {
            let answer = self.dialog.ask(&question::REMOVE)?;
            if answer.is_empty() {
                return Ok(Exit::Done);
            }
            match managed_name(&site, &answer) {
                Some(name) => return self.remove(&[name], true),
                None => self.dialog.say(&format!("{answer} is not a managed client."))?,
            }
        }
    }

    /// Removes clients from both sides. `ask`: one that cannot be reached may be removed from the master alone.
    pub(super) fn remove(&mut self, names: &[String], ask: bool) -> Result<Exit, WizardError> {
        let (site, master) = self.managed()?;
        let mut exit = Exit::Done;
        let mut gone = Vec::new();
        for name in names {
            let name = managed_name(&site, name).ok_or_else(|| WizardError::NotClient(name.clone()))?;
            if name == master.name {
                return Err(WizardError::MasterItself(name));
            }
            match Client::new(self.remote, &name).forget(&master) {
                Ok(()) => gone.push(name),
                Err(fault) => {
                    self.dialog.say(&format!("{name} does not take part: {fault}."))?;
                    if ask && self.ask_yes(&question::REMOVE_HERE)? {
                        gone.push(name);
                    } else {
                        self.dialog.say(&format!("The client {name} has not been removed."))?;
                        let status = match fault {
                            ClientError::Unreachable(_) => Exit::Unreachable,
                            _ => Exit::Failed,
                        };
                        exit = worse(exit, status);
                    }
                }
            }
        }
        if !gone.is_empty() {
            let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
            self.guarded(&site, false, |wizard| wizard.commit_removed(&master, &gone))?;
            hold.release();
        }
        for name in &gone {
            self.dialog.say(&text::removed(name))?;
        }
        Ok(exit)
    }

    fn commit_removed(&mut self, master: &Host, gone: &[String]) -> Result<(), WizardError> {
        let store = Store::at(self.paths.ppkeys());
        for name in gone {
            let addresses = self.names.addresses(name);
            if addresses.is_empty() {
                self.note(&format!(
                    "The name {name} does not resolve any more: remove its key from {} by hand.",
                    store.dir().display()
                ));
            }
            local::distrust(&store, &addresses)?;
        }
        let names: Vec<&str> = gone.iter().map(String::as_str).collect();
        self.leave_out(master, &names)?;
        self.record(master)
    }
}

/// The client as it is listed, by its full or its short name.
fn managed_name(site: &Site, name: &str) -> Option<String> {
    let wanted = name.trim_end_matches('.').to_ascii_lowercase();
    let exact = site.clients.iter().find(|client| **client == wanted);
    let mut short = site
        .clients
        .iter()
        .filter(|client| client.split('.').next() == Some(wanted.as_str()));
    // A short name must mean one client only.
    match (exact, short.next(), short.next()) {
        (Some(found), _, _) | (None, Some(found), None) => Some(found.clone()),
        _ => None,
    }
}
