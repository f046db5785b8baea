//! `--check`: for each host why it does or does not work, and what connections cost.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::json;

use super::Setup;
use super::passwords::question_of;
use crate::fan::trust::check::{CHEAP, Cost, Seen, takes_password};
use crate::fan::trust::password::{Offer, Way, login, way};
use crate::hosts::{self, Host};

/// A key exchange, and what it costs.
struct Exchange {
    name: String,
    hosts: Vec<Host>,
    cost: Option<Cost>,
    /// Others that are allowed here and taken there, cheaper ones: name, cost, whether they resist a quantum computer.
    cheaper: Vec<(String, Cost, bool)>,
}

impl Setup<'_> {
    /// Looks and tells; changes nothing. A host that does not work makes the run fail.
    pub(super) fn look(&mut self, ask: bool, json: bool) -> io::Result<()> {
        let mut seen = self.trust.look(&self.hosts, &self.effective)?;
        self.look_inside(&mut seen, ask)?;
        self.look_at_files(&mut seen)?;
        for (index, seen) in seen.iter().enumerate() {
            self.failed |= !seen.works();
            match json {
                true => self.tell_json(index, seen)?,
                false => self.tell(index, seen)?,
            }
        }
        for exchange in self.exchanges(&seen)? {
            match json {
                true => self.tell_exchange_json(&exchange)?,
                false => self.tell_exchange(&exchange)?,
            }
        }
        io::Write::flush(&mut self.out)
    }

    /// Where our key is refused the reason can only be seen from inside: as root, or with a password.
    fn look_inside(&mut self, seen: &mut [Seen], ask: bool) -> io::Result<()> {
        let program = std::env::current_exe()?;
        let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (index, seen) in seen.iter_mut().enumerate() {
            if seen.works() || !takes_password(seen) && seen.trouble.as_ref().is_none_or(|t| !t.said.contains("denied"))
            {
                continue;
            }
            let said = seen
                .trouble
                .as_ref()
                .map(|trouble| trouble.said.clone())
                .unwrap_or_default();
            let user = login(&self.hosts[index], &self.effective[index], &self.trust.ssh);
            if ask && takes_password(seen) && !known.contains_key(&user) {
                let question = format!(
                    "password of {user}, to look for the reason on {}: ",
                    self.hosts[index].name
                );
                let Some(answer) = question_of(&question)? else {
                    self.given_up = true;
                    return Ok(());
                };
                known.insert(user.clone(), answer);
            }
            let password = known
                .get(&user)
                .filter(|password| !password.is_empty() && takes_password(seen));
            let offer = Offer {
                host: self.hosts[index].clone(),
                effective: &self.effective[index],
                way: if password.is_some() { way(&said) } else { Way::None },
                password: password.map(Vec::as_slice),
            };
            match self.trust.inside(&offer, Path::new(&program))? {
                Ok(why) if why.is_empty() => seen
                    .notes
                    .push("nothing wrong was found on it; its log knows more".into()),
                Ok(why) => seen.why.extend(why.into_iter().map(|why| format!("on it, {why}"))),
                Err(why) if password.is_some() => {
                    seen.notes
                        .push(format!("the reason could not be looked for on it: {why}"));
                }
                Err(_) if !ask && takes_password(seen) => {
                    seen.notes.push("--ask-password looks for the reason on it".into());
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What a large known_hosts costs, measured with the first host that works.
    fn look_at_files(&mut self, seen: &mut [Seen]) -> io::Result<()> {
        for (index, seen) in seen.iter_mut().enumerate().filter(|(_, seen)| seen.works()) {
            let (host, effective) = (&self.hosts[index], &self.effective[index]);
            let Some((size, small)) = self.trust.cost_of_files(host, effective)? else {
                continue;
            };
            let Some(cost) = self.trust.cost(host, &[])? else {
                continue;
            };
            if cost.cpu > small.cpu * 1.2 {
                seen.notes.push(format!(
                    "known_hosts ({} KiB) is read on each connection, which takes {:.1} ms of CPU; with a small file it \
                     would be {:.1} ms: 'csshsetup {host}' makes one",
                    size / 1024,
                    cost.cpu,
                    small.cpu
                ));
            }
            break;
        }
        Ok(())
    }

    /// Each key exchange that is used, with the cost of one connection through it and through cheaper ones.
    fn exchanges(&self, seen: &[Seen]) -> io::Result<Vec<Exchange>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, seen) in seen.iter().enumerate().filter(|(_, seen)| seen.works()) {
            if let Some(kex) = &seen.kex {
                groups.entry(kex).or_default().push(index);
            }
        }
        let mut exchanges = Vec::new();
        for (name, which) in groups {
            let first = which[0];
            let host = &self.hosts[first];
            let cost = self.trust.cost(host, &[])?;
            let mut cheaper: Vec<(String, Cost, bool)> = Vec::new();
            for (other, resists) in CHEAP {
                let has = |list: &[String]| list.iter().any(|found| found == other);
                // Under its two names it is the same.
                let again =
                    other.ends_with("@libssh.org") && cheaper.iter().any(|(name, ..)| name == "curve25519-sha256");
                if other == name
                    || name.starts_with("curve25519") && other.starts_with("curve25519")
                    || again
                    || !has(&self.effective[first].exchanges)
                    || !has(&seen[first].offers)
                {
                    continue;
                }
                let option = format!("KexAlgorithms={other}");
                if let (Some(now), Some(then)) = (cost, self.trust.cost(host, &[option])?)
                    && then.cpu < now.cpu * 0.9
                {
                    cheaper.push((other.to_string(), then, resists));
                }
            }
            exchanges.push(Exchange {
                name: name.to_string(),
                hosts: self.those(&which),
                cost,
                cheaper,
            });
        }
        Ok(exchanges)
    }

    fn tell(&mut self, index: usize, seen: &Seen) -> io::Result<()> {
        let mut lines = Vec::new();
        match seen.works() {
            true => {
                let parts = [
                    seen.address.clone(),
                    seen.software.clone(),
                    seen.host_key
                        .as_ref()
                        .and_then(|key| key.split(' ').next())
                        .map(str::to_string),
                    seen.kex.clone(),
                ];
                let time = Some(format!("{:.2} s", seen.seconds));
                let parts: Vec<String> = parts.into_iter().chain([time]).flatten().collect();
                lines.push(format!("works: {}", parts.join(", ")));
            }
            false => lines.extend(seen.why.iter().map(|why| format!("does not work: {why}"))),
        }
        lines.extend(seen.notes.iter().map(|note| format!("note: {note}")));
        for line in lines {
            self.out.line(format!("{}: {line}", self.hosts[index]))?;
        }
        Ok(())
    }

    fn tell_json(&mut self, index: usize, seen: &Seen) -> io::Result<()> {
        let cause = seen
            .trouble
            .as_ref()
            .map(|trouble| format!("{:?}", trouble.cause).to_lowercase());
        let object = json!({
            "host": self.hosts[index].to_string(),
            "works": seen.works(),
            "cause": cause.or_else(|| seen.junk.as_ref().map(|_| "output".to_string())),
            "why": seen.why,
            "notes": seen.notes,
            "address": seen.address,
            "software": seen.software,
            "host_key": seen.host_key,
            "pinned": seen.pinned,
            "kex": seen.kex,
            "login": seen.login,
            "seconds": (seen.seconds * 1e3).round() / 1e3,
        });
        self.out.line(object.to_string())
    }

    fn tell_exchange(&mut self, exchange: &Exchange) -> io::Result<()> {
        let Some(cost) = exchange.cost else { return Ok(()) };
        let Exchange { name, .. } = exchange;
        self.out.line(format!(
            "key exchange {name} ({}): a connection takes {:.1} ms of CPU here and {:.0} ms",
            hosts::fold(&exchange.hosts),
            cost.cpu,
            cost.wall
        ))?;
        let strong = resists(name);
        for (other, then, resists) in &exchange.cheaper {
            let loss = match strong && !resists {
                true => "; it gives up that what is recorded today stays secret from a quantum computer",
                false => "",
            };
            self.out.line(format!(
                "  --kex {other} would take {:.1} ms, {:.1} ms less{loss}",
                then.cpu,
                cost.cpu - then.cpu
            ))?;
        }
        Ok(())
    }

    fn tell_exchange_json(&mut self, exchange: &Exchange) -> io::Result<()> {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        let cheaper: Vec<_> = exchange
            .cheaper
            .iter()
            .map(|(name, cost, resists)| json!({"kex": name, "cpu_ms": tenth(cost.cpu), "post_quantum": resists}))
            .collect();
        let object = json!({
            "kex": exchange.name,
            "hosts": hosts::fold(&exchange.hosts),
            "cpu_ms": exchange.cost.map(|cost| tenth(cost.cpu)),
            "wall_ms": exchange.cost.map(|cost| tenth(cost.wall)),
            "post_quantum": resists(&exchange.name),
            "cheaper": cheaper,
        });
        self.out.line(object.to_string())
    }
}

/// Whether what is recorded today stays secret from a quantum computer.
fn resists(name: &str) -> bool {
    name.starts_with("sntrup") || name.starts_with("mlkem")
}
