//! `--check`: how every client is, one line each: ssh, keys, policy, cfservd, clock, the last run of cfagent, and what a run
//! would change now. Looks only; nothing is changed anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bstr::ByteSlice;
use serde::Serialize;
use serde_json::Value;

use crate::diag::Exit;
use crate::digest::{hex, sha256};
use crate::keys::Store;

use super::client::{self, ClientError};
use super::error::WizardError;
use super::files;
use super::fleet::Fleet;
use super::local::USER;
use super::menu::{Wizard, worse};
use super::remote::Output;

/// A clock that is further off makes trouble for copies by time, and for whoever reads logs.
const CLOCK: u64 = 5;
/// cfagent runs at least so often where the example of cf.main is followed.
const RUN: u64 = 2 * 60 * 60;

/// What is known of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    /// Its full name.
    pub client: String,
    /// Nothing is wrong.
    pub ok: bool,
    /// Why root cannot run commands there.
    pub ssh: Option<String>,
    /// Its key is the one that is known here, and it knows the master's.
    pub keys: Option<bool>,
    /// Policy files that are not those of the master.
    pub policy_differs: Vec<String>,
    /// For how long the master has had another policy, in seconds.
    pub policy_behind: Option<u64>,
    /// cfservd runs.
    pub cfservd: Option<bool>,
    /// It is started at boot.
    pub boot: Option<bool>,
    /// Its clock, ahead of the one here, in seconds.
    pub clock: Option<i64>,
    /// When the last run of cfagent began, in seconds before now.
    pub last_run: Option<u64>,
    /// Promises that the last run could not keep.
    pub failed: Option<u64>,
    /// Promises that a run would repair now.
    pub drift: Option<u64>,
    /// What is wrong, in words.
    pub trouble: Vec<String>,
}

/// What the master has, to compare with.
pub(super) struct Here {
    now: SystemTime,
    /// Digest of the master's own public key.
    key: Option<String>,
    /// Name, digest and age of the policy files.
    policy: BTreeMap<String, (String, u64)>,
}

