//! From every host to every other (`-r`): collect all keys, give them to all, try all ways.

use std::io::{self, Write};

use super::{Outcome, Setup};
use crate::diag::stderr_line;
use crate::fan::trust;
use crate::fan::trust::files::Verb;

impl Setup<'_> {
    /// From every host to every other (`-r`): collect all keys, give them to all, try all ways.
    pub(super) fn all_ways(&mut self) -> io::Result<()> {
        let ready: Vec<usize> = (0..self.hosts.len())
            .filter(|&index| self.results[index].as_ref().is_some_and(Outcome::is_good))
            .collect();
        let mut members = Vec::new();
        let mut whole = Vec::new();
        let told = self.trust.collect(&self.those(&ready))?;
        for (&index, told) in ready.iter().zip(told) {
            match told {
                Ok(member) => {
                    members.push((self.hosts[index].clone(), member));
                    whole.push(index);
                }
                Err(why) => self.failure(index, &format!("cannot collect its keys: {why}"))?,
            }
        }
        let text = {
            let effective = whole.iter().map(|&index| &self.effective[index]);
            let rows = members.into_iter().zip(effective);
            let rows: Vec<_> = rows
                .map(|((host, member), effective)| (host, effective, member))
                .collect();
            trust::shared(&rows)
        };
        let mut text = text;
        if let Some(kex) = &self.kex {
            text.push_str(&format!("kex {kex}\n"));
        }
        let given = self.trust.there(&self.those(&whole), Verb::Add, "", &text)?;
        let mut reached = Vec::new();
        for (&index, given) in whole.iter().zip(given) {
            match given {
                Ok(told) => {
                    if !told.notes.is_empty() {
                        self.note(index, &told.notes.join("; "))?;
                    }
                    for name in told.changed {
                        let why = format!("does not take the host key of {name}: another one is pinned there");
                        self.failure(index, &why)?;
                    }
                    reached.push(index);
                }
                Err(why) => self.failure(index, &format!("cannot give it the keys of the others: {why}"))?,
            }
        }
        let rows = self.trust.matrix(&self.those(&reached))?;
        let mut bad = Vec::new();
        for (&index, row) in reached.iter().zip(rows) {
            match row {
                Ok(failed) if failed.is_empty() => {
                    self.say(index, &format!("reaches all {} hosts", reached.len()))?;
                    bad.push(Some(failed));
                }
                Ok(failed) => {
                    let list: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                    self.failure(index, &format!("does not reach {}", list.join("; ")))?;
                    bad.push(Some(failed));
                }
                Err(why) => {
                    self.failure(index, &format!("cannot be tried from: {why}"))?;
                    bad.push(None);
                }
            }
        }
        self.matrix(&reached, &bad)
    }

    /// Shows who reaches whom, when not everybody does: rows are from, columns are to.
    fn matrix(&mut self, reached: &[usize], bad: &[Option<Vec<(String, String)>>]) -> io::Result<()> {
        // A table that is wider than a screen tells nothing that the lines above have not told.
        if reached.len() > 24 || bad.iter().flatten().all(Vec::is_empty) && bad.iter().all(Option::is_some) {
            return Ok(());
        }
        let names: Vec<String> = self.those(reached).iter().map(|host| host.name.clone()).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let head: String = (1..=names.len()).map(|n| format!(" {n:>2}")).collect();
        self.out.line(format!(
            "     {:width$}{head}   + reaches, x does not, ? not known",
            "from"
        ))?;
        for (n, (name, row)) in names.iter().zip(bad).enumerate() {
            let sign = |to: &String| match row {
                None => '?',
                Some(failed) if failed.iter().any(|(other, _)| other == to) => 'x',
                Some(_) => '+',
            };
            let signs: String = names.iter().map(|to| format!("  {}", sign(to))).collect();
            self.out.line(format!("  {:>2} {name:width$}{signs}", n + 1))?;
        }
        self.out.flush()
    }

    /// Takes away, on all members and here, what belongs to members that are not listed any more.
    pub(super) fn prune(&mut self) -> io::Result<()> {
        let mut text = String::new();
        for host in &self.hosts {
            text.push_str(&format!("stay {}\n", host.name));
        }
        let good: Vec<usize> = (0..self.hosts.len())
            .filter(|&index| self.results[index].as_ref().is_some_and(Outcome::is_good))
            .collect();
        let mut gone = std::collections::BTreeSet::new();
        for (&index, told) in good
            .iter()
            .zip(self.trust.there(&self.those(&good), Verb::Prune, "", &text)?)
        {
            match told {
                Ok(told) => gone.extend(told.went),
                Err(why) => self.failure(
                    index,
                    &format!("what departed members left cannot be taken away: {why}"),
                )?,
            }
        }
        let group = self.trust.group.clone();
        match self.trust.here(Verb::Prune, &group, &text)? {
            Ok(told) => gone.extend(told.went),
            Err(why) => {
                self.failed = true;
                stderr_line(&format!(
                    "csshsetup: what departed members left here cannot be taken away: {why}"
                ));
            }
        }
        for name in gone {
            self.out.line(format!(
                "{name}: not a member any more; taken away on {} hosts",
                good.len()
            ))?;
        }
        self.out.flush()
    }
}
