//! `ccollate`: put together what hosts said, from lines that carry their host; what dshbak does.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use bstr::{BString, ByteSlice};
use clap::{Arg, ArgAction, value_parser};
use serde_json::json;

use super::gathered::{self, Group};
use super::groups;
use super::json::line as json_line;
use super::look::{self, Heads, Labelled, Look};
use super::manner::{Counts, Manner};
use super::targets::{Outside, refused};
use crate::diag::{Exit, Fail, Out, stderr_line};
use crate::fan::{Stream, Transcripts};
use crate::hosts::{self, Host};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "ccollate",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    crate::tools::base("ccollate", "Put together what hosts said")
        .arg(flag("coalesce", "Show the same output once, under all hosts that gave it").short('c'))
        .arg(
            flag(
                "diff",
                "Show the most common output, and of the others only what differs from it",
            )
            .conflicts_with_all(["dir", "json"]),
        )
        .arg(
            Arg::new("dir")
                .short('d')
                .long("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(["coalesce", "json"])
                .help("Write what each host said to DIR/HOST"),
        )
        .arg(
            flag("force", "With --dir: make DIR when it is not there")
                .short('f')
                .requires("dir"),
        )
        .arg(
            flag("lines", "No heads: each line after the hosts that said it")
                .short('L')
                .conflicts_with_all(["dir", "json", "diff"]),
        )
        .arg(flag("regroup", "Name hosts by groups, as far as they are made of them").short('r'))
        .arg(
            Arg::new("groupsource")
                .long("groupsource")
                .value_name("SOURCE")
                .help("The groups of --regroup are of this source"),
        )
        .arg(flag("groupbase", "Name groups without their source").short('G'))
        .arg(
            Arg::new("separator")
                .short('S')
                .long("separator")
                .value_name("TEXT")
                .help("The host ends at TEXT, whether a blank follows or not [default: a colon and a blank]"),
        )
        .arg(look::color())
        .arg(flag("json", "Print one JSON object per output, with the hosts that gave it").conflicts_with("coalesce"))
        .arg(
            Arg::new("files")
                .value_name("FILE")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("Read these files instead of standard input"),
        )
}

/// What each host said.
#[derive(Default)]
struct Said {
    numbers: HashMap<BString, usize>,
    names: Vec<BString>,
    /// Who came after each of them the last time: hosts that answer line by line take turns.
    after: Vec<usize>,
    transcripts: Transcripts,
    separator: Option<BString>,
    stray: usize,
}

impl Said {
    /// Takes lines of the form `HOST: text`. A line without a host is counted and left out.
    fn read(&mut self, from: &mut dyn BufRead) -> io::Result<()> {
        let (mut rest, mut last) = (Vec::new(), None);
        loop {
            let buffer = match from.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                if !rest.is_empty() {
                    self.take(&rest, &mut last);
                }
                return Ok(());
            }
            let mut begin = 0;
            while let Some(size) = buffer[begin..].find_byte(b'\n') {
                let line = &buffer[begin..begin + size];
                begin += size + 1;
                if rest.is_empty() {
                    self.take(line, &mut last);
                } else {
                    rest.extend_from_slice(line);
                    self.take(&rest, &mut last);
                    rest.clear();
                }
            }
            rest.extend_from_slice(&buffer[begin..]);
            let all = buffer.len();
            from.consume(all);
        }
    }

    /// Takes one line; `last` is the host of the line before.
    fn take(&mut self, line: &[u8], last: &mut Option<usize>) {
        let Some((host, text)) = self.parted(line) else {
            self.stray += usize::from(!line.is_empty());
            return;
        };
        let mut likely = last.iter().copied().chain(last.map(|last| self.after[last]));
        let number = match likely.find(|&number| self.names[number] == host) {
            Some(number) => number,
            None => match self.numbers.get(host.as_bstr()) {
                Some(&number) => number,
                None => {
                    let number = self.transcripts.add_host();
                    self.numbers.insert(host.into(), number);
                    self.names.push(host.into());
                    self.after.push(number);
                    number
                }
            },
        };
        if let Some(last) = last.replace(number).filter(|&last| last != number) {
            self.after[last] = number;
        }
        self.transcripts.line(number, Stream::Out, text);
    }

    fn parted<'a>(&self, line: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let Some(separator) = &self.separator else {
            return tagged(line);
        };
        let line = line.trim_ascii_start();
        if *separator == ":"
            && let Some(found) = tagged(line)
        {
            return Some(found);
        }
        let at = line.find(separator)?;
        let (host, text) = (line[..at].trim_ascii_end(), &line[at + separator.len()..]);
        let host = Some(host).filter(|host| !host.is_empty() && !host.iter().any(u8::is_ascii_whitespace))?;
        Some((host, text.strip_prefix(b" ").unwrap_or(text)))
    }

    /// The hosts of a group in their short form, sorted; by groups where these are given.
    fn fold(&self, group: &[usize], regroup: &mut Option<(Outside, bool)>) -> String {
        let parsed: Result<Vec<Host>, String> = group
            .iter()
            .map(|&number| Host::parse(&self.names[number].to_str_lossy()))
            .collect();
        match parsed {
            Ok(list) => {
                let set = list.iter().cloned().collect();
                let regrouped = regroup
                    .as_mut()
                    .and_then(|(outside, base)| groups::regrouped(outside, *base, set).ok());
                regrouped.unwrap_or_else(|| hosts::fold(&list))
            }
            // Not names of hosts, then: as they are.
            Err(_) => {
                let names: Vec<_> = group.iter().map(|&number| self.names[number].to_str_lossy()).collect();
                names.join(",")
            }
        }
    }
}

