//! `cexec -i`: commands from a prompt with line editing and history, or one a line from standard input.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustyline::config::{Behavior, BellStyle, ColorMode, Configurer};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use super::once::Call;
use super::show::Shape;
use super::targets::{Outside, Targets, refused};
use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::At;
use crate::hosts::{self, Choice, HostSet};
use crate::remote;

/// The longest line that is read when no person types it, in bytes: no argument of a process may be longer.
const LINE: u64 = 128 * 1024;

/// How many lines the history keeps.
const HISTORY: usize = 1000;

/// The longest list of hosts in the prompt, in bytes.
const NAMES: usize = 40;

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order<'a> {
    Nothing,
    Leave,
    Tell,
    Gather,
    Local(&'a [u8]),
    Hosts(Change, &'a str),
    Run(&'a [u8]),
}

/// What becomes of the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
    Set,
}

/// What a line did.
enum Did {
    Go(u8),
    Leave(u8),
}

/// Reads commands until the end, and gives the status: 0 after a talk on a terminal, else the worst of all lines.
pub fn run(call: &Call<'_>, targets: Targets, shape: Shape) -> Result<Exit, Fail> {
    let terminal = io::stdin().is_terminal();
    let mut prompt = Prompt {
        call,
        text: title(&targets),
        targets,
        shape,
        terminal,
        typed: VecDeque::new(),
    };
    match terminal {
        true => prompt.talk(),
        false => prompt.read(),
    }
}

struct Prompt<'a> {
    call: &'a Call<'a>,
    targets: Targets,
    shape: Shape,
    text: String,
    terminal: bool,
    /// Lines that were typed while a command ran.
    typed: VecDeque<Vec<u8>>,
}

