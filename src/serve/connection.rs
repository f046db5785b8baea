//! One connection: reads requests, does what the session says, writes the replies. Costs bounded memory whatever comes:
//! one request at a time, at most one frame of it, one manifest, one buffer of content.

mod large;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bstr::{BStr, BString, ByteSlice};

use super::apart::Line;
use super::config::Config;
use super::exec::{self, Event};
use super::files::{Content, View, pour, pour_by};
use super::identity::identify;
use super::rules::Peer;
use super::seats::Seat;
use super::server::Shared;
use super::session::{Refusal, Session, Step};
use super::trees::unread_reply;
use crate::fsx::Select;
use crate::keys::PublicKey;
use crate::wire::{self, Code, Reply, Request, Want};

/// How often a client hears that its request is still worked on. A client may wait as little as three seconds (TimeOut).
const ALIVE: Duration = Duration::from_secs(2);
/// When a client for which there is no room shall come again, in seconds.
const AGAIN: u16 = 5;
/// How long a client may take to hang up after the last word.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// A file of this size or more is sent by the process that has the network.
const LARGE: u64 = 256 * 1024;

/// A connection after the handshake.
pub(super) struct Connection<'a> {
    pub shared: &'a Shared,
    pub seat: &'a mut Seat,
    pub stream: Line,
    pub peer: Peer,
    pub key: PublicKey,
    pub session: Session,
    /// The tree whose content is being asked for.
    pub content: Option<Content>,
    /// Who it is, for the log.
    pub who: String,
}

