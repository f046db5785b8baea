//! From this machine to each host: test, pin host keys, install the key, test again.

use std::io;

use super::{Outcome, Setup, cause};
use crate::fan::State;
use crate::remote::Cause;

impl Setup<'_> {
    /// Does what is still needed for each host; says how each one ended when `tell`.
    pub(super) fn one_way(&mut self, tell: bool) -> io::Result<()> {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        let mut states = self.check(&all)?;
        for (&index, state) in all.iter().zip(&states) {
            if state.is_ok() {
                self.results[index] = Some(Outcome::Already);
            }
        }
        let unknown: Vec<usize> = (all.iter().copied())
            .filter(|&index| cause(&states[index]) == Some(Cause::HostKeyUnknown))
            .collect();
        if !unknown.is_empty() {
            let pinned = self.pin(&unknown)?;
            for (&index, state) in pinned.iter().zip(self.check(&pinned)?) {
                if state.is_ok() {
                    self.results[index] = Some(Outcome::Done);
                }
                states[index] = state;
            }
        }
        let mut refused = Vec::new();
        for (&index, state) in all.iter().zip(&states) {
            if self.results[index].is_some() {
                continue;
            }
            self.results[index] = match (cause(state), state) {
                (Some(Cause::Auth), State::Unreachable(trouble)) => {
                    refused.push((index, trouble.said.clone()));
                    None
                }
                (Some(Cause::HostKeyChanged), _) => Some(Outcome::Failed(self.changed(index))),
                (_, other) => Some(Outcome::Failed(other.to_string())),
            };
        }
        self.install(refused)?;
        if self.include && !self.given_up {
            self.move_keys()?;
        }
        for index in all {
            match self.results[index].clone() {
                Some(Outcome::Failed(why)) => self.failure(index, &why)?,
                Some(Outcome::Already) if tell => self.say(index, "already set up")?,
                Some(Outcome::Moved) if tell => {
                    self.say(index, "already set up; its host key has a small file of its own now")?;
                }
                Some(Outcome::Done) if tell => self.say(index, "set up")?,
                _ => {}
            }
        }
        Ok(())
    }
}