impl Prompt<'_> {
    fn talk(&mut self) -> Result<Exit, Fail> {
        let fail = |e: ReadlineError| Fail::new(Exit::Internal, "cannot read from the terminal").because(e);
        let mut editor = Editor::new(self.call.prog, self.call.reports.with_file_name("history")).map_err(fail)?;
        loop {
            self.call.stop.at(At::Prompt);
            let line = match self.typed.pop_front() {
                Some(line) => {
                    stderr_line(&format!("{}{}", self.text, line.escape_ascii()));
                    Ok(line)
                }
                None => editor.line(&self.text).map(String::into_bytes),
            };
            self.call.stop.forget();
            self.call.stop.at(At::Work);
            let line = match line {
                Ok(line) => line,
                Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => continue,
                Err(ReadlineError::Eof) => return Ok(Exit::Done),
                Err(error) => return Err(fail(error)),
            };
            match self.obey(&line) {
                Ok(Did::Go(_)) => {}
                Ok(Did::Leave(code)) => return Ok(Exit::Code(code)),
                Err(fail) => fail.report(self.call.prog),
            }
        }
    }

    fn read(&mut self) -> Result<Exit, Fail> {
        let fail = |e: io::Error| Fail::new(Exit::Failed, "cannot read the commands").because(e);
        let mut input = io::stdin().lock();
        let mut worst = 0;
        for number in 1u64.. {
            self.call.stop.at(At::Input);
            let mut line = Vec::new();
            (&mut input).take(LINE).read_until(b'\n', &mut line).map_err(fail)?;
            self.call.stop.at(At::Work);
            if line.is_empty() {
                break;
            }
            let place = format!("in line {number} of standard input, after which nothing was done");
            if line.last() != Some(&b'\n') && line.len() as u64 == LINE {
                return Err(Fail::usage("a command is longer than 128 KiB").hint(place));
            }
            // What follows may be meant for other hosts than those it would go to now.
            match self.obey(&line).map_err(|fail| fail.hint(place))? {
                Did::Go(code) => worst = worst.max(code),
                Did::Leave(code) => return Ok(Exit::Code(worst.max(code))),
            }
        }
        Ok(Exit::Code(worst))
    }

    fn obey(&mut self, line: &[u8]) -> Result<Did, Fail> {
        match order(line)? {
            Order::Nothing => Ok(Did::Go(0)),
            Order::Leave => Ok(Did::Leave(0)),
            Order::Tell => self.tell(),
            Order::Gather => {
                self.shape = match self.shape {
                    Shape::Gathered => super::cexec::shape(self.call.matches, false),
                    _ => Shape::Gathered,
                };
                Ok(Did::Go(0))
            }
            Order::Local(command) => self.local(command),
            Order::Hosts(change, list) => self.change(change, list),
            Order::Run(command) => {
                let words = [OsString::from_vec(command.to_vec())];
                let ended = self.call.run(&self.targets, &words, self.shape)?;
                let lines = ended.typed.split(|&b| b == b'\n');
                self.typed
                    .extend(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
                let code = ended.status.code();
                Ok(match ended.deaf {
                    true => Did::Leave(code),
                    false => self.after(code),
                })
            }
        }
    }

    /// Whether a signal ends all. Control-C only ends what ran, on a terminal.
    fn after(&mut self, code: u8) -> Did {
        match self.call.stop.signal() {
            None => Did::Go(code),
            Some(signal) if self.terminal && signal == signal_hook::consts::SIGINT => {
                self.typed.clear();
                Did::Go(code)
            }
            Some(_) => Did::Leave(self.call.stop.code().unwrap_or(code)),
        }
    }

    /// The hosts, and what can be said here.
    fn tell(&self) -> Result<Did, Fail> {
        let count = self.targets.hosts.len();
        let names = hosts::fold(&self.targets.hosts);
        let gathered = match self.shape {
            Shape::Gathered => "is gathered",
            _ => "is not gathered",
        };
        let text = format!(
            "hosts: {names} ({count})\noutput: {gathered}\n\
             !COMMAND runs on this machine   +LIST adds hosts    -LIST leaves hosts out   =LIST sets them   \
             @GROUP too\n= gathers the output or not     ? tells all this    quit or Control-D leaves\n"
        );
        let mut out = Out::stdout();
        let written = io::Write::write_all(&mut out, text.as_bytes());
        written.map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
        Ok(Did::Go(0))
    }

    fn local(&mut self, command: &[u8]) -> Result<Did, Fail> {
        let argv = remote::local(&[OsString::from_vec(command.to_vec())]).argv;
        let mut local = Command::new(&argv[0]);
        local.args(&argv[1..]);
        if !self.terminal {
            // Our own input are the lines that follow.
            local.stdin(Stdio::null());
        }
        let status = local
            .status()
            .map_err(|e| Fail::new(Exit::Internal, format!("cannot start {}", argv[0].display())).because(e))?;
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(255),
            (None, signal) => 128u8.saturating_add(u8::try_from(signal.unwrap_or(127)).unwrap_or(127)),
        };
        if code != 0 {
            stderr_line(&format!("{}: here: {status}", self.call.prog));
        }
        Ok(self.after(code))
    }

    fn change(&mut self, change: Change, list: &str) -> Result<Did, Fail> {
        let fail = |e| refused(None, &e);
        let mut source = Outside {
            stdin_used: true,
            ..Outside::default()
        };
        // This machine, for want of hosts, is none of them.
        let mut set = match self.targets.local && !self.call.matches.get_flag("local") {
            true => HostSet::new(),
            false => self.targets.hosts.iter().cloned().collect(),
        };
        match change {
            Change::Remove => {
                let away = Choice::read(list, &mut source).map_err(fail)?;
                set.keep(|host| !away.holds(host));
            }
            Change::Set if hosts::only_filters(list).map_err(fail)? => {
                set = hosts::filter_with(list, set, &mut source).map_err(fail)?;
            }
            Change::Add | Change::Set => {
                let named = hosts::expand_with(list, &mut source).map_err(fail)?;
                if named.is_empty() {
                    return Err(Fail::usage(format!("'{list}' names no host")).hint("see hostlist(7)"));
                }
                match change {
                    Change::Add => set.add(&named),
                    _ => set = named,
                }
            }
        }
        if set.is_empty() {
            return Err(Fail::usage("no hosts would be left to act on"));
        }
        self.targets.act_on(self.call.matches, set)?;
        self.text = title(&self.targets);
        Ok(Did::Go(0))
    }
}

