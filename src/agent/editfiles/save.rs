//! The machine behind an edit: answers for the engine, saving, scripts.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::{EditBackup, EditOptions, EditWorld, Tone};
use crate::agent::event::Digest;
use crate::agent::job::BytesPath;
use crate::agent::report::Level;
use crate::agent::shellcommands::{environment, label};
use crate::agent::{Run, diff};
use crate::fsx::{Backup, Place, Wanted, write_whole};
use crate::policy::{ClassExpr, Section};
use crate::sys::process::{Argv, Command};

/// Bytes of another file that an edit may take in, and of an edited file where the policy sets no limit.
pub const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// A path as the engine and messages have it.
pub fn name_of(path: &Path) -> BString {
    path.as_os_str().as_bytes().into()
}

/// Sets the classes of a list.
pub fn define_list(run: &mut Run<'_>, list: &BStr) {
    for class in list
        .split(|byte| matches!(byte, b':' | b',' | b'.'))
        .filter(|class| !class.is_empty())
    {
        run.define(class.trim().as_bstr());
    }
}

/// Makes an empty file for `AutoCreate`.
pub fn create(run: &mut Run<'_>, place: &Place, mode: u32) -> io::Result<()> {
    run.sweep(&place.dir);
    let wanted = Wanted {
        mode,
        carry: false,
        ..Wanted::default()
    };
    write(run, place, b"", &wanted, None)
}

/// Puts content in place, and writes down what was there.
fn write(run: &mut Run<'_>, place: &Place, content: &[u8], wanted: &Wanted, keep: Option<&Backup>) -> io::Result<()> {
    let undo = run.undo();
    let begun = undo.loses(&place.dir, place.name(), &place.path);
    let saved = write_whole(&place.dir, place.name(), content, wanted, keep);
    undo.done(
        &begun,
        &place.dir,
        place.name(),
        Some(*blake3::hash(content).as_bytes()),
    );
    if let Some(saved) = saved?
        && let Some(moved) = saved.moved
    {
        run.report.inform(format_args!(
            "Moved {} to repository location {}",
            saved.beside.display(),
            moved.display()
        ));
    }
    Ok(())
}

/// The edited file as it lies on disk.
pub struct OnDisk<'a> {
    /// Where it is.
    pub place: &'a Place,
    /// Its content.
    pub content: Vec<u8>,
    /// It was made by this edit.
    pub made: bool,
    /// Its content's time before the edit, nanoseconds.
    pub mtime: Option<i128>,
    /// Its permissions.
    pub mode: u32,
    /// It was saved by this edit.
    pub saved: bool,
}

impl OnDisk<'_> {
    /// Saves new content: whole or not at all, mode and owner kept, with a backup of the old file. In a dry run only
    /// says so.
    pub fn save(&mut self, run: &mut Run<'_>, options: &EditOptions, content: &[u8]) -> Result<(), String> {
        let shown = self.place.path.display().to_string();
        if run.dry {
            run.report.say(Level::Silent, format_args!("Need to edit file {shown}"));
        } else {
            run.report.inform(format_args!("Saving edit changes to file {shown}"));
        }
        if run.options.diff {
            let lines = diff::unified(&self.place.path, &self.content, content);
            run.report.diff(&lines);
        }
        if !run.dry {
            self.write(run, options, content)
                .map_err(|error| format!("Cannot save {shown}: {error}"))?;
            self.saved = true;
            run.report.verbose(format_args!("Edited file {shown} "));
        }
        if run.report.listens() {
            // A file that was not there before has no digest of what it was.
            let before = (!self.made && self.mtime.is_some()).then(|| Digest::of(&self.content));
            let name = name_of(&self.place.path);
            run.report.changed(&name, before, Some(Digest::of(content)));
        }
        self.content = content.to_vec();
        Ok(())
    }

    fn write(&self, run: &mut Run<'_>, options: &EditOptions, content: &[u8]) -> io::Result<()> {
        run.sweep(&self.place.dir);
        let old = self.place.look()?;
        let root = nix::unistd::geteuid().is_root();
        let wanted = Wanted {
            mode: old.map_or(self.mode, |old| old.mode()),
            uid: old.filter(|_| root).map(|old| old.uid()),
            gid: old.filter(|_| root).map(|old| old.gid()),
            ..Wanted::default()
        };
        let keep = (options.backup != EditBackup::Off && !self.made).then(|| self.backup(run, options));
        write(run, self.place, content, &wanted, keep.as_ref())
    }

    fn backup(&self, run: &Run<'_>, options: &EditOptions) -> Backup {
        Backup {
            kept: run.kept.clone(),
            stamp: (options.backup == EditBackup::Stamped).then(|| run.now.clone()),
            repository: repository(run, options.repository.as_ref()),
            ..Backup::beside(&self.place.path)
        }
    }
}

/// Where backups move: the rule's own place, or that of `control:`; `off` and `none` are nowhere.
pub fn repository(run: &Run<'_>, own: Option<&BString>) -> Option<(std::path::PathBuf, u8)> {
    let global = || run.ctx.get("Repository").map(|dir| run.ctx.expand(dir.as_bstr()));
    let dir = own.cloned().or_else(global)?;
    if !dir.starts_with(b"/") {
        return None;
    }
    let rep_char = run
        .ctx
        .get("RepChar")
        .and_then(|text| text.first().copied())
        .unwrap_or(b'_');
    Some((dir.as_path().to_path_buf(), rep_char))
}

/// The answers for the engine.
pub struct Machine<'a, 'r, 'd> {
    run: &'a mut Run<'r>,
    disk: Option<(&'a mut OnDisk<'d>, &'a EditOptions)>,
}

