//! What the options say about the look of the answers, and what stands above or before them.

use std::io::{self, IsTerminal, Write};

use bstr::ByteSlice;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::fan::Stream;

/// More about the output than its shape.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Gathered: only what differs from the most common answer.
    pub diff: bool,
    /// Gathered: the lines as they come as well.
    pub live: bool,
    /// Gathered: a host's own name counts as `%h`.
    pub normalize: bool,
    /// Nothing is said of hosts whose command ended with another status than 0.
    pub quiet: bool,
    /// A gauge on the terminal.
    pub gauge: bool,
    /// Enter on the terminal says how far the run is.
    pub keys: bool,
    /// So many failed hosts stop the rest.
    pub halt: Option<usize>,
    /// What stands above gathered output.
    pub heads: Heads,
}

/// What stands above the output of one host or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many dashes its rules have; 0: none, but the hosts stand before each line.
    pub dashes: usize,
    /// Whether it says how many hosts there are, when it is more than one.
    pub count: bool,
    /// Whether it says how they ended.
    pub ended: bool,
    /// Whether differences are shown alone, without heads and without what they differ from.
    pub bare_diff: bool,
    /// Whether hosts are coloured, over standard output and over standard error.
    pub color: [bool; 2],
}

impl Default for Heads {
    /// As dshbak has it, so that its readers need not change; with more in it.
    fn default() -> Self {
        Heads {
            dashes: 16,
            count: true,
            ended: true,
            bare_diff: false,
            color: [false; 2],
        }
    }
}

impl Heads {
    /// The head, with its newline.
    pub fn above(&self, title: &str, stream: Stream) -> String {
        let rule = "-".repeat(self.dashes);
        let head = format!("{rule}\n{title}\n{rule}");
        format!("{}\n", self.colored(&head, stream))
    }

    /// What names hosts, in the colour of the stream: blue for standard output, red for standard error.
    pub fn colored(&self, text: &str, stream: Stream) -> String {
        let color = match stream {
            Stream::Out => 34,
            Stream::Err => 31,
        };
        match self.color[stream as usize] {
            true => format!("\x1b[{color}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// Writes whole lines with something before each.
pub struct Labelled<'a> {
    label: String,
    begins: bool,
    to: &'a mut dyn Write,
}

impl<'a> Labelled<'a> {
    /// A writer that puts `label` before each line.
    pub fn new(label: String, to: &'a mut dyn Write) -> Self {
        Labelled {
            label,
            begins: true,
            to,
        }
    }
}

impl Write for Labelled<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            if self.begins {
                self.to.write_all(self.label.as_bytes())?;
            }
            self.to.write_all(line)?;
            self.begins = line.ends_with(b"\n");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Adds the options about heads and labels.
pub fn arguments(command: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    command
        .arg(
            flag(
                "lines",
                "No heads: at the end, in the order of hosts, each line after the hosts that said it",
            )
            .short('L')
            .conflicts_with_all(["json", "live", "diff"]),
        )
        .arg(flag("regroup", "Name hosts by groups, as far as they are made of them").short('r'))
        .arg(flag("quiet", "Do not say which hosts ended with another status than 0").conflicts_with("json"))
        .arg(flag("short", "Show hosts without their domain when all have the same"))
        .arg(color())
}

/// The option about colours.
pub fn color() -> Arg {
    Arg::new("color")
        .long("color")
        .value_name("WHEN")
        .value_parser(["never", "auto", "always"])
        .help("Colour the hosts before and above output: never, always, or auto for terminals [default: never]")
}

/// The streams whose hosts are coloured. `auto` heeds NO_COLOR, then CLICOLOR_FORCE, then CLICOLOR=0.
pub fn colors(matches: &ArgMatches) -> [bool; 2] {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match matches.get_one::<String>("color").map(String::as_str) {
        Some("always") => [true; 2],
        Some("auto") if set("NO_COLOR").is_some() => [false; 2],
        Some("auto") if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => [true; 2],
        Some("auto") if set("CLICOLOR").is_some_and(|value| value == "0") => [false; 2],
        Some("auto") => [io::stdout().is_terminal(), io::stderr().is_terminal()],
        _ => [false; 2],
    }
}

/// A line with the host's own name as `%h`, whole and without its domain, wherever it stands as a word.
pub fn normalized(line: &[u8], name: &str) -> Vec<u8> {
    let short = match name.parse::<std::net::IpAddr>() {
        Ok(_) => name,
        Err(_) => name.split('.').next().unwrap_or(name),
    };
    let mut line = replaced(line, name.as_bytes());
    if short != name {
        line = replaced(&line, short.as_bytes());
    }
    line
}

fn replaced(line: &[u8], name: &[u8]) -> Vec<u8> {
    let inside = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-_".contains(b));
    let mut out = Vec::with_capacity(line.len());
    let mut from = 0;
    for at in line.find_iter(name) {
        let end = at + name.len();
        let before = at.checked_sub(1).and_then(|at| line.get(at));
        if !inside(before) && !inside(line.get(end)) {
            out.extend_from_slice(&line[from..at]);
            out.extend_from_slice(b"%h");
            from = end;
        }
    }
    out.extend_from_slice(&line[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_gets_its_label_once_however_it_is_written() {
        let mut out = Vec::new();
        let mut to = Labelled::new("a: ".into(), &mut out);
        for part in ["on", "e\n", "two\nth", "ree\n\n"] {
            to.write_all(part.as_bytes()).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "a: one\na: two\na: three\na: \n");
    }

    #[test]
    fn a_hosts_own_name_is_replaced_only_where_it_is_a_word() {
        for (line, name, wanted) in [
            ("n1: n1.example.com n10 xn1 n1", "n1.example.com", "%h: %h n10 xn1 %h"),
            ("10.0.0.1 10.0.0.11 10.0.0", "10.0.0.1", "%h 10.0.0.11 10.0.0"),
            ("n1n1 n1-a", "n1", "n1n1 n1-a"),
            ("nothing", "n1", "nothing"),
        ] {
            assert_eq!(normalized(line.as_bytes(), name), wanted.as_bytes(), "{line}");
        }
    }
}