fn order(line: &[u8]) -> Result<Order<'_>, Fail> {
    let line = line.strip_suffix(b"\n").unwrap_or(line).trim_ascii_start();
    let Some((&sign, rest)) = line.split_first() else {
        return Ok(Order::Nothing);
    };
    let change = match (sign, rest.trim_ascii()) {
        (b'#', _) => return Ok(Order::Nothing),
        (b'?', b"") => return Ok(Order::Tell),
        (b'=', b"") => return Ok(Order::Gather),
        (b'!', command @ [_, ..]) => return Ok(Order::Local(command)),
        (b'+', [_, ..]) => Change::Add,
        (b'-', [_, ..]) => Change::Remove,
        (b'=' | b'@', [_, ..]) => Change::Set,
        (b'!' | b'+' | b'-' | b'@' | b'?', _) => {
            let line = String::from_utf8_lossy(line.trim_ascii_end());
            return Err(Fail::usage(format!("'{line}' is no command")).hint("'?' tells what can be said here"));
        }
        _ if matches!(line.trim_ascii_end(), b"quit" | b"exit") => return Ok(Order::Leave),
        _ => return Ok(Order::Run(line)),
    };
    let list = if sign == b'@' { line } else { rest };
    let list = std::str::from_utf8(list.trim_ascii()).map_err(|_| Fail::usage("a host name is not UTF-8 text"))?;
    Ok(Order::Hosts(change, list))
}

/// The hosts in short form, and no more of them than there is room for.
fn title(targets: &Targets) -> String {
    let names = hosts::fold(&targets.hosts);
    match names.char_indices().nth(NAMES) {
        None => format!("{names}> "),
        Some((end, _)) => format!("{}... ({})> ", &names[..end], targets.hosts.len()),
    }
}

/// Reads lines from a person and remembers them for the next time.
struct Editor {
    editor: rustyline::Editor<(), FileHistory>,
    prog: &'static str,
    file: Option<PathBuf>,
}

impl Editor {
    /// `file`: the history, for this user alone.
    fn new(prog: &'static str, file: PathBuf) -> Result<Self, ReadlineError> {
        let mut config = rustyline::Config::builder().behavior(Behavior::PreferTerm);
        config.set_max_history_size(HISTORY)?;
        config.set_history_ignore_dups(true)?;
        // A line that begins with a blank leaves no trace.
        config.set_history_ignore_space(true);
        config.set_bell_style(BellStyle::None);
        config.set_color_mode(ColorMode::Disabled);
        config.enable_synchronized_output(false);
        let mut editor = rustyline::Editor::with_config(config.build())?;
        // None is there the first time; one that cannot be read is no reason not to work.
        let _ = editor.load_history(&file);
        Ok(Editor {
            editor,
            prog,
            file: Some(file),
        })
    }

    fn line(&mut self, prompt: &str) -> Result<String, ReadlineError> {
        let line = self.editor.readline(prompt)?;
        if self.editor.add_history_entry(&line)?
            && let Some(file) = &self.file
            && let Err(error) = keep(&mut self.editor, file)
        {
            stderr_line(&format!(
                "{}: the history cannot be kept in {}: {error}",
                self.prog,
                file.display()
            ));
            self.file = None;
        }
        Ok(line)
    }
}

/// Writes new lines at once: a terminal that is closed takes nothing with it.
fn keep(editor: &mut rustyline::Editor<(), FileHistory>, file: &PathBuf) -> Result<(), ReadlineError> {
    if let Some(dir) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    editor.append_history(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_says_what_a_line_asks_for() {
        for (line, wanted) in [
            ("", Order::Nothing),
            ("  \n", Order::Nothing),
            ("# all\n", Order::Nothing),
            ("quit \n", Order::Leave),
            ("exit", Order::Leave),
            ("exit 3", Order::Run(b"exit 3")),
            (" uptime  -p \n", Order::Run(b"uptime  -p ")),
            ("!ls -l", Order::Local(b"ls -l")),
            ("?", Order::Tell),
            ("= ", Order::Gather),
            ("=n[1-3]\n", Order::Hosts(Change::Set, "n[1-3]")),
            ("@web", Order::Hosts(Change::Set, "@web")),
            ("+ n4, n5", Order::Hosts(Change::Add, "n4, n5")),
            ("-n4", Order::Hosts(Change::Remove, "n4")),
        ] {
            assert_eq!(order(line.as_bytes()).unwrap(), wanted, "{line}");
        }
        for line in [&b"!"[..], b"+", b"- ", b"@", b"?x", b"+\xff"] {
            assert!(order(line).is_err(), "{line:?}");
        }
    }
}