impl<'a, 'r, 'd> Machine<'a, 'r, 'd> {
    /// For questions before an edit.
    pub fn asking(run: &'a mut Run<'r>) -> Self {
        Machine { run, disk: None }
    }

    /// For an edit of that file.
    pub fn editing(run: &'a mut Run<'r>, disk: &'a mut OnDisk<'d>, options: &'a EditOptions) -> Self {
        Machine {
            run,
            disk: Some((disk, options)),
        }
    }

    /// `BinaryPaddingChar`; a backslash introduces `\0`, `\n`, `\\`.
    pub fn padding(&self) -> u8 {
        let text = self.run.ctx.get("BinaryPaddingChar").unwrap_or_default();
        match text.as_slice() {
            [b'\\', b'0'] => 0,
            [b'\\', b'n'] => b'\n',
            [byte, ..] => *byte,
            [] => b' ',
        }
    }
}

impl EditWorld for Machine<'_, '_, '_> {
    fn expand(&self, text: &BStr) -> BString {
        self.run.ctx.expand(text)
    }

    fn iterate(&self, text: &BStr, separator: u8) -> Vec<BString> {
        let mut context = self.run.ctx.clone();
        context.set("Split", [separator].as_slice());
        context.iterate(text)
    }

    fn holds(&self, class: &ClassExpr) -> bool {
        self.run.ctx.holds(class)
    }

    fn holds_text(&self, class: &BStr) -> bool {
        ClassExpr::parse(class).is_ok_and(|class| self.run.ctx.holds(&class))
    }

    fn define(&mut self, classes: &BStr) {
        define_list(self.run, classes);
    }

    fn exists(&self, path: &BStr) -> bool {
        std::fs::symlink_metadata(path.as_path()).is_ok()
    }

    fn newer(&self, path: &BStr) -> bool {
        let Some((disk, _)) = &self.disk else { return false };
        let Some(ours) = disk.mtime.filter(|_| !disk.made) else {
            return true;
        };
        let other = std::fs::metadata(path.as_path()).and_then(|meta| meta.modified());
        let nanos = other
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        nanos.is_some_and(|time| i128::try_from(time.as_nanos()).is_ok_and(|time| time > ours))
    }

    fn read(&self, path: &BStr) -> io::Result<Vec<u8>> {
        let file = crate::sys::at::open_plain(path.as_path())?;
        let mut content = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too big"));
        }
        Ok(content)
    }

    fn run_script(&mut self, command: &BStr, content: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some((disk, options)) = &mut self.disk else {
            return Ok(None);
        };
        if lines_differ(&disk.content, content) {
            disk.save(self.run, options, content).map_err(io::Error::other)?;
        }
        let path = name_of(&disk.place.path);
        let class = self.run.ctx.get("class").unwrap_or_else(|| "linux".into());
        if self.run.dry {
            self.run
                .report
                .say(Level::Silent, format_args!("execute script {command} {path} {class}"));
            return Ok(None);
        }
        self.run
            .report
            .inform(format_args!("Running command: {command} {path} {class}"));
        let place = disk.place;
        let before = place.look()?;
        let outcome = script(self.run, options, command, path.as_bstr(), class.as_bstr())?;
        if outcome != 0 {
            self.run
                .report
                .error(format_args!("Script {command} ended with status {outcome}"));
        }
        let mut after = Vec::new();
        disk.place
            .dir
            .read(disk.place.name())?
            .take(MOST_BYTES)
            .read_to_end(&mut after)?;
        if let Some(before) = before.filter(|_| after != disk.content) {
            let undo = self.run.undo();
            undo.altered((&place.dir, place.name(), &place.path), &before, &disk.content);
        }
        disk.content.clone_from(&after);
        Ok(Some(after))
    }

    fn mountables(&self) -> Vec<BString> {
        let rules = self.run.rules(Section::Mountables);
        let rules = rules.iter().filter(|rule| self.run.ctx.holds(&rule.class));
        rules.map(|rule| self.run.ctx.expand(rule.promiser.as_bstr())).collect()
    }

    fn say(&mut self, tone: Tone, text: &BStr) {
        let report = &mut self.run.report;
        match tone {
            Tone::Error => report.say_bytes(Level::Error, text),
            Tone::Warning => report.bare(Level::Silent, text),
            Tone::Inform => report.say_bytes(Level::Inform, text),
            Tone::Verbose => report.say_bytes(Level::Verbose, text),
        }
    }
}

/// Whether two contents differ in their lines; a missing last line feed is no difference.
fn lines_differ(a: &[u8], b: &[u8]) -> bool {
    a.strip_suffix(b"\n").unwrap_or(a) != b.strip_suffix(b"\n").unwrap_or(b)
}

/// Runs a script on the file and gives its status. The file and the class are arguments of their own: with a shell, as
/// `$1` and `$2` behind the command.
fn script(run: &mut Run<'_>, options: &EditOptions, command: &BStr, file: &BStr, class: &BStr) -> io::Result<i32> {
    let mut words = crate::sys::process::split(command);
    if options.use_shell {
        let mut line = command.to_vec();
        line.extend_from_slice(b" \"$@\"");
        words = vec!["/bin/sh".into(), "-c".into(), line.into(), "sh".into()];
    }
    words.extend([file.to_owned(), class.to_owned()]);
    let mut command_line = Command::new(Argv::Direct(words));
    command_line.umask = Some(options.umask);
    command_line.env = environment(run);
    let mark = label(command).to_owned();
    let report = &mut run.report;
    let outcome = crate::sys::process::run(&command_line, &mut |line| {
        if !line.trim().is_empty() {
            report.labelled(&mark, line);
        }
    })?;
    Ok(outcome.status)
}
