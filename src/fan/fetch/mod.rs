//! Copying files back from many hosts, each under a name of its own. What a host sends is not trusted: nothing leaves the
//! directory it is meant for, no link is followed, no file is left that gives somebody rights here.

mod stage;
mod untar;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

use super::Input;
use super::talk::{Greeting, Reply, Script, Talk};
use crate::remote;
use crate::sys::at::Dir;
use stage::Stage;
use untar::Untar;

/// What runs on the hosts; it comes over standard input.
const FAR: &str = include_str!("fetch.sh");

/// Every line of the far side begins so.
const MARK: &[u8] = b"dsau-ccp ";

/// The first of them.
const HELLO: &[u8] = b"dsau-ccp ready";

/// The longest line, in bytes.
const LINE: usize = 16 * 1024;

/// What is fetched from every host, and where it goes.
#[derive(Debug)]
pub struct Fetch {
    sources: Vec<(BString, BString)>,
    recursive: bool,
    keep: bool,
    place: Dir,
    suffixes: Vec<String>,
}

impl Fetch {
    /// Fetches `sources`, each with the name that it gets here before `.` and the suffix of the host, into an existing
    /// directory. With `keep`, times are the source's.
    pub fn new(
        sources: Vec<(BString, BString)>,
        place: &Path,
        suffixes: Vec<String>,
        recursive: bool,
        keep: bool,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Fetch {
            sources,
            recursive,
            keep,
            place: Dir::open(place)?,
            suffixes,
        }))
    }

    /// The command that sends on a host.
    pub fn command(&self) -> Vec<OsString> {
        const BEGIN: &str = "S=$(head -c \"$1\"); shift; eval \"$S\"";
        let all: &[u8] = if self.recursive { b"all" } else { b"-" };
        remote::script(BEGIN, &[FAR.len().to_string().as_bytes(), all])
    }

    /// What that command is told.
    pub fn input(self: &Arc<Self>) -> Input {
        Input::Talk(Arc::clone(self) as Arc<dyn Script>)
    }
}

impl Script for Fetch {
    fn begin(self: Arc<Self>, job: usize) -> Box<dyn Talk> {
        Box::new(Desk {
            fetch: self,
            job,
            line: Vec::new(),
            step: Step::Hello,
            greeting: Greeting::default(),
            source: 0,
            untar: Untar::default(),
            stage: None,
            troubles: Vec::new(),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Wait,
    Archive,
    Sums,
    Over,
}

/// The conversation with one host.
struct Desk {
    fetch: Arc<Fetch>,
    job: usize,
    line: Vec<u8>,
    step: Step,
    greeting: Greeting,
    source: usize,
    untar: Untar,
    stage: Option<Stage>,
    troubles: Vec<String>,
}

impl Desk {
    /// Asks for the next source; the end after the last.
    fn ask(&mut self, reply: &mut Reply) {
        self.stage = None;
        match self.fetch.sources.get(self.source) {
            Some((path, _)) => {
                self.step = Step::Wait;
                let name = remote::encode(path);
                reply.bytes([b"get ", name.as_slice(), b"\n"].concat());
            }
            None => {
                self.step = Step::Over;
                reply.bytes("done\n");
                reply.end();
            }
        }
    }

    fn fail(&mut self, why: impl Into<String>, reply: &mut Reply) {
        self.troubles.push(why.into());
        self.stage = None;
        self.step = Step::Over;
        reply.end();
    }

    fn take(&mut self, line: &[u8], reply: &mut Reply) -> io::Result<()> {
        let said = line.strip_prefix(MARK);
        match (self.step, said) {
            (Step::Hello, _) if line.contains_str(HELLO) => {
                // What a login shell prints before us may end without a newline.
                let at = line.find(HELLO).unwrap_or_default();
                if at > 0 {
                    reply.show(&line[..at]);
                }
                self.ask(reply);
            }
            (Step::Hello, _) => self.greeting.line(line, reply),
            (Step::Wait, Some(b"archive")) => {
                self.untar = Untar::default();
                self.stage = Some(Stage::new(&self.fetch.place, self.fetch.keep)?);
                self.step = Step::Archive;
            }
            (Step::Sums, Some(b"end")) => {
                if let Some(stage) = self.stage.take() {
                    let name = self.name();
                    stage.finish(&self.fetch.place, name.as_bstr(), &mut self.troubles)?;
                }
                self.source += 1;
                self.ask(reply);
            }
            // It cannot be sent; the host says why.
            (Step::Wait, Some(b"next")) => {
                self.source += 1;
                self.ask(reply);
            }
            (Step::Sums, None) => {
                if let Some(stage) = &mut self.stage {
                    stage.sum(line);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the source is called here.
    fn name(&self) -> BString {
        let (_, name) = &self.fetch.sources[self.source];
        let suffix = &self.fetch.suffixes[self.job];
        [name.as_bytes(), b".", suffix.as_bytes()].concat().into()
    }
}

impl Talk for Desk {
    fn start(&mut self, reply: &mut Reply) {
        reply.bytes(FAR);
    }

    fn hear(&mut self, mut bytes: &[u8], reply: &mut Reply) {
        while !bytes.is_empty() && self.step != Step::Over {
            if let (Step::Archive, Some(stage)) = (self.step, &mut self.stage) {
                match self.untar.feed(bytes, stage) {
                    Ok(used) => bytes = &bytes[used..],
                    Err(error) => return self.fail(error.to_string(), reply),
                }
                if self.untar.ended() {
                    self.step = Step::Sums;
                }
                continue;
            }
            let Some(end) = bytes.find_byte(b'\n') else {
                self.line.extend_from_slice(bytes);
                if self.line.len() > LINE {
                    self.fail("this host answers in a way that is not understood", reply);
                }
                return;
            };
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if let Err(error) = self.take(&line, reply) {
                return self.fail(error.to_string(), reply);
            }
        }
    }

    fn end(&mut self, well: bool) -> Vec<String> {
        if well && self.step != Step::Over {
            self.troubles.push("this host ended before everything was sent".into());
        }
        self.stage = None;
        std::mem::take(&mut self.troubles)
    }
}

#[cfg(test)]
mod tests;