/// The host and the text of a line: the host ends at the first colon that a blank or the end follows.
fn tagged(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let colon = from + line[from..].find_byte(b':')?;
        let host = &line[..colon];
        if host.is_empty() || host.iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        match line.get(colon + 1) {
            None => return Some((host, b"")),
            Some(b' ') => return Some((host, &line[colon + 2..])),
            Some(_) => from = colon + 1,
        }
    }
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    run(args, &Manner::own(TOOL.name))
}

/// The tool under its own or another name.
pub fn run(args: &[OsString], manner: &Manner) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let mut said = Said {
        separator: matches.get_one::<String>("separator").map(|text| text.as_str().into()),
        ..Said::default()
    };
    if said.separator.as_ref().is_some_and(|text| text.is_empty()) {
        return Err(Fail::usage("the separator is empty"));
    }
    let mut heads = manner.heads.clone();
    heads.color = look::colors(&matches);
    if matches.get_flag("lines") {
        heads.dashes = 0;
    }
    let look = Look {
        diff: matches.get_flag("diff"),
        heads,
        ..Look::default()
    };
    let mut regroup = match matches.get_flag("regroup") {
        false => None,
        true => {
            let mut outside = Outside::default();
            if let Some(name) = matches.get_one::<String>("groupsource") {
                let prefer = outside.groups.prefer(name);
                prefer.map_err(|e| refused(Some("--groupsource"), &e))?;
            }
            Some((outside, matches.get_flag("groupbase")))
        }
    };
    let files: Vec<&PathBuf> = matches.get_many::<PathBuf>("files").unwrap_or_default().collect();
    let fail = |what: String| move |e: io::Error| Fail::new(Exit::Failed, what).because(e);
    for file in &files {
        let what = || format!("cannot read {}", file.display());
        let opened = File::open(file).map_err(fail(what()))?;
        said.read(&mut BufReader::with_capacity(1 << 17, opened))
            .map_err(fail(what()))?;
    }
    if files.is_empty() {
        said.read(&mut BufReader::with_capacity(1 << 17, io::stdin().lock()))
            .map_err(fail("cannot read standard input".into()))?;
    }
    let mut out = Out::stdout();
    let shown = match matches.get_one::<PathBuf>("dir") {
        Some(dir) => made(dir, matches.get_flag("force")).and_then(|()| to_files(&said, dir)),
        None if matches.get_flag("json") => as_json(&said, &mut regroup, &mut out),
        None if look.diff || matches.get_flag("coalesce") => coalesced(&said, &look, &mut regroup, &mut out),
        None => each(&said, &look.heads, &mut out),
    };
    shown
        .and_then(|()| out.flush())
        .map_err(fail("cannot write the output".into()))?;
    if said.stray > 0 {
        stderr_line(&format!(
            "{}: {} lines carry no host and were left out",
            manner.prog, said.stray
        ));
        return Ok(match manner.counts {
            Counts::Nothing => Exit::Done,
            _ => Exit::Failed,
        });
    }
    Ok(Exit::Done)
}

fn each(said: &Said, heads: &Heads, out: &mut Out) -> io::Result<()> {
    let mut order: Vec<usize> = (0..said.names.len()).collect();
    order.sort_by(|&a, &b| hosts::natural(&said.names[a], &said.names[b]));
    for number in order {
        let name = said.names[number].to_str_lossy();
        if heads.dashes == 0 {
            let label = heads.colored(&format!("{name}: "), Stream::Out);
            said.transcripts
                .write(number, Stream::Out, &mut Labelled::new(label, out))?;
            continue;
        }
        out.write_all(heads.above(&name, Stream::Out).as_bytes())?;
        said.transcripts.write(number, Stream::Out, out)?;
    }
    Ok(())
}

fn coalesced(said: &Said, look: &Look, regroup: &mut Option<(Outside, bool)>, out: &mut Out) -> io::Result<()> {
    let groups = said.transcripts.gather(Stream::Out).into_iter();
    let groups: Vec<Group> = groups
        .map(|hosts| Group {
            names: said.fold(&hosts.jobs, regroup),
            ended: None,
            hosts,
        })
        .collect();
    gathered::show(&said.transcripts, &groups, &[Stream::Out], look, out)
}

fn as_json(said: &Said, regroup: &mut Option<(Outside, bool)>, out: &mut Out) -> io::Result<()> {
    for group in said.transcripts.gather(Stream::Out) {
        let object = json!({
            "hosts": said.fold(&group.jobs, regroup),
            "count": group.jobs.len(),
        });
        json_line(
            out,
            &object,
            &said.transcripts,
            &[("output", group.jobs[0], Stream::Out)],
        )?;
    }
    Ok(())
}

/// Makes the directory and those above it, where that is wanted.
fn made(dir: &std::path::Path, wanted: bool) -> io::Result<()> {
    match wanted {
        true => std::fs::create_dir_all(dir).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display()))),
        false => Ok(()),
    }
}

fn to_files(said: &Said, dir: &std::path::Path) -> io::Result<()> {
    for (number, name) in said.names.iter().enumerate() {
        // The name comes from the input: it must not lead out of the directory.
        if name.contains(&b'/') || name == "." || name == ".." {
            return Err(io::Error::other(format!("'{name}' cannot be the name of a file")));
        }
        let path = dir.join(name.to_path_lossy());
        let wrap = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let mut file = File::create(&path).map_err(wrap)?;
        said.transcripts.write(number, Stream::Out, &mut file).map_err(wrap)?;
    }
    Ok(())
}
