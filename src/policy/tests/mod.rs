//! Tests of the language as a whole, with a world that answers from tables.

mod corpus;
mod error_table;
mod errors;
mod evaluation;
mod expansion;
mod loading;
mod manual;
mod printing;
mod properties;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};

use super::*;

/// A machine made of tables. Policy files come from `files`, then from `dir` where one is given.
#[derive(Default)]
pub(super) struct Table {
    pub files: HashMap<String, Vec<u8>>,
    pub dir: Option<PathBuf>,
    pub outputs: HashMap<String, (String, i32)>,
    pub paths: HashMap<String, FileFacts>,
    pub contents: HashMap<String, Vec<u8>>,
    pub addresses: Vec<IpAddr>,
    pub users: Vec<String>,
    pub netgroups: Vec<String>,
    pub drawn: u64,
    /// Commands run: text, and whether through a shell.
    pub ran: Vec<(String, bool)>,
    pub told: Vec<String>,
}

impl World for Table {
    fn read_policy(&mut self, name: &BStr) -> io::Result<(PathBuf, Vec<u8>)> {
        let name = name.to_str_lossy().into_owned();
        if let Some(bytes) = self.files.get(&name) {
            return Ok((PathBuf::from(&name), bytes.clone()));
        }
        let Some(dir) = &self.dir else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let path = dir.join(&name);
        std::fs::read(&path).map(|bytes| (path, bytes))
    }

    fn env(&self, _: &BStr) -> Option<BString> {
        None
    }

    fn run(&mut self, command: &BStr, shell: bool) -> io::Result<CommandOutput> {
        let command = command.to_str_lossy().into_owned();
        self.ran.push((command.clone(), shell));
        let (text, status) = self.outputs.get(&command).cloned().unwrap_or_default();
        let text = text.into();
        Ok(CommandOutput { text, status })
    }

    fn lstat(&self, path: &BStr) -> Option<FileFacts> {
        self.paths.get(path.to_str_lossy().as_ref()).copied()
    }

    fn read_file(&self, path: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        let found = self.contents.get(path.to_str_lossy().as_ref());
        let mut bytes = found.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        bytes.truncate(limit);
        Ok(bytes)
    }

    fn user_exists(&self, user: &BStr) -> bool {
        self.users.iter().any(|known| known.as_str() == user)
    }

    fn group_exists(&self, group: &BStr) -> bool {
        self.user_exists(group)
    }

    fn in_netgroup(&self, group: &BStr) -> bool {
        self.netgroups.iter().any(|known| known.as_str() == group)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
    }

    fn run_module(&mut self, name: &BStr, _: &BStr, _: &BStr) -> Option<io::Result<CommandOutput>> {
        let (text, status) = self.outputs.get(&format!("module:{name}")).cloned()?;
        let text = text.into();
        Some(Ok(CommandOutput { text, status }))
    }

    fn read_tcp(&mut self, _: &BStr, _: u16, _: &BStr, _: usize) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn random(&mut self, low: u64, high: u64) -> u64 {
        low + self.drawn % (high - low)
    }

    fn verbose(&mut self, text: &str) {
        self.told.push(text.into());
    }
}

/// A context as a host would have it.
pub(super) fn host() -> Context {
    let mut context = Context::default();
    for class in ["linux", "orc", "undefined_domain"] {
        context.define(class);
    }
    context.set("host", "orc");
    context.set("class", "linux");
    context
}

/// Loads a policy given as text, as the main phase.
pub(super) fn try_load(policy: &str, world: &mut Table) -> Result<Program, Vec<PolicyError>> {
    world.files.insert("cfagent.conf".into(), policy.into());
    load("cfagent.conf".into(), Phase::Main, &Options::default(), host(), world)
}

/// Loads a policy that has no errors.
pub(super) fn loaded(policy: &str) -> Program {
    try_load(policy, &mut Table::default()).unwrap()
}

/// `line:col: message` of every error of a policy.
pub(super) fn errors(policy: &str) -> Vec<String> {
    match try_load(policy, &mut Table::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}:{}: {}", error.pos.line, error.pos.col, error.message))
            .collect(),
    }
}

/// A variable of a program as text; nothing for an unset one.
pub(super) fn get(program: &Program, name: &str) -> String {
    program.context.get(name).unwrap_or_default().to_string()
}
