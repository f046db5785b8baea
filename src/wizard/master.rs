//! Option 1: a standalone master, with clients or without (CM-01 … CM-12, MS-01 … MS-11).

use std::net::IpAddr;
use std::path::PathBuf;

use crate::diag::Exit;
use crate::keys::Store;
use crate::rcconf;
use crate::sys::{self, Hold, Paths};

use super::answers::{Action, Answers};
use super::backup::Backups;
use super::client::{self, CONFIGURED};
use super::dialog::Stop;
use super::error::WizardError;
use super::files::{self, Content, Made};
use super::fleet::Fleet;
use super::journal::Journal;
use super::local;
use super::menu::{Wizard, worse};
use super::names::{Host, domain_list};
use super::question;
use super::site::Site;
use super::text;

impl Wizard<'_> {
    /// The questions. `None`: the administrator decided to leave everything as it is.
    pub(super) fn ask_master(&mut self) -> Result<Option<Answers>, WizardError> {
        let own = self.own_name()?;
        self.dialog.say(&format!("\n{}\n", text::configured_on(&own)))?;
        let master = self.master(None)?;
        local::writable(self.paths)?;
        let site = Site::look(self.paths)?;
        if local::daemon(self.paths, "cfexecd").is_some() {
            self.dialog.say(&text::scheduler(&self.paths.init_d()))?;
        }
        if site.running.is_some() && !self.ask_yes(&question::STOP)? {
            let stop = self.paths.init_d().join("cfservd");
            self.dialog.say(&format!(
                "Nothing was changed. Stop the service with '{} stop' and come back.",
                stop.display()
            ))?;
            return Ok(None);
        }
        self.dialog.say(text::CLIENTS)?;
        let (mut clients, mut named) = (Vec::new(), Vec::new());
        if self.ask_yes(&question::CLIENTS)? {
            while let Some(host) = self.ask_client(&master, &named)? {
                clients.push(host.name.clone());
                named.push(host);
            }
        }
        Ok(Some(Answers {
            action: Action::Master,
            policy_host: Some(master.name),
            clients,
        }))
    }

    /// Plan and commit. The master's files are put back when anything on the master fails; a client that fails is named
    /// and left out.
    pub(super) fn set_up(&mut self, answers: &Answers) -> Result<Exit, WizardError> {
        let master = self.master(answers.policy_host.as_deref())?;
        local::writable(self.paths)?;
        let site = Site::look(self.paths)?;
        let (members, lost) = self.members(&answers.clients, &master, &site.clients)?;
        let mut fleet = Fleet::new(self.remote, members);
        fleet.all(|member| client::probe(&member.host.name));

        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        self.note(&format!("\n{}\n\n{}\n", text::WARNING, text::STARTING));
        let asked = Answers {
            policy_host: Some(master.name.clone()),
            ..answers.clone()
        };
        let journal = Journal::new(Some(asked), fleet.good_names(), site.running.is_some());
        let keys = addresses(&fleet);
        let agent = self.guarded(&journal, &keys, true, |wizard| {
            wizard.commit(answers, &master, &site, &journal.run, &mut fleet)
        })?;
        hold.release();

        let mut exit = worse(fleet.exit(), if lost.is_empty() { Exit::Done } else { Exit::Failed });
        for line in fleet.report() {
            self.dialog.say(&format!("\n{line}"))?;
        }
        self.remember(&master, &fleet, &lost)?;
        if let Some(error) = agent {
            self.dialog
                .say(&format!("\nThe first run of cfagent on this system failed: {error}."))?;
            exit = worse(exit, Exit::Failed);
        }
        self.summary(&master)?;
        Ok(exit)
    }

    /// CM-09 … CM-11.
    fn summary(&mut self, master: &Host) -> Result<(), WizardError> {
        let site = Site::look(self.paths)?;
        let manuals = self.paths.opt().join("doc/cfengine");
        let main = site.main.display().to_string();
        self.dialog
            .say(&format!("\n{}", text::completed(&main, &manuals.display().to_string())))?;
        self.dialog.pause()?;
        self.dialog.say(&text::environment(&master.name, &site.clients))?;
        let file = self.paths.wizard_answers().display().to_string();
        let wizard = self.paths.opt().join("sbin/csync_wizard").display().to_string();
        self.dialog.say(&text::answers(&file, &wizard))?;
        Ok(())
    }

    /// Everything of option 1 that changes something. Gives what the first run of cfagent here failed with, if it did.
    fn commit(
        &mut self,
        answers: &Answers,
        master: &Host,
        site: &Site,
        run: &str,
        fleet: &mut Fleet<'_>,
    ) -> Result<Option<WizardError>, WizardError> {
        self.exchange_keys(master, run, fleet)?;
        let clients = together(&site.clients, fleet);
        let made = self.write_policy(master, &clients)?;
        rcconf::set_in_file(&self.paths.rc_cfservd(), CONFIGURED, "1")?;
        // Seen to with the keys: a call for itself would cost each client as much again.
        self.note(text::HOSTS);
        self.note(text::RUNNING);
        local::programs(self.paths)?;
        local::service(self.paths, "start")?;
        roll_out(fleet, &made);
        self.drop_failed(master, fleet)?;
        self.recorded(answers, master, site)
            .store(&self.paths.wizard_answers())
            .map_err(WizardError::io("cannot record the answers"))?;
        Ok(local::agent(self.paths).err())
    }

    /// CW-19: the clients there were and all that were named, also those that failed: the next replay tries them again.
    fn recorded(&self, answers: &Answers, master: &Host, site: &Site) -> Answers {
        let mut clients: Vec<String> = site.clients.clone();
        for name in &answers.clients {
            let full = self.client_host(name, master).map_or(name.clone(), |host| host.name);
            if !clients.contains(&full) {
                clients.push(full);
            }
        }
        clients.retain(|client| *client != master.name);
        Answers {
            action: Action::Master,
            policy_host: Some(master.name.clone()),
            clients,
        }
    }

    /// CM-05 … CM-07, KY-01 … KY-06: all that clients get before there is a policy for them.
    pub(super) fn exchange_keys(&mut self, master: &Host, run: &str, fleet: &mut Fleet<'_>) -> Result<(), WizardError> {
        self.note(text::KEYS_MADE);
        let store = Store::at(self.paths.ppkeys());
        let key = local::own_key(&store, &master.addresses)?;
        fleet.each(
            |member| Ok(client::prepare(&member.host.name, run, master, &key)),
            |member, (key, rc)| {
                member.key = Some(key);
                member.rc = rc;
            },
        );
        self.note(text::KEYS_SENT);
        for member in fleet.good() {
            if let Some(key) = &member.key {
                local::trust(&store, &member.host.addresses, key)?;
            }
        }
        Ok(())
    }

    /// Makes the five files and puts them into the master's directory and into this system's own (MS-11).
    pub(super) fn write_policy(&mut self, master: &Host, clients: &[String]) -> Result<Vec<Made>, WizardError> {
        let inputs = self.paths.master().join("inputs");
        let content = Content {
            policy_host: master.name.clone(),
            domain: master.domain().to_string(),
            domain_list: domain_list(
                [master.name.as_str()]
                    .into_iter()
                    .chain(clients.iter().map(String::as_str)),
            ),
            clients: clients.to_vec(),
        };
        let made = files::make(&self.paths.templates(), &inputs, &content)?;
        files::private_dir(&self.paths.master().join("master_files"))
            .map_err(WizardError::io("cannot make the directory of the golden files"))?;
        for made in &made {
            if made.replaced {
                self.note(&format!(
                    "{} had no line to change and was made anew from its template; the old one is in the backup.",
                    made.name
                ));
            }
            put(self.paths, made.name, &made.bytes)?;
        }
        Ok(made)
    }

    /// Takes clients that failed out of the configuration again, unless they were in it before.
    pub(super) fn drop_failed(&mut self, master: &Host, fleet: &Fleet<'_>) -> Result<(), WizardError> {
        let failed: Vec<&Host> = fleet
            .bad()
            .filter(|(member, _)| !member.known)
            .map(|(member, _)| &member.host)
            .collect();
        let store = Store::at(self.paths.ppkeys());
        for host in &failed {
            local::distrust(&store, &host.addresses)?;
        }
        let names: Vec<&str> = failed.iter().map(|host| host.name.as_str()).collect();
        self.leave_out(master, &names)
    }

    /// Takes clients out of cfrun.hosts and their domains out of cfservd.conf, where no other client needs them.
    pub(super) fn leave_out(&mut self, master: &Host, names: &[&str]) -> Result<(), WizardError> {
        if names.is_empty() {
            return Ok(());
        }
        let inputs = self.paths.master().join("inputs");
        let hosts = files::without_clients(&inputs, names)?;
        put(self.paths, "cfrun.hosts", &hosts)?;
        let clients = Site::look(self.paths)?.clients;
        let domains = domain_list(
            [master.name.as_str()]
                .into_iter()
                .chain(clients.iter().map(String::as_str)),
        );
        if let Some(conf) = files::with_domains(&inputs, &domains)? {
            put(self.paths, "cfservd.conf", &conf)?;
        }
        Ok(())
    }

    /// Notes what is being done, saves the files (CW-17), changes them, and takes everything back when that fails. `keys`: the
    /// addresses whose keys may change.
    pub(super) fn guarded<R>(
        &mut self,
        journal: &Journal,
        keys: &[IpAddr],
        stop: bool,
        change: impl FnOnce(&mut Self) -> Result<R, WizardError>,
    ) -> Result<R, WizardError> {
        let precious = precious(self.paths, keys)?;
        journal.store(self.paths)?;
        let backups = Backups::at(self.paths.backups());
        if let Err(error) = backups.begin(&precious) {
            let _ = Journal::remove(self.paths);
            return Err(WizardError::io("cannot save the configuration files")(error));
        }
        if stop {
            self.note(&text::saved_at(&backups.dir().display().to_string()));
        }
        let stopped = match stop && journal.running {
            true => local::service(self.paths, "stop"),
            false => Ok(()),
        };
        let result = stopped.and_then(|()| change(self)).and_then(|value| {
            backups.finish().map_err(WizardError::io("cannot finish the backup"))?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                Journal::remove(self.paths).map_err(WizardError::io("cannot remove the journal"))?;
                Ok(value)
            }
            Err(cause) => {
                let cause = Box::new(cause);
                let dir = backups.dir().to_path_buf();
                Err(match self.take_back(journal) {
                    Ok(()) => WizardError::RolledBack(cause),
                    Err(source) => WizardError::Half { cause, source, dir },
                })
            }
        }
    }

    /// Progress: a terminal that went away must not leave the work half done.
    pub(super) fn note(&mut self, text: &str) {
        if let Err(Stop::Io(error)) = self.dialog.say(text) {
            ::log::debug!("cannot tell progress: {error}");
        }
    }
}

