//! Names of other tools (pdsh, ClusterShell) under which ours can be called: their options are read, and ours run.
//!
//! What an option means stands in a table for each name; what a table cannot say, in the code beside it. Behaviour comes
//! from the manual pages of these tools and from runs of them; `share/doc/fanout-compared.md` has all of it side by side.

mod clush;
mod dshbak;
mod nodeset;
mod options;
mod pdsh;
mod ssh_args;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use options::{Item, Opt};

use crate::diag::{Exit, Fail, Out};

/// A name of another tool.
pub struct Spelling {
    /// The name.
    pub name: &'static str,
    /// What of ours it stands for.
    pub ours: &'static str,
    /// Its options.
    table: &'static [Opt],
    /// Whether options may follow what was read.
    mixed: fn(&[Item]) -> bool,
    /// Its options that only say something about it.
    about: About,
    /// Does its work.
    run: fn(&Spelling, Vec<Item>) -> Result<Exit, Fail>,
}

/// The options that print something about the tool itself.
struct About {
    help: &'static str,
    version: &'static str,
}

/// All names.
pub static ALL: &[&Spelling] = &[
    &pdsh::PDSH,
    &pdsh::PDCP,
    &pdsh::RPDCP,
    &dshbak::DSHBAK,
    &clush::CLUSH,
    &dshbak::CLUBAK,
    &nodeset::NODESET,
    &nodeset::CLUSET,
];

/// The spelling that a program name, with or without a path, stands for.
pub fn find(name: &OsStr) -> Option<&'static Spelling> {
    let base = Path::new(name).file_name()?;
    ALL.iter().copied().find(|spelling| base == spelling.name)
}

/// Runs a spelling, reports its failure, and gives its exit status. `args[0]` is the name it was called by.
pub fn call(spelling: &Spelling, args: &[OsString]) -> Exit {
    match run(spelling, args) {
        Ok(exit) => exit,
        Err(fail) => {
            fail.report(spelling.name);
            fail.exit()
        }
    }
}

fn run(spelling: &Spelling, args: &[OsString]) -> Result<Exit, Fail> {
    let args = args.get(1..).unwrap_or_default();
    let items = options::read(spelling.name, spelling.table, args, spelling.mixed)?;
    let mut out = Out::stdout();
    let lines = match () {
        () if items.iter().any(|item| item.is(spelling.about.help)) => {
            let mut lines = vec![
                format!(
                    "{}, as {} understands it. What its options are there:",
                    spelling.name, spelling.ours
                ),
                String::new(),
            ];
            lines.extend(options::help(spelling.table));
            lines
        }
        () if items.iter().any(|item| item.is(spelling.about.version)) => {
            vec![format!("{} (dsau {})", spelling.name, env!("CARGO_PKG_VERSION"))]
        }
        () => return (spelling.run)(spelling, items),
    };
    for line in lines {
        out.line(line)
            .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    }
    Ok(Exit::Done)
}

/// Our command line so far, and what is left for the spelling itself.
struct Parts {
    ours: Vec<OsString>,
    own: Vec<(&'static str, OsString)>,
    words: Vec<OsString>,
}

impl Parts {
    /// Translates what the table alone can; `tool` is the name of ours.
    fn of(tool: &str, items: Vec<Item>) -> Result<Self, Fail> {
        let mut parts = Parts {
            ours: vec![OsString::from(tool)],
            own: Vec::new(),
            words: Vec::new(),
        };
        for item in items {
            match item {
                Item::Word(word) => parts.words.push(word),
                Item::Option(opt, value) => match options::ours(opt, &value)? {
                    Some(ours) => parts.ours.extend(ours),
                    None => parts.own.push((opt.names.first().copied().unwrap_or_default(), value)),
                },
            }
        }
        Ok(parts)
    }

    /// Whether this option of the spelling's own was given. By the first of its names.
    fn has(&self, name: &str) -> bool {
        self.own.iter().any(|(own, _)| *own == name)
    }

    /// The values of this option, as text.
    fn values(&self, name: &str) -> Vec<String> {
        let own = self.own.iter().filter(|(own, _)| *own == name);
        own.map(|(_, value)| value.to_string_lossy().into_owned()).collect()
    }

    /// The value of this option that counts: the last one.
    fn value(&self, name: &str) -> Option<String> {
        self.values(name).pop()
    }

    /// Adds an option of ours.
    fn push(&mut self, text: impl Into<OsString>) {
        self.ours.push(text.into());
    }

    /// Adds an option of ours with a value.
    fn push_value(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let mut text = OsString::from(name);
        text.push("=");
        text.push(value);
        self.ours.push(text);
    }

    /// Whether one of our options is among those that are there, with or without a value.
    fn says(&self, name: &str) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let is = |arg: &OsString| {
            let rest = arg.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        };
        self.ours.iter().any(is)
    }

    /// The whole command line.
    fn line(mut self) -> Vec<OsString> {
        if !self.words.is_empty() {
            self.ours.push("--".into());
            self.ours.append(&mut self.words);
        }
        self.ours
    }
}

/// The option with which cexec asks for commands, where it can.
fn asking() -> Result<&'static str, Fail> {
    let command = (super::cexec::TOOL.command)();
    match command.get_arguments().any(|arg| arg.get_id() == "interactive") {
        true => Ok("--interactive"),
        false => Err(Fail::usage("no command is given").hint("it stands after the options")),
    }
}

/// A variable of the environment that is set to something.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}
