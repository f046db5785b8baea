//! What the groups of a file say about the edit as a whole. Read before the edit; of several, the last one counts.

use bstr::{BString, ByteSlice};

use super::table::{self, Op, Setting};
use super::text::number;
use super::{Block, EditWorld};

/// What becomes of the old content (15.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EditBackup {
    /// `F_EPOCH_DATE_.cfsaved`
    #[default]
    Stamped,
    /// `F.cfsaved`
    Single,
    /// None is kept.
    Off,
}

/// The settings of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditOptions {
    /// Make the file where it is missing.
    pub auto_create: bool,
    /// The kind of backup.
    pub backup: EditBackup,
    /// `EditMode "Binary"`
    pub binary: bool,
    /// `BinaryPaddingChar`; set by the caller.
    pub padding: u8,
    /// Classes if the file changed.
    pub define: Vec<BString>,
    /// Classes if it did not.
    pub else_define: Vec<BString>,
    /// `Inform`
    pub inform: Option<bool>,
    /// `Syslog`
    pub syslog: Option<bool>,
    /// Levels of directories below the named one; `u32::MAX` = all.
    pub recurse: Option<u32>,
    /// Wildcards: names to edit in a directory.
    pub include: Vec<BString>,
    /// Wildcards: names not to edit.
    pub exclude: Vec<BString>,
    /// Names neither edited nor entered.
    pub ignore: Vec<BString>,
    /// Names of filters.
    pub filters: Vec<BString>,
    /// Where backups move; `off` and `none` mean nowhere.
    pub repository: Option<BString>,
    /// Mode mask of new files and of scripts.
    pub umask: u32,
    /// Scripts run through a shell.
    pub use_shell: bool,
    /// Minutes.
    pub if_elapsed: Option<u64>,
    /// Minutes.
    pub expire_after: Option<u64>,
}

impl Default for EditOptions {
    fn default() -> Self {
        EditOptions {
            auto_create: false,
            backup: EditBackup::default(),
            binary: false,
            padding: b' ',
            define: Vec::new(),
            else_define: Vec::new(),
            inform: None,
            syslog: None,
            recurse: None,
            include: Vec::new(),
            exclude: Vec::new(),
            ignore: Vec::new(),
            filters: Vec::new(),
            repository: None,
            umask: 0o077,
            use_shell: true,
            if_elapsed: None,
            expire_after: None,
        }
    }
}

impl EditOptions {
    /// Reads the settings of all groups whose class holds now; `umask` is that of `control:`. A value that means nothing is an error with one sentence.
    pub fn read(blocks: &[Block<'_>], world: &dyn EditWorld, umask: u32) -> Result<EditOptions, String> {
        let mut options = EditOptions {
            umask,
            ..EditOptions::default()
        };
        for block in blocks.iter().filter(|block| world.holds(block.class)) {
            for command in block.commands {
                if let Some(Op::Setting(setting)) = table::find(command.name) {
                    let arg = world.expand(command.arg.as_bstr());
                    options
                        .set(setting, arg)
                        .map_err(|arg| format!("{}: {} cannot be \"{arg}\"", command.pos, command.name))?;
                }
            }
        }
        Ok(options)
    }

    fn set(&mut self, setting: Setting, arg: BString) -> Result<(), BString> {
        let word = arg.to_ascii_lowercase();
        let minutes = || number(arg.as_bstr()).and_then(|n| u64::try_from(n).ok());
        match setting {
            Setting::AutoCreate => self.auto_create = true,
            Setting::Backup => match word.as_slice() {
                b"false" | b"off" | b"none" => self.backup = EditBackup::Off,
                b"single" | b"one" => self.backup = EditBackup::Single,
                b"timestamp" | b"stamp" | b"true" | b"on" => self.backup = EditBackup::Stamped,
                _ => return Err(arg),
            },
            Setting::EditMode => match word.as_slice() {
                b"binary" => self.binary = true,
                b"ascii" | b"text" => self.binary = false,
                _ => return Err(arg),
            },
            Setting::DefineClasses => self.define.push(arg),
            Setting::ElseDefineClasses => self.else_define.push(arg),
            Setting::Inform => self.inform = Some(switch(&word).ok_or(arg)?),
            Setting::Syslog => self.syslog = Some(switch(&word).ok_or(arg)?),
            // Auditing has no log of its own here.
            Setting::Audit => {
                switch(&word).ok_or(arg)?;
            }
            Setting::Recurse if word == b"inf" => self.recurse = Some(u32::MAX),
            Setting::Recurse => {
                let levels = number(arg.as_bstr()).and_then(|n| u32::try_from(n).ok());
                self.recurse = Some(levels.ok_or(arg)?);
            }
            Setting::Include => self.include.push(arg),
            Setting::Exclude => self.exclude.push(arg),
            Setting::Ignore => self.ignore.push(arg),
            Setting::Filter => self.filters.push(arg),
            Setting::Repository => self.repository = Some(arg),
            Setting::Umask => {
                let mask = arg
                    .to_str()
                    .ok()
                    .and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
                self.umask = mask.filter(|mask| *mask <= 0o777).ok_or(arg)?;
            }
            Setting::UseShell => self.use_shell = word == b"dumb" || switch(&word).ok_or(arg)?,
            Setting::IfElapsed => self.if_elapsed = Some(minutes().ok_or(arg)?),
            Setting::ExpireAfter => self.expire_after = Some(minutes().ok_or(arg)?),
        }
        Ok(())
    }
}

fn switch(word: &[u8]) -> Option<bool> {
    match word {
        b"true" | b"on" | b"yes" => Some(true),
        b"false" | b"off" | b"no" => Some(false),
        _ => None,
    }
}