impl Connection<'_> {
    /// Serves until the client hangs up, is refused, or its time is up.
    pub fn run(mut self) {
        loop {
            let limits = &self.shared.limits;
            let wait = if self.session.greeting() {
                limits.handshake
            } else {
                limits.idle
            };
            if self.arm(wait).is_err() {
                return;
            }
            let (id, request) = match self.read() {
                Ok(Some(read)) => read,
                Ok(None) => {
                    ::log::debug!("{}: connection closed", self.who);
                    return self.stream.close();
                }
                Err(error) => return self.broken(&error),
            };
            let config = self.shared.config();
            match self.step(&config, id, request) {
                Ok(true) => {}
                Ok(false) => return self.stream.close_after(FAREWELL),
                Err(error) => return self.broken(&error),
            }
        }
    }

    fn arm(&mut self, wait: Duration) -> io::Result<()> {
        self.stream.arm(wait)
    }

    fn read(&mut self) -> io::Result<Option<(u32, Request)>> {
        let Some((header, payload)) = self.stream.read_frame()? else {
            return Ok(None);
        };
        let request =
            Request::decode(header, &payload).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(Some((header.id, request)))
    }

    /// The connection cannot go on.
    fn broken(mut self, error: &io::Error) {
        match error.kind() {
            ErrorKind::TimedOut => ::log::info!("{}: time-out, connection closed", self.who),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                ::log::debug!("{}: connection lost", self.who);
            }
            ErrorKind::InvalidData => {
                ::log::warn!("{}: refused: broken protocol: {error}", self.who);
                let text = BString::from(format!("broken protocol: {error}"));
                let _ = self.reply(
                    0,
                    &Reply::Error {
                        code: Code::Protocol,
                        text,
                    },
                );
                return self.stream.close_after(FAREWELL);
            }
            _ => ::log::warn!("{}: {error}", self.who),
        }
        self.stream.close();
    }

    fn reply(&mut self, id: u32, reply: &Reply) -> io::Result<()> {
        reply
            .encode(id, self.stream.buffer())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        self.flush_when_large()
    }

    /// Each large piece has its own deadline: a client that reads too slowly is cut off.
    fn flush_when_large(&mut self) -> io::Result<()> {
        self.arm(self.shared.limits.write)?;
        self.stream.flush_when_large()
    }

    /// Sends what was gathered.
    fn flush(&mut self) -> io::Result<()> {
        self.arm(self.shared.limits.write)?;
        self.stream.flush()
    }

    /// Does one request. False ends the connection.
    fn step(&mut self, config: &Config, id: u32, request: Request) -> io::Result<bool> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
            .unwrap_or(0);
        let (shared, peer, key) = (self.shared, &self.peer, &self.key);
        let mut known = None;
        let step = self.session.take(config, now, id, request, &mut |user| {
            known = Some(identify(config, &shared.store, peer, user, key)?);
            Ok(())
        });
        if let Some(known) = known {
            let file = known.file.file_name().unwrap_or_default().to_string_lossy();
            self.who = format!("{} ({file})", self.peer.address);
            if let Some(note) = known.note {
                ::log::warn!("{}: {note}", self.who);
            }
        }
        match step {
            Step::Welcome { .. } if !self.seat.enter(config.max_connections) => {
                let text = "Server is currently too busy -- increase MaxConnections or Splaytime?";
                let refusal = Refusal::request(Code::Busy, text, text);
                if !self.session.fleet() {
                    self.refuse(id, refusal)?;
                    return Ok(false);
                }
                self.note(&refusal);
                let text = text.into();
                self.reply(id, &Reply::Busy { again: AGAIN, text })?;
                return Ok(false);
            }
            Step::Welcome { version, features } => {
                self.stream.welcomed()?;
                if config.last_seen {
                    self.shared.seen.add(self.peer.address, self.peer.names.first(), now);
                }
                ::log::log!(
                    if config.log_all {
                        ::log::Level::Info
                    } else {
                        ::log::Level::Debug
                    },
                    "{}: connected as {}",
                    self.who,
                    self.session.user()
                );
                let program = BString::from(concat!("cfservd ", env!("CARGO_PKG_VERSION")));
                self.reply(
                    id,
                    &Reply::Welcome {
                        version,
                        features,
                        time: now,
                        program,
                    },
                )?;
                if features & wire::PACKED != 0 {
                    self.stream.pack()?;
                }
            }
            Step::Policy(policy) => {
                if config.last_seen {
                    self.shared.seen.policy(&self.peer, policy, now);
                }
            }
            Step::Wait => self.content = None,
            Step::Manifest { root, known, select } => self.manifest(config, id, root.as_ref(), known, &select)?,
            Step::Files { root, files, last } => self.files(config, id, root.as_ref(), &files, last)?,
            Step::Cut { root, file } => self.cut(config, id, root.as_ref(), &file)?,
            Step::Ranges { root, file, ranges } => self.ranges(config, id, root.as_ref(), &file, &ranges)?,
            Step::Exec { argv, announce } => self.exec(config, id, argv, announce)?,
            Step::Irrelevant => {
                let name = self.peer.names.first().cloned();
                let name = name.unwrap_or_else(|| self.peer.address.to_string());
                let line = format!("Hello {name} ({}), nothing relevant to do here...", self.peer.address);
                self.reply(id, &Reply::Line(line.into()))?;
                self.reply(id, &Reply::Exit { status: 0 })?;
            }
            Step::Refuse(refusal) => {
                let close = refusal.close;
                self.refuse(id, refusal)?;
                return Ok(!close);
            }
        }
        Ok(true)
    }

    /// One clear line on both ends.
    fn refuse(&mut self, id: u32, refusal: Refusal) -> io::Result<()> {
        self.note(&refusal);
        let text = cut(refusal.text);
        self.reply(
            id,
            &Reply::Error {
                code: refusal.code,
                text,
            },
        )
    }

    fn note(&self, refusal: &Refusal) {
        match refusal.code {
            Code::Missing | Code::Changed => ::log::debug!("{}: {}", self.who, refusal.log),
            _ => ::log::warn!("{}: refused: {}", self.who, refusal.log),
        }
    }

    fn manifest(
        &mut self,
        config: &Config,
        id: u32,
        root: &BStr,
        known: Option<[u8; 32]>,
        select: &Select,
    ) -> io::Result<()> {
        let (peer, user, shared) = (self.peer.clone(), self.session.user().to_string(), self.shared);
        let view = View::new(&config.access, &peer, &user);
        let mut pulse = Pulse::default();
        let found = view.open(root).and_then(|opened| {
            let mut tick = || pulse.beat(self, id);
            view.manifest(&opened, root, select, (&shared.trees, &shared.digests), &mut tick)
        });
        if let Some(kind) = pulse.gone {
            return Err(kind.into());
        }
        let manifest = match found {
            Ok(found) => found,
            Err(refusal) => return self.refuse(id, refusal),
        };
        let digest = match manifest.digest() {
            Ok(digest) => digest,
            Err(error) => {
                let text = format!("{root} cannot be listed: {error}");
                return self.refuse(id, Refusal::request(Code::Limit, text.clone(), text));
            }
        };
        if known == Some(digest) {
            return self.reply(id, &Reply::Unchanged);
        }
        let mut rest = manifest.entries();
        while !rest.is_empty() {
            let put = wire::put_entries(self.stream.buffer(), id, rest, &mut |_| ())
                .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
            rest = rest.get(put..).unwrap_or_default();
            self.flush_when_large()?;
        }
        for (path, why) in manifest.unread() {
            self.reply(id, &unread_reply(path, why))?;
        }
        let count = manifest.entries().len() as u64;
        ::log::debug!("{}: sent the manifest of {root}, {count} entries", self.who);
        self.reply(id, &Reply::ManifestEnd { count, digest })
    }

    fn files(&mut self, config: &Config, id: u32, root: &BStr, files: &[Want], last: bool) -> io::Result<()> {
        let access = &config.access;
        let peer = self.peer.clone();
        let user = self.session.user().to_string();
        let view = View::new(access, &peer, &user);
        if self.content.is_none() {
            match view.open(root) {
                Ok(opened) => self.content = Some(Content::new(opened)),
                Err(refusal) => {
                    // Every wanted file gets its answer.
                    self.note(&refusal);
                    for _ in files {
                        self.file_error(id, &refusal)?;
                    }
                }
            }
        }
        if let Some(mut content) = self.content.take() {
            self.shared.digests.mind_clock();
            let mut buffer = vec![0; wire::MAX_DATA];
            for want in files {
                match view.file(&mut content, want) {
                    Ok(file) => {
                        // How well a piece packs tells of what is in it: a secret is in none with what another chose.
                        let alone = self.session.packed() && !for_everybody(&file)?;
                        if alone {
                            self.flush()?;
                        }
                        self.file(id, want, &file, &mut buffer)?;
                        if alone {
                            self.flush()?;
                        }
                    }
                    Err(refusal) => {
                        self.note(&refusal);
                        self.file_error(id, &refusal)?;
                    }
                }
            }
            self.content = Some(content);
        }
        if last {
            self.content = None;
            self.reply(id, &Reply::FetchEnd)?;
        }
        Ok(())
    }

    fn file(&mut self, id: u32, want: &Want, file: &File, buffer: &mut [u8]) -> io::Result<()> {
        self.reply(id, &Reply::File { size: want.size })?;
        let shared = self.shared;
        if want.size >= LARGE
            && let Some(far) = self.stream.pourer()
        {
            let outcome = pour_by(file, want, &shared.digests, &mut |wanted| {
                far.pour(id, file, want.size, wanted)
            })?;
            return self.poured(id, outcome);
        }
        let outcome = pour(file, want, &shared.digests, buffer, &mut |piece| {
            wire::put_data(self.stream.buffer(), id, piece);
            self.flush_when_large()
        })?;
        self.poured(id, outcome)
    }

    fn poured(&mut self, id: u32, outcome: Result<[u8; 32], Refusal>) -> io::Result<()> {
        match outcome {
            Ok(digest) => self.reply(id, &Reply::FileEnd { digest }),
            Err(refusal) => {
                self.note(&refusal);
                self.file_error(id, &refusal)
            }
        }
    }

    fn file_error(&mut self, id: u32, refusal: &Refusal) -> io::Result<()> {
        let text = cut(refusal.text.clone());
        self.reply(
            id,
            &Reply::FileError {
                code: refusal.code,
                text,
            },
        )
    }

    fn exec(&mut self, config: &Config, id: u32, argv: Vec<BString>, announce: Option<BString>) -> io::Result<()> {
        let program = argv.first().cloned().unwrap_or_default();
        let admitted = {
            let view = View::new(&config.access, &self.peer, self.session.user());
            view.open(program.as_ref())
        };
        if let Err(refusal) = admitted {
            let log = format!("cfrunCommand {}", refusal.log);
            return self.refuse(id, Refusal::request(Code::Refused, exec::REFUSED, log));
        }
        ::log::info!("{}: runs {}", self.who, bstr::join(" ", &argv).as_bstr());
        let argv = exec::launched(&config.launcher, &config.env, argv);
        let began = SystemTime::now();
        let events = match exec::start(argv, &config.env) {
            Ok(events) => events,
            Err(error) => return self.not_started(id, program.as_ref(), &error),
        };
        if let Some(line) = announce {
            self.line(id, &line)?;
        }
        loop {
            match events.recv_timeout(ALIVE) {
                Ok(Event::Line(line)) => {
                    self.line(id, &line)?;
                    // What comes in one go travels together, what comes alone travels at once.
                    self.stream.flush()?;
                }
                Ok(Event::Exit(status)) => {
                    if let Some(ran) = self.session.fleet().then(|| exec::ran(began)).flatten() {
                        self.reply(id, &Reply::Ran(ran))?;
                    }
                    return self.reply(id, &Reply::Exit { status });
                }
                Ok(Event::Failed(error)) => return self.not_started(id, program.as_ref(), &error),
                Err(RecvTimeoutError::Timeout) => {
                    self.reply(id, &Reply::Alive)?;
                    self.stream.flush()?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return self.not_started(id, program.as_ref(), &io::Error::other("it went away"));
                }
            }
        }
    }

    fn not_started(&mut self, id: u32, program: &BStr, error: &io::Error) -> io::Result<()> {
        let refusal = Refusal::request(
            Code::Failed,
            "the agent cannot be started",
            format!("cfrunCommand {program}: {error}"),
        );
        self.refuse(id, refusal)
    }

    fn line(&mut self, id: u32, line: &[u8]) -> io::Result<()> {
        line.chunks(wire::MAX_TEXT)
            .try_for_each(|piece| self.reply(id, &Reply::Line(piece.into())))
    }
}

/// Reading much takes longer than a client waits in silence: it hears now and then that its request is worked on.
struct Pulse {
    last: Instant,
    /// The connection is lost, and why.
    gone: Option<ErrorKind>,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            last: Instant::now(),
            gone: None,
        }
    }
}

impl Pulse {
    fn beat(&mut self, connection: &mut Connection<'_>, id: u32) -> io::Result<()> {
        match self.gone {
            None if self.last.elapsed() >= ALIVE => {
                self.last = Instant::now();
                let said = connection
                    .reply(id, &Reply::Alive)
                    .and_then(|()| connection.stream.flush());
                said.inspect_err(|e| self.gone = Some(e.kind()))
            }
            None => Ok(()),
            Some(kind) => Err(kind.into()),
        }
    }
}

/// Whether everybody on this machine may read a file.
fn for_everybody(file: &File) -> io::Result<bool> {
    Ok(crate::sys::at::file_meta(file)?.mode() & 0o004 != 0)
}

/// A text that fits into a frame.
fn cut(text: String) -> BString {
    let mut text = text.into_bytes();
    text.truncate(wire::MAX_TEXT);
    text.into()
}
