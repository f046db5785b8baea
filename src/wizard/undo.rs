//! `--undo`: the files of a backup in their places again, the newest or one that is named, and cfservd as they want it.
//!
//! The files that are there are saved first, so that the next `--undo` takes this one back.

use crate::diag::Exit;
use crate::hosts::{CfrunHosts, read_file};
use crate::sys::Hold;

use super::backup::{Backups, Saved, is_version};
use super::client;
use super::error::WizardError;
use super::fleet::Fleet;
use super::journal::Journal;
use super::local;
use super::master::KEY;
use super::menu::{Wizard, worse};
use super::site::Site;

/// What the newest backup is called.
const NEWEST: &str = "newest";

impl Wizard<'_> {
    /// Lists the backups, the newest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn backups(&mut self) -> Result<Exit, WizardError> {
        let backups = Backups::at(self.paths.backups());
        let failed = || WizardError::io(format!("cannot read {}", backups.dir().display()));
        for version in backups.versions().map_err(failed())? {
            let made = backups.made(version.as_deref()).map_err(failed())?;
            let made = jiff::Timestamp::try_from(made)
                .map(|at| {
                    at.to_zoned(jiff::tz::TimeZone::system())
                        .strftime("%Y-%m-%d %H:%M:%S")
                        .to_string()
                })
                .unwrap_or_default();
            let saved = backups.read(version.as_deref());
            let files = match saved {
                Ok(saved) => format!("{} files", saved.iter().filter(|saved| saved.content.is_some()).count()),
                Err(error) => format!("of no use: {error}"),
            };
            let name = version.as_deref().unwrap_or(NEWEST);
            self.dialog.line(&format!("{name:<20} {made}  {files}"))?;
        }
        Ok(Exit::Done)
    }

    /// Puts a backup back; `None`: the newest.
    ///
    /// # Errors
    /// What prevented it; then everything is as it was.
    pub fn undo(&mut self, version: Option<&str>) -> Result<Exit, WizardError> {
        let _lock = local::lock(self.paths)?;
        let before = self.recover()?;
        let version = version.filter(|name| *name != NEWEST);
        let backups = Backups::at(self.paths.backups());
        let known = backups
            .versions()
            .map_err(WizardError::io(format!("cannot read {}", backups.dir().display())))?;
        let wanted = version.map(str::to_string);
        if version.is_some_and(|name| !is_version(name)) || !known.contains(&wanted) {
            return Err(WizardError::NoBackup(wanted));
        }
        let saved = backups
            .read(version)
            .map_err(WizardError::io("the backup cannot be used"))?;
        let site = Site::look(self.paths)?;
        let then = listed(&saved)?;
        let without = |all: &[String], some: &[String]| -> Vec<String> {
            all.iter().filter(|name| !some.contains(name)).cloned().collect()
        };
        let (left, back) = (without(&site.clients, &then), without(&then, &site.clients));
        let hold = Hold::new().map_err(WizardError::io("cannot hold signals"))?;
        let journal = Journal::new(None, left.clone(), site.running.is_some());
        let keys: Vec<_> = saved
            .iter()
            .filter_map(|saved| saved.name.strip_prefix(KEY)?.parse().ok())
            .collect();
        let mut fleet = self.named(&left);
        let done = self.guarded(&journal, &keys, true, |wizard| {
            wizard.put_back(&saved, &site, &mut fleet)
        });
        hold.release();
        if let Err(error) = done {
            if matches!(error, WizardError::RolledBack(_)) && !left.is_empty() {
                let _ = self.add(&left);
            }
            return Err(error);
        }
        self.once_more(&back)?;
        for line in told(&fleet, &back) {
            self.dialog.say(&line)?;
        }
        Ok(worse(fleet.exit(), before))
    }

    /// Clients that are in the files no more are told so, and then the files change.
    fn put_back(&mut self, saved: &[Saved], site: &Site, fleet: &mut Fleet<'_>) -> Result<(), WizardError> {
        if let Some(policy_host) = site.policy_host.as_deref().filter(|_| !fleet.members.is_empty()) {
            let master = self.master(Some(policy_host))?;
            fleet.each(
                |member| Ok(client::forget(&member.host.name, &master)),
                |member, rc| member.rc = rc,
            );
            fleet.each(|member| client::disable(&member.host.name, &member.rc), |_, ()| {});
        }
        for saved in saved {
            // Keys may have been renewed since. One that is trusted now stays; one that was not known then is forgotten.
            let key = saved.name.starts_with(KEY);
            if key && saved.content.is_some() && saved.path.exists() {
                continue;
            }
            saved.put_back().map_err(WizardError::io("cannot put a file back"))?;
        }
        let verb = if Site::look(self.paths)?.at_boot {
            "restart"
        } else {
            "stop"
        };
        local::service(self.paths, verb)
    }
}

/// The clients in a backup.
fn listed(saved: &[Saved]) -> Result<Vec<String>, WizardError> {
    let mut clients: Vec<String> = Vec::new();
    let list = saved.iter().find(|saved| saved.name == "cfrun.hosts");
    if let Some(saved) = list
        && let Some((_, bytes)) = &saved.content
    {
        for host in CfrunHosts::parse(&saved.path, bytes, &mut |name, _| read_file(name))?.hosts {
            if !clients.contains(&host.name) {
                clients.push(host.name);
            }
        }
    }
    Ok(clients)
}

/// What is different now, and what that means for clients.
fn told(fleet: &Fleet<'_>, back: &[String]) -> Vec<String> {
    let mut lines = vec![
        "The configuration files are as they were in the backup.".to_string(),
        "What was there until now is the newest backup: 'csync_wizard --undo' takes this back.".to_string(),
    ];
    for name in fleet.good_names() {
        lines.push(format!("The client {name} is not managed any more."));
    }
    for (member, fault) in fleet.bad() {
        let name = &member.host.name;
        lines.push(format!(
            "The client {name} is not managed any more, but does not know: {fault}."
        ));
    }
    for name in back {
        lines.push(format!(
            "The client {name} is managed again; 'csync_wizard --retry' configures it."
        ));
    }
    lines
}
