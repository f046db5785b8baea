//! Option 2: more clients (CC-01 … CC-07).

use crate::diag::Exit;
use crate::sys::Hold;

use super::answers::{Action, Answers};
use super::client;
use super::error::WizardError;
use super::fleet::Fleet;
use super::journal::Journal;
use super::local;
use super::master::{addresses, roll_out, together};
use super::menu::{Wizard, worse};
use super::names::Host;
use super::site::Site;
use super::text;

impl Wizard<'_> {
    /// Asks for one client and adds it.
    pub(super) fn ask_add(&mut self) -> Result<Exit, WizardError> {
        let (_, master) = self.managed()?;
        self.dialog.say(&format!("\n{}\n", text::ADD))?;
        match self.ask_client(&master, &[])? {
            Some(host) => self.add(&[host.name]),
            None => Ok(Exit::Done),
        }
    }

    /// What is configured here, and who we are; only for a master.
    pub(super) fn managed(&self) -> Result<(Site, Host), WizardError> {
        let site = Site::look(self.paths)?;
        let policy_host = site.policy_host.clone().ok_or(WizardError::NotMaster)?;
        let master = self.master(Some(&policy_host))?;
        Ok((site, master))
    }

    /// Adds clients, new ones or once more. One that fails is named and left out.
    pub(super) fn add(&mut self, names: &[String]) -> Result<Exit, WizardError> {
        let (site, master) = self.managed()?;
        let (members, lost) = self.members(names, &master, &site.clients)?;
        let mut fleet = Fleet::new(self.remote, members);
        fleet.all(|member| client::probe(&member.host.name));
        if fleet.good().next().is_some() {
            let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
            self.dialog.say("")?;
            let asked = Answers {
                action: Action::Add,
                policy_host: Some(master.name.clone()),
                clients: names.to_vec(),
            };
            let journal = Journal::new(Some(asked), fleet.good_names(), site.running.is_some());
            let keys = addresses(&fleet);
            self.guarded(&journal, &keys, false, |wizard| {
                wizard.commit_added(&master, &site, &journal.run, &mut fleet)
            })?;
            hold.release();
        }
        for line in fleet.report() {
            self.dialog.say(&line)?;
        }
        for name in fleet.good_names() {
            self.dialog.say(&text::added(&name))?;
        }
        self.remember(&master, &fleet, &lost)?;
        Ok(worse(
            fleet.exit(),
            if lost.is_empty() { Exit::Done } else { Exit::Failed },
        ))
    }

    fn commit_added(
        &mut self,
        master: &Host,
        site: &Site,
        run: &str,
        fleet: &mut Fleet<'_>,
    ) -> Result<(), WizardError> {
        self.note(text::HOSTS);
        self.exchange_keys(master, run, fleet)?;
        let made = self.write_policy(master, &together(&site.clients, fleet))?;
        if site.running.is_none() && site.at_boot {
            local::service(self.paths, "start")?;
        }
        roll_out(fleet, &made);
        self.drop_failed(master, fleet)?;
        self.record(master)
    }

    /// The recorded answers always lead to the configuration there is.
    pub(super) fn record(&self, master: &Host) -> Result<(), WizardError> {
        let mut clients = Site::look(self.paths)?.clients;
        clients.retain(|client| *client != master.name);
        let answers = Answers {
            action: Action::Master,
            policy_host: Some(master.name.clone()),
            clients,
        };
        answers
            .store(&self.paths.wizard_answers())
            .map_err(WizardError::io("cannot record the answers"))
    }
}
