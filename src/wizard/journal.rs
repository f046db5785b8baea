//! What a run is doing, noted before it changes anything and removed when it has ended: the next run finds it and knows how to
//! finish or take back what was interrupted.
//!
//! The files of the master are the business of [`super::backup`]; this is the rest: what was asked for, which clients are
//! being changed, whether cfservd ran.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::rcconf::{Other, RcError, RcFile};
use crate::sys::{self, Paths};

use super::answers::{Action, Answers};
use super::error::WizardError;

/// A note of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Journal {
    /// Names this run, here and on the clients.
    pub run: String,
    /// What was asked for; `None`: it can only be taken back.
    pub answers: Option<Answers>,
    /// The clients that it changes, by their full names.
    pub touched: Vec<String>,
    /// cfservd ran when it began.
    pub running: bool,
    /// New keys are being taken into use: there is no way back, only on.
    pub switching: bool,
}

impl Journal {
    /// A new run.
    pub fn new(answers: Option<Answers>, touched: Vec<String>, running: bool) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Journal {
            run: format!("{}.{}", now.as_nanos(), std::process::id()),
            answers,
            touched,
            running,
            switching: false,
        }
    }

    fn path(paths: &Paths) -> PathBuf {
        paths.wizard_answers().with_file_name("csync_wizard.journal")
    }

    /// The note of a run that did not end.
    ///
    /// # Errors
    /// A note that cannot be read.
    pub fn load(paths: &Paths) -> Result<Option<Self>, WizardError> {
        let path = Journal::path(paths);
        match RcFile::load(&path, Other::Refuse) {
            Ok(file) => Ok(Some(Journal::parse(&file)?)),
            Err(RcError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    fn parse(file: &RcFile) -> Result<Self, RcError> {
        let mut journal = Journal::default();
        let mut text = String::new();
        for setting in file.settings() {
            let value = setting.value.to_string();
            match setting.key {
                "RUN" => journal.run = value,
                "TOUCHED" => journal.touched.push(value),
                "RUNNING" => journal.running = value == "1",
                "SWITCHING" => journal.switching = value == "1",
                key => text.push_str(&format!("{key}={value}\n")),
            }
        }
        if !text.is_empty() {
            let answers = RcFile::parse("csync_wizard.journal", text.as_bytes(), Other::Refuse)?;
            journal.answers = Some(Answers::parse(&answers)?);
        }
        Ok(journal)
    }

    fn to_text(&self) -> String {
        let mut text =
            String::from("# What csync_wizard(1) is doing. A run that is interrupted leaves this to the next one.\n");
        let number = i32::from;
        text.push_str(&format!(
            "RUN={}\nRUNNING={}\nSWITCHING={}\n",
            self.run,
            number(self.running),
            number(self.switching)
        ));
        for client in &self.touched {
            text.push_str(&format!("TOUCHED={client}\n"));
        }
        if let Some(answers) = &self.answers {
            text.push_str(&answers.to_text());
        }
        text
    }

    /// Notes it, durably: from now on it counts.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(&self, paths: &Paths) -> Result<(), WizardError> {
        let path = Journal::path(paths);
        sys::replace(&path, self.to_text().as_bytes(), 0o600)
            .map_err(WizardError::io(format!("cannot write {}", path.display())))
    }

    /// The run has ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(paths: &Paths) -> io::Result<()> {
        match fs::remove_file(Journal::path(paths)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What it was doing, in words.
    pub fn doing(&self) -> &'static str {
        match self.answers.as_ref().map(|answers| answers.action) {
            Some(Action::Master) => "set up the master server",
            Some(Action::Add) => "added clients",
            Some(Action::Remove) => "removed clients",
            Some(Action::Keys) => "made new keys",
            None => "put back a backup",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_as_it_was_written() {
        let top = tempfile::tempdir().unwrap();
        let paths = Paths::under(top.path());
        assert_eq!(Journal::load(&paths).unwrap(), None);
        fs::create_dir_all(paths.wizard_answers().parent().unwrap()).unwrap();
        let answers = Answers {
            action: Action::Remove,
            policy_host: Some("m.example.com".to_string()),
            clients: vec!["c1.example.com".to_string(), "c2.example.com".to_string()],
        };
        for answers in [Some(answers), None] {
            let mut journal = Journal::new(answers, vec!["c1.example.com".to_string()], true);
            journal.switching = journal.answers.is_none();
            journal.store(&paths).unwrap();
            assert_eq!(Journal::load(&paths).unwrap(), Some(journal));
        }
        Journal::remove(&paths).unwrap();
        Journal::remove(&paths).unwrap();
        assert_eq!(Journal::load(&paths).unwrap(), None);
    }

    #[test]
    fn a_note_that_is_damaged_is_named_and_not_guessed_at() {
        let top = tempfile::tempdir().unwrap();
        let paths = Paths::under(top.path());
        let path = Journal::path(&paths);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "RUN=1\nrubbish\n").unwrap();
        let error = Journal::load(&paths).unwrap_err().to_string();
        assert!(error.contains("csync_wizard.journal:2:"), "{error}");
    }
}