impl Wizard<'_> {
    /// Looks at all clients. `json`: one object a line.
    ///
    /// # Errors
    /// What prevents looking at any.
    pub fn check(&mut self, json: bool) -> Result<Exit, WizardError> {
        let (site, master) = self.managed()?;
        let clients: Vec<String> = site
            .clients
            .iter()
            .filter(|name| **name != master.name)
            .cloned()
            .collect();
        let store = Store::at(self.paths.ppkeys());
        let mut here = self.here(&store)?;
        let mut fleet: Fleet<'_> = self.named(&clients);
        let mut outputs = BTreeMap::new();
        fleet.each(
            |member| Ok(client::look(&member.host.name, &master)),
            |member, output| {
                outputs.insert(member.host.name.clone(), output);
            },
        );
        here.now = SystemTime::now();
        let mut exit = Exit::Done;
        let width = clients.iter().map(String::len).max().unwrap_or(0);
        for member in &fleet.members {
            let name = &member.host.name;
            let health = match (&member.fault, outputs.get(name)) {
                (None, Some(output)) => {
                    let known = self.known(&store, &self.names.addresses(name));
                    judge(name, output, &here, known.as_deref())
                }
                (fault, _) => away(name, fault.as_ref()),
            };
            let status = match (&health.ok, &member.fault) {
                (true, _) => Exit::Done,
                (false, Some(ClientError::Unreachable(_))) => Exit::Unreachable,
                (false, _) => Exit::Failed,
            };
            exit = match (exit, status) {
                (Exit::Failed, _) | (_, Exit::Failed) => Exit::Failed,
                (a, b) => worse(a, b),
            };
            self.dialog.line(&match json {
                true => serde_json::to_string(&health).unwrap_or_default(),
                false => health.line(width),
            })?;
        }
        Ok(exit)
    }

    fn here(&self, store: &Store) -> Result<Here, WizardError> {
        let key = store.load_local().ok().map(|key| digest(key.public().pem().as_bytes()));
        let mut policy = BTreeMap::new();
        // The list of clients is read on the master only.
        for name in files::NAMES.into_iter().filter(|name| *name != "cfrun.hosts") {
            let path = self.paths.master().join("inputs").join(name);
            let failed = || WizardError::io(format!("cannot read {}", path.display()));
            let bytes = fs::read(&path).map_err(failed())?;
            let changed = fs::metadata(&path).and_then(|meta| meta.modified()).map_err(failed())?;
            let age = changed.elapsed().unwrap_or_default().as_secs();
            policy.insert(name.to_string(), (digest(&bytes), age));
        }
        Ok(Here {
            now: SystemTime::now(),
            key,
            policy,
        })
    }

    /// Digest of the key that is trusted at one of the addresses.
    fn known(&self, store: &Store, addresses: &[IpAddr]) -> Option<String> {
        let key = addresses
            .iter()
            .find_map(|address| store.trusted(USER, *address).ok().flatten())?;
        Some(digest(key.pem().as_bytes()))
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

fn away(name: &str, fault: Option<&ClientError>) -> Health {
    let why = fault.map_or_else(|| "no answer".to_string(), ToString::to_string);
    Health {
        client: name.to_string(),
        trouble: vec![why.clone()],
        ssh: Some(why),
        ..Health::default()
    }
}

/// What a client said, beside what is here. `known`: the key of the client that is trusted here.
fn judge(name: &str, output: &Output, here: &Here, known: Option<&str>) -> Health {
    let mut health = Health {
        client: name.to_string(),
        cfservd: Some(false),
        boot: Some(false),
        ..Health::default()
    };
    let (mut key, mut trusts, mut policy) = (None, Vec::new(), BTreeMap::new());
    for line in output.stdout.lines() {
        let line = line.to_str_lossy();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "now" => health.clock = ahead(rest, output.heard.unwrap_or(here.now)),
            "key" => key = Some(rest.to_string()),
            "trusts" => trusts.push(rest.to_string()),
            "policy" => {
                if let Some((file, digest)) = rest.split_once(' ') {
                    policy.insert(file.to_string(), digest.to_string());
                }
            }
            "running" => health.cfservd = Some(true),
            "boot" => health.boot = Some(true),
            "last" => {
                let run: Value = serde_json::from_str(rest).unwrap_or_default();
                health.failed = run["failed"].as_u64();
                health.last_run = run["began"].as_str().and_then(|began| since(began, here.now));
            }
            "drift" => health.drift = rest.parse().ok(),
            _ => {}
        }
    }
    let mut trouble = Vec::new();
    let own = key.is_some() && key.as_deref() == known;
    let master = here.key.as_ref().is_some_and(|key| trusts.contains(key));
    health.keys = Some(own && master);
    if !own {
        trouble.push("its key is not the one that is known here".to_string());
    }
    if !master {
        trouble.push("it does not know the master's key".to_string());
    }
    for (file, (digest, age)) in &here.policy {
        if policy.get(file) != Some(digest) {
            health.policy_differs.push(file.clone());
            let behind = health.policy_behind.get_or_insert(*age);
            *behind = (*behind).max(*age);
        }
    }
    if let Some(behind) = health.policy_behind {
        let files = health.policy_differs.join(", ");
        trouble.push(format!("its policy is {} behind ({files})", time(behind)));
    }
    if health.cfservd == Some(false) {
        trouble.push("cfservd does not run".to_string());
    } else if health.boot == Some(false) {
        trouble.push("cfservd is not started at boot".to_string());
    }
    if let Some(ahead) = health.clock.filter(|ahead| ahead.unsigned_abs() > CLOCK) {
        let way = if ahead > 0 { "ahead" } else { "behind" };
        trouble.push(format!("its clock is {} {way}", time(ahead.unsigned_abs())));
    }
    match health.last_run {
        None => trouble.push("cfagent has never run".to_string()),
        Some(ago) if ago > RUN => trouble.push(format!("cfagent ran {} ago", time(ago))),
        Some(_) => {}
    }
    if let Some(failed @ 1..) = health.failed {
        trouble.push(format!("the last run failed to keep {}", promises(failed)));
    }
    if let Some(drift @ 1..) = health.drift {
        trouble.push(format!("a run would repair {}", promises(drift)));
    }
    health.ok = trouble.is_empty();
    health.trouble = trouble;
    health
}