/// What is saved before anything is changed; `keys`: with what is trusted at these addresses.
fn precious(paths: &Paths, keys: &[IpAddr]) -> Result<Vec<(String, PathBuf)>, WizardError> {
    let master = paths.master().join("inputs");
    let mut list: Vec<(String, PathBuf)> = Vec::new();
    for name in files::NAMES {
        list.push((name.to_string(), master.join(name)));
        list.push((format!("local_{name}"), paths.inputs().join(name)));
    }
    list.push(("rc.config.d_cfservd".to_string(), paths.rc_cfservd()));
    list.push(("csync_wizard_input.txt".to_string(), paths.wizard_answers()));
    let store = Store::at(paths.ppkeys());
    for address in keys {
        let file = store.trusted_file(local::USER, *address)?;
        list.push((format!("{KEY}{address}"), file));
    }
    Ok(list)
}

/// What the names of keys in a backup begin with.
pub(super) const KEY: &str = "key_";

/// Where the clients are.
pub(super) fn addresses(fleet: &Fleet<'_>) -> Vec<IpAddr> {
    fleet
        .members
        .iter()
        .flat_map(|member| member.host.addresses.iter().copied())
        .collect()
}

/// Writes a policy file into the master's directory and into this system's own copy of it.
pub(super) fn put(paths: &Paths, name: &str, bytes: &[u8]) -> Result<(), WizardError> {
    for dir in [paths.master().join("inputs"), paths.inputs()] {
        let path = dir.join(name);
        std::fs::create_dir_all(&dir)
            .and_then(|()| sys::replace(&path, bytes, files::MODE))
            .map_err(WizardError::io(format!("cannot write {}", path.display())))?;
    }
    Ok(())
}

/// The clients there were and those that are being added.
pub(super) fn together(old: &[String], fleet: &Fleet<'_>) -> Vec<String> {
    let mut all = old.to_vec();
    for member in fleet.good() {
        if !all.contains(&member.host.name) {
            all.push(member.host.name.clone());
        }
    }
    all
}

/// CW-15, MK-04, MK-05: the first policy, cfservd at boot and now, one run of cfagent.
pub(super) fn roll_out(fleet: &mut Fleet<'_>, made: &[Made]) {
    let file = |name: &str| {
        let found = made.iter().find(|made| made.name == name);
        found.map_or(&[][..], |made| &made.bytes)
    };
    let (update, server) = (file("update.conf"), file("cfservd.conf"));
    fleet.each(
        |member| client::set_up(&member.host.name, update, server, &member.rc),
        |member, warning| member.warning = warning,
    );
}
