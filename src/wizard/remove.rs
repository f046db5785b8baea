//! Option 3: a client leaves (CC-08). The manual has no text for it.

use crate::diag::Exit;
use crate::keys::Store;
use crate::sys::Hold;

use super::answers::{Action, Answers};
use super::client;
use super::error::WizardError;
use super::fleet::{Fleet, Member};
use super::journal::Journal;
use super::local;
use super::master::addresses;
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
        let mut members = Vec::new();
        for name in names {
            let name = managed_name(&site, name).ok_or_else(|| WizardError::NotClient(name.clone()))?;
            if name == master.name {
                return Err(WizardError::MasterItself(name));
            }
            // A name that does not resolve any more must not keep a client here for ever.
            let addresses = self.names.addresses(&name);
            members.push(Member::new(Host { name, addresses }, true));
        }
        let mut fleet = Fleet::new(self.remote, members);
        fleet.all(|member| client::probe(&member.host.name));
        let mut alone = Vec::new();
        let told: Vec<(String, String)> = fleet
            .bad()
            .map(|(member, fault)| (member.host.name.clone(), fault.to_string()))
            .collect();
        for (name, fault) in told {
            self.dialog.say(&format!("{name} does not take part: {fault}."))?;
            match ask && self.ask_yes(&question::REMOVE_HERE)? {
                true => alone.push(name),
                false => self.dialog.say(&format!("The client {name} has not been removed."))?,
            }
        }
        if alone.is_empty() && fleet.good().next().is_none() {
            return Ok(fleet.exit());
        }
        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        let going: Vec<String> = fleet.good_names().into_iter().chain(alone.iter().cloned()).collect();
        let asked = Answers {
            action: Action::Remove,
            policy_host: Some(master.name.clone()),
            clients: going.clone(),
        };
        let journal = Journal::new(Some(asked), going.clone(), site.running.is_some());
        let keys = addresses(&fleet);
        let gone = self.guarded(&journal, &keys, false, |wizard| {
            wizard.commit_removed(&master, &alone, &mut fleet)
        });
        hold.release();
        let gone = match gone {
            Ok(gone) => gone,
            Err(error) => {
                // It is in the files again, and gets everything again.
                if matches!(error, WizardError::RolledBack(_)) {
                    let _ = self.add(&going);
                }
                return Err(error);
            }
        };
        let mut exit = Exit::Done;
        let late: Vec<(String, String)> = fleet
            .bad()
            .filter(|(member, _)| going.contains(&member.host.name) && !gone.contains(&member.host.name))
            .map(|(member, fault)| (member.host.name.clone(), fault.to_string()))
            .collect();
        for (name, fault) in late {
            self.dialog
                .say(&format!("The client {name} has not been removed: {fault}."))?;
            exit = Exit::Failed;
        }
        for name in &gone {
            self.dialog.say(&text::removed(name))?;
        }
        self.not_again(&gone)?;
        let left: Vec<&Member> = fleet.members.iter().filter(|m| !gone.contains(&m.host.name)).collect();
        Ok(match left.is_empty() {
            true => Exit::Done,
            false => worse(exit, fleet.exit()),
        })
    }

    /// Gives the names of those that are gone.
    fn commit_removed(
        &mut self,
        master: &Host,
        alone: &[String],
        fleet: &mut Fleet<'_>,
    ) -> Result<Vec<String>, WizardError> {
        fleet.each(
            |member| Ok(client::forget(&member.host.name, master)),
            |member, rc| member.rc = rc,
        );
        fleet.each(|member| client::disable(&member.host.name, &member.rc), |_, ()| {});
        let gone: Vec<String> = fleet
            .members
            .iter()
            .filter(|member| member.fault.is_none() || alone.contains(&member.host.name))
            .map(|member| member.host.name.clone())
            .collect();
        let store = Store::at(self.paths.ppkeys());
        for member in fleet.members.iter().filter(|member| gone.contains(&member.host.name)) {
            if member.host.addresses.is_empty() {
                self.note(&format!(
                    "The name {} does not resolve any more: remove its key from {} by hand.",
                    member.host.name,
                    store.dir().display()
                ));
            }
            local::distrust(&store, &member.host.addresses)?;
        }
        let names: Vec<&str> = gone.iter().map(String::as_str).collect();
        self.leave_out(master, &names)?;
        self.record(master)?;
        Ok(gone)
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
