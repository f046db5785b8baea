//! Option 4: new keys for all systems, or for none (CC-09, UGW ch02s04).

use crate::diag::Exit;
use crate::keys::{PublicKey, Store};
use crate::sys::Hold;

use super::error::WizardError;
use super::fleet::Fleet;
use super::local;
use super::menu::{Wizard, worse};
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
        fleet.all(|client, _| client.probe());
        self.all_or_none(&fleet, lost)?;

        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        self.note(&format!("\n{}", text::KEYS_MADE));
        let store = Store::at(self.paths.ppkeys());
        let next = store.dir().join("next");
        fleet.each(|client, _| client.stage_key(), |member, key| member.key = Some(key));
        let own = discard(&next).and_then(|()| Ok(Store::create(&next)?.public()));
        let ready = self.all_or_none(&fleet, false).and(own);
        let key = match ready {
            Ok(key) => key,
            Err(error) => {
                for member in &fleet.members {
                    super::client::Client::new(self.remote, &member.host.name).unstage_key();
                }
                let _ = discard(&next);
                return Err(error);
            }
        };
        self.note(text::KEYS_SENT);
        let switched = self.switch(&master, &store, &key, &mut fleet);
        hold.release();
        switched?;

        for (member, fault) in fleet.bad() {
            let name = &member.host.name;
            self.dialog.say(&format!(
                "The client {name} was lost while its key was being changed: {fault}. Add it again with choice 2."
            ))?;
        }
        let done = fleet.good().count();
        self.dialog.say(&format!(
            "New keys are in use on the master server and on {done} managed client{}.",
            if done == 1 { "" } else { "s" }
        ))?;
        Ok(worse(fleet.exit(), Exit::Done))
    }

    /// Names every client that cannot take part.
    fn all_or_none(&mut self, fleet: &Fleet<'_>, lost: bool) -> Result<(), WizardError> {
        let bad = fleet.bad().count();
        if bad == 0 && !lost {
            return Ok(());
        }
        for (member, fault) in fleet.bad() {
            let name = &member.host.name;
            self.note(&format!("{name} cannot take part: {fault}."));
            if let Some(hint) = fault.hint(name) {
                self.note(&hint);
            }
        }
        Err(WizardError::NotAll(bad.max(1)))
    }

    fn switch(
        &mut self,
        master: &Host,
        store: &Store,
        key: &PublicKey,
        fleet: &mut Fleet<'_>,
    ) -> Result<(), WizardError> {
        fleet.all(|client, _| {
            client.trust(master, key)?;
            client.switch_key()?;
            client.start()
        });
        let rename = |end: &str| {
            let from = store.dir().join(format!("next.{end}"));
            std::fs::rename(&from, store.dir().join(format!("localhost.{end}")))
                .map_err(WizardError::io(format!("cannot take {} into use", from.display())))
        };
        rename("priv")?;
        rename("pub")?;
        local::trust(store, &master.addresses, key)?;
        for member in fleet.good() {
            if let Some(key) = &member.key {
                local::trust(store, &member.host.addresses, key)?;
            }
        }
        local::service(self.paths, "restart")
    }
}

/// Removes a second pair that an earlier run left.
fn discard(next: &std::path::Path) -> Result<(), WizardError> {
    for end in ["priv", "pub"] {
        let file = next.with_extension(end);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(WizardError::io(format!("cannot remove {}", file.display()))(e));
            }
            _ => {}
        }
    }
    Ok(())
}
