//! The answer file (FIL-15, CW-19, CW-20): `NAME=VALUE` lines and comments, documented in csync_wizard(1).

use std::io;
use std::path::Path;

use bstr::ByteSlice;

use crate::rcconf::{Other, RcError, RcFile};

use super::names::is_name;

/// More clients than this in one file is a mistake.
const MAX_CLIENTS: usize = 100_000;

/// What is to be done: a line of the menu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Option 1.
    #[default]
    Master,
    /// Option 2.
    Add,
    /// Option 3.
    Remove,
    /// Option 4.
    Keys,
}

impl Action {
    const ALL: [(Action, &'static str); 4] = [
        (Action::Master, "master"),
        (Action::Add, "add"),
        (Action::Remove, "remove"),
        (Action::Keys, "keys"),
    ];

    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(action, _)| *action == self)
            .map_or("", |(_, word)| word)
    }
}

/// All answers of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// What to do.
    pub action: Action,
    /// The master's full name; `None` = whatever this system is called.
    pub policy_host: Option<String>,
    /// The clients named, in order.
    pub clients: Vec<String>,
}

impl Answers {
    /// Reads an answer file.
    ///
    /// # Errors
    /// [`RcError`] with file and line for whatever is not an answer.
    pub fn load(path: &Path) -> Result<Self, RcError> {
        Answers::parse(&RcFile::load(path, Other::Refuse)?)
    }

    /// Takes the answers out of a file.
    ///
    /// # Errors
    /// [`RcError::Line`] for an unknown name, a value that cannot be, and answers that contradict each other.
    pub fn parse(file: &RcFile) -> Result<Self, RcError> {
        let mut answers = Answers::default();
        let (mut action, mut wanted) = (None, None);
        for setting in file.settings() {
            let bad = |what: String| file.error(setting.line, what);
            let value = setting
                .value
                .to_str()
                .map_err(|_| bad(format!("the value of {} is not UTF-8", setting.key)))?;
            let name = || {
                let plain = value.trim_end_matches('.');
                if is_name(plain) {
                    Ok(plain.to_string())
                } else {
                    Err(bad(format!("'{value}' is not a host name")))
                }
            };
            match setting.key {
                "ACTION" if action.is_some() => return Err(bad("ACTION is given a second time".to_string())),
                "ACTION" => {
                    let known = Action::ALL.iter().find(|(_, word)| *word == value);
                    let (found, _) =
                        known.ok_or_else(|| bad(format!("ACTION is master, add, remove or keys, not '{value}'")))?;
                    action = Some(*found);
                }
                "POLICYHOST" if answers.policy_host.is_some() => {
                    return Err(bad("POLICYHOST is given a second time".to_string()));
                }
                "POLICYHOST" => answers.policy_host = Some(name()?),
                "MANAGE_CLIENTS" => {
                    let yes = super::question::yes(value)
                        .ok_or_else(|| bad(format!("MANAGE_CLIENTS is y or n, not '{value}'")))?;
                    wanted = Some((yes, setting.line));
                }
                "CLIENT" => {
                    let name = name()?;
                    if !answers.clients.contains(&name) {
                        answers.clients.push(name);
                    }
                    if answers.clients.len() > MAX_CLIENTS {
                        return Err(bad("more than 100000 clients".to_string()));
                    }
                }
                other => return Err(bad(format!("there is no answer named {other}"))),
            }
        }
        answers.action = action.unwrap_or_default();
        match wanted {
            Some((false, line)) if !answers.clients.is_empty() => {
                Err(file.error(line, "MANAGE_CLIENTS=n, but there are CLIENT lines"))
            }
            _ => Ok(answers),
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text =
            String::from("# Answers of csync_wizard(1). 'csync_wizard -f FILE' does the same again without asking.\n");
        text.push_str(&format!("ACTION={}\n", self.action.word()));
        if let Some(host) = &self.policy_host {
            text.push_str(&format!("POLICYHOST={host}\n"));
        }
        if self.action == Action::Master {
            let yes = if self.clients.is_empty() { "n" } else { "y" };
            text.push_str(&format!("MANAGE_CLIENTS={yes}\n"));
        }
        for client in &self.clients {
            text.push_str(&format!("CLIENT={client}\n"));
        }
        text
    }

    /// Writes the file, readable for root only, whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            super::files::private_dir(dir)?;
        }
        crate::sys::replace(path, self.to_text().as_bytes(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Answers, String> {
        RcFile::parse("a", text.as_bytes(), Other::Refuse)
            .and_then(|file| Answers::parse(&file))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line_cw_20() {
        for (text, error) in [
            ("# x\nCLIENTS=a\n", "a:2: there is no answer named CLIENTS"),
            ("CLIENT=-rf\n", "a:1: '-rf' is not a host name"),
            (
                "ACTION=reboot\n",
                "a:1: ACTION is master, add, remove or keys, not 'reboot'",
            ),
            (
                "MANAGE_CLIENTS=n\nCLIENT=c1\n",
                "a:1: MANAGE_CLIENTS=n, but there are CLIENT lines",
            ),
            ("MANAGE_CLIENTS=maybe\n", "a:1: MANAGE_CLIENTS is y or n, not 'maybe'"),
            ("manage clients\n", "a:1: expected NAME=VALUE or a comment"),
            ("POLICYHOST=a\nPOLICYHOST=b\n", "a:2: POLICYHOST is given a second time"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error);
        }
    }

    #[test]
    fn an_empty_file_sets_up_a_master_without_clients() {
        assert_eq!(parse("").unwrap(), Answers::default());
    }

    proptest! {
        #[test]
        fn recorded_answers_are_read_back_cw_19(
            clients in proptest::collection::btree_set("[a-z]{1,8}\\.[a-z]{2,5}", 0..5),
            host in proptest::option::of("[a-z]{1,8}\\.[a-z]{2,5}"),
            action in 0usize..4,
        ) {
            let answers = Answers {
                action: Action::ALL[action].0,
                policy_host: host,
                clients: clients.into_iter().collect(),
            };
            prop_assert_eq!(parse(&answers.to_text()).unwrap(), answers);
        }
    }
}