fn ahead(said: &str, heard: SystemTime) -> Option<i64> {
    let theirs: i64 = said.trim().parse().ok()?;
    let ours = heard.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(theirs - i64::try_from(ours).ok()?)
}

/// Seconds since a moment.
fn since(moment: &str, now: SystemTime) -> Option<u64> {
    let at: jiff::Timestamp = moment.parse().ok()?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.as_second()).ok()?);
    Some(now.duration_since(at).unwrap_or_default().as_secs())
}

fn promises(number: u64) -> String {
    format!("{number} {}", if number == 1 { "promise" } else { "promises" })
}

/// A time in its largest unit.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

impl Health {
    fn line(&self, width: usize) -> String {
        let text = match self.ok {
            true => format!("ok, cfagent ran {} ago", time(self.last_run.unwrap_or_default())),
            false => self.trouble.join("; "),
        };
        format!("{:width$}  {text}", self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        let policy = [("cf.main", "aa", 300), ("update.conf", "bb", 90_000)];
        Here {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            key: Some("mm".into()),
            policy: policy
                .map(|(name, digest, age)| (name.to_string(), (digest.to_string(), age)))
                .into(),
        }
    }

    fn said(text: &str) -> Output {
        Output {
            stdout: text.into(),
            heard: Some(here().now),
            ..Output::default()
        }
    }

    const WELL: &str = "now 1000001\nkey cc\ntrusts mm\npolicy update.conf bb\npolicy cf.main aa\nrunning\nboot\n\
                        last {\"began\":\"1970-01-12T13:45:00Z\",\"failed\":0}\ndrift 0\n";

    #[test]
    fn a_client_in_order_is_ok_and_says_when_it_ran() {
        let health = judge("c1", &said(WELL), &here(), Some("cc"));
        assert!(health.ok, "{health:?}");
        assert_eq!(health.line(4), "c1    ok, cfagent ran 100 s ago");
    }

    #[test]
    fn each_trouble_is_named_by_itself() {
        for (from, to, trouble) in [
            ("key cc", "key xx", "its key is not the one that is known here"),
            ("trusts mm\n", "", "it does not know the master's key"),
            ("cf.main aa", "cf.main old", "its policy is 5 min behind (cf.main)"),
            ("policy update.conf bb\n", "", "its policy is 25 h behind (update.conf)"),
            ("running\n", "", "cfservd does not run"),
            ("boot\n", "", "cfservd is not started at boot"),
            ("now 1000001", "now 1000075", "its clock is 75 s ahead"),
            ("now 1000001", "now 990000", "its clock is 2 h behind"),
            ("T13:45", "T01:45", "cfagent ran 12 h ago"),
            ("\"failed\":0", "\"failed\":1", "the last run failed to keep 1 promise"),
            ("drift 0", "drift 3", "a run would repair 3 promises"),
        ] {
            assert!(WELL.contains(from), "{from}");
            let health = judge("c1", &said(&WELL.replacen(from, to, 1)), &here(), Some("cc"));
            assert!(!health.ok);
            assert_eq!(health.trouble, [trouble]);
        }
    }

    #[test]
    fn rubbish_is_trouble_and_never_a_panic() {
        for text in ["", "\n\nlast\nlast {\ndrift []\npolicy\nnow x\n", "\u{fffd} \u{0}"] {
            assert!(!judge("c1", &said(text), &here(), None).ok);
        }
    }
}
