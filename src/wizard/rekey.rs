//! Option 4: new keys for all systems, or for none (CC-09, UGW ch02s04).

use std::fs;
use std::io;

use crate::diag::Exit;
use crate::keys::{PrivateKey, PublicKey, Store};
use crate::sys::{Hold, Paths};

use super::answers::{Action, Answers};
use super::client;
use super::error::WizardError;
use super::fleet::Fleet;
use super::journal::Journal;
use super::local;
use super::menu::Wizard;
use super::names::Host;
use super::question;
use super::text;

impl Wizard<'_> {
    /// Asks whether it is meant.
    pub(super) fn ask_keys(&mut self) -> Result<Exit, WizardError> {
        self.managed()?;
        self.dialog.say(&format!("\n{}\n", text::KEYS))?;
        if self.ask_yes(&question::NEW_KEYS)? {
            self.new_keys()
        } else {
            Ok(Exit::Done)
        }
    }

    /// Makes every system a second key pair first; only when all of them have one, all take it into use.
    pub(super) fn new_keys(&mut self) -> Result<Exit, WizardError> {
        let (site, master) = self.managed()?;
        let (members, lost) = self.members(&site.clients, &master, &site.clients)?;
        let mut fleet = Fleet::new(self.remote, members);
        fleet.all(|member| client::probe(&member.host.name));
        self.all_or_none(&fleet, lost.len())?;

        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        self.note(&format!("\n{}", text::KEYS_MADE));
        let asked = Answers {
            action: Action::Keys,
            policy_host: Some(master.name.clone()),
            clients: Vec::new(),
        };
        let mut journal = Journal::new(Some(asked), fleet.good_names(), site.running.is_some());
        journal.store(self.paths)?;
        fleet.all(|member| client::stage_key(&member.host.name));
        let store = Store::at(self.paths.ppkeys());
        let own = discard(self.paths).and_then(|()| Ok(Store::create(&store.dir().join("next"))?));
        journal.switching = true;
        let ready = self
            .all_or_none(&fleet, 0)
            .and(own)
            .and_then(|_| journal.store(self.paths));
        if let Err(error) = ready {
            self.forget_keys(&journal.touched)?;
            return Err(error);
        }
        self.note(text::KEYS_SENT);
        let exit = self.switch(&master, &mut fleet);
        hold.release();
        exit
    }

    /// Goes on where a run was interrupted that was taking new keys into use.
    pub(super) fn finish_keys(&mut self, journal: &Journal) -> Result<Exit, WizardError> {
        let (site, master) = self.managed()?;
        let (members, lost) = self.members(&journal.touched, &master, &site.clients)?;
        let mut fleet = Fleet::new(self.remote, members);
        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        let exit = self.switch(&master, &mut fleet);
        hold.release();
        match exit {
            Ok(Exit::Done) if !lost.is_empty() => Ok(Exit::Failed),
            other => other,
        }
    }

    /// Names every client that cannot take part.
    fn all_or_none(&mut self, fleet: &Fleet<'_>, lost: usize) -> Result<(), WizardError> {
        let bad = fleet.bad().count() + lost;
        if bad == 0 {
            return Ok(());
        }
        for (member, fault) in fleet.bad() {
            let name = &member.host.name;
            self.note(&format!("{name} cannot take part: {fault}."));
            if let Some(hint) = fault.hint(name) {
                self.note(&hint);
            }
        }
        Err(WizardError::NotAll(bad))
    }

    /// Takes the second pairs into use everywhere, where that has not been done yet. A failure of the master itself leaves
    /// the journal, so that the next run goes on.
    fn switch(&mut self, master: &Host, fleet: &mut Fleet<'_>) -> Result<Exit, WizardError> {
        self.take_into_use(master, fleet)
            .map_err(|cause| WizardError::KeysHalf(Box::new(cause)))?;
        Journal::remove(self.paths).map_err(WizardError::io("cannot remove the journal"))?;
        let lines: Vec<String> = fleet
            .bad()
            .map(|(member, fault)| {
                let name = &member.host.name;
                format!(
                    "The client {name} was lost while its key was being changed: {fault}. Add it again with choice 2."
                )
            })
            .collect();
        for line in lines {
            self.dialog.say(&line)?;
        }
        let done = fleet.good().count();
        self.dialog.say(&format!(
            "New keys are in use on the master server and on {done} managed client{}.",
            if done == 1 { "" } else { "s" }
        ))?;
        Ok(fleet.exit())
    }

    fn take_into_use(&mut self, master: &Host, fleet: &mut Fleet<'_>) -> Result<(), WizardError> {
        let store = Store::at(self.paths.ppkeys());
        let key = coming(&store)?;
        fleet.all(|member| client::trust(&member.host.name, master, &key));
        fleet.each(
            |member| Ok(client::switch_key(&member.host.name)),
            |member, key| member.key = Some(key),
        );
        fleet.all(|member| client::start(&member.host.name));
        let next = store.dir().join("next.priv");
        match fs::rename(&next, store.dir().join("localhost.priv")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(WizardError::io(format!("cannot take {} into use", next.display()))(e));
            }
            _ => {}
        }
        discard(self.paths)?;
        local::own_key(&store, &master.addresses)?;
        // One that was lost after it took its key into use is trusted with that one, too.
        for member in &fleet.members {
            if let Some(key) = &member.key {
                local::trust(&store, &member.host.addresses, key)?;
            }
        }
        local::service(self.paths, "restart")
    }
}

/// The master's key that is, or will be, in use.
fn coming(store: &Store) -> Result<PublicKey, WizardError> {
    let file = store.dir().join("next.priv");
    let failed = |e| WizardError::io(format!("cannot read {}", file.display()))(e);
    match fs::read(&file) {
        Ok(pem) => {
            let key = PrivateKey::from_pem(&pem);
            Ok(key.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?.public())
        }
        // It has taken the place of the old one already.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(store.load_local()?.public()),
        Err(e) => Err(failed(e)),
    }
}

/// Removes a second pair.
pub(super) fn discard(paths: &Paths) -> Result<(), WizardError> {
    for end in ["priv", "pub"] {
        let file = Store::at(paths.ppkeys()).dir().join(format!("next.{end}"));
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(WizardError::io(format!("cannot remove {}", file.display()))(e));
            }
            _ => {}
        }
    }
    Ok(())
}
