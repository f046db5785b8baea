//! What was added is taken away, on the hosts first and here last: the way to them must hold until then.

use std::io;

use super::Setup;
use crate::diag::stderr_line;
use crate::fan::trust::files::Verb;

impl Setup<'_> {
    /// Undoes one way (this user's key on the hosts, their host keys here), or with `round` all that the members have
    /// of each other. `forget`: what is here goes also for hosts that could not be undone.
    pub(super) fn undo(&mut self, round: bool, forget: bool) -> io::Result<()> {
        let identities = self.effective.iter().flat_map(|effective| effective.identities.clone());
        let identities: std::collections::BTreeSet<_> = identities.collect();
        let own = self.trust.own_keys(&identities.into_iter().collect::<Vec<_>>());
        let mut text: String = own.iter().map(|key| format!("key - {key}\n")).collect();
        if round {
            text.push_str("all\n");
        }
        let mark = self.trust.mark()?;
        let told = self.trust.there(&self.hosts, Verb::Undo, &mark.token, &text)?;
        drop(mark);
        let (mut local, mut this, mut whole) = (String::new(), false, true);
        for (index, told) in told.into_iter().enumerate() {
            match told {
                Ok(told) => {
                    this |= told.this;
                    local.push_str(&self.naming(index));
                    if told.left {
                        self.note(
                            index,
                            "our key stays in its authorized_keys: it stood there before, or was changed since",
                        )?;
                    }
                    match told.this || told.count > 0 {
                        true => self.say(index, "undone")?,
                        false => self.say(index, "there was nothing to undo on it")?,
                    }
                }
                Err(why) if forget => {
                    local.push_str(&self.naming(index));
                    self.failure(index, &format!("not undone on it, only here: {why}"))?;
                }
                Err(why) => {
                    whole = false;
                    self.failure(
                        index,
                        &format!("not undone, neither on it nor here (--forget does it here): {why}"),
                    )?;
                }
            }
        }
        if this {
            local.push_str(&text.replace("all\n", "keys\n"));
        }
        if round && whole {
            local.push_str("all\n");
        }
        for group in self.groups() {
            // Only the group that is undone goes as a whole.
            let text = match group == self.trust.group {
                true => local.clone(),
                false => local
                    .lines()
                    .filter(|line| line.starts_with("host "))
                    .fold(String::new(), |text, line| text + line + "\n"),
            };
            match self.trust.here(Verb::Undo, &group, &text)? {
                Ok(_) => {}
                Err(why) => {
                    self.failed = true;
                    stderr_line(&format!("csshsetup: not undone on this machine: {why}"));
                }
            }
        }
        Ok(())
    }
}
