//! What each request of a client leads to. Pure: no I/O, no clock; what must be looked up comes in, what must be done goes
//! out as a [`Step`].
//!
//! An explicit list: before the greeting was accepted there is one request, and no request is done that is not here.

use bstr::{BStr, BString, ByteSlice};

use super::config::Config;
use super::exec;
use crate::fsx::Select;
use crate::wire::{CHUNKS, Code, FEATURES, FLEET, Hello, PACKED, Policy, Range, Request, VERSIONS, Want};

/// How far clocks may be apart when DenyBadClocks is on, seconds.
const CLOCKS: u64 = 3600;

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ready,
    Fetching { id: u32, root: BString },
}

/// The session of one connection.
#[derive(Clone, Debug)]
pub struct Session {
    state: State,
    user: String,
    /// The optional parts that both sides know.
    features: u32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Accept the client and speak this version.
    Welcome {
        /// The version.
        version: u16,
        /// The optional parts both know.
        features: u32,
    },
    /// Nothing but to wait for the next request.
    Wait,
    /// Send the manifest of a tree.
    Manifest {
        /// The root, syntactically sound: absolute, without `..`.
        root: BString,
        /// The manifest the client has.
        known: Option<[u8; 32]>,
        /// Which part.
        select: Select,
    },
    /// Send content.
    Files {
        /// The root, syntactically sound.
        root: BString,
        /// The files.
        files: Vec<Want>,
        /// The fetch ends with them.
        last: bool,
    },
    /// Send the list of chunks of a file.
    Cut {
        /// The root, syntactically sound.
        root: BString,
        /// The file.
        file: Want,
    },
    /// Send parts of a file.
    Ranges {
        /// The root, syntactically sound.
        root: BString,
        /// The file.
        file: Want,
        /// The parts, in order and within its size.
        ranges: Vec<Range>,
    },
    /// Start the agent if its program is admitted to the client.
    Exec {
        /// The program and all its arguments.
        argv: Vec<BString>,
        /// The line that tells what is started; none when the client sent no options.
        announce: Option<BString>,
    },
    /// Note which policy the client runs; nothing is answered.
    Policy(Policy),
    /// No class of a request to start the agent is defined here: say so, and do nothing.
    Irrelevant,
    /// Refuse.
    Refuse(Refusal),
}

/// A refusal: what the client reads leaks nothing, what the log says is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// For the client.
    pub text: String,
    /// For the log.
    pub log: String,
    /// Hang up.
    pub close: bool,
}

impl Refusal {
    /// A request is refused, the connection stays.
    pub fn request(code: Code, text: impl Into<String>, log: impl Into<String>) -> Self {
        Refusal {
            code,
            text: text.into(),
            log: log.into(),
            close: false,
        }
    }

    fn fatal(code: Code, text: impl Into<String>, log: impl Into<String>) -> Self {
        Refusal {
            close: true,
            ..Refusal::request(code, text, log)
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Session {
            state: State::Greeting,
            user: String::new(),
            features: 0,
        }
    }
}

impl Session {
    /// The user of the client, once it was accepted.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the client knows what is said of policies, runs and busy servers.
    pub fn fleet(&self) -> bool {
        self.features & FLEET != 0
    }

    /// Whether what the client is told is packed.
    pub fn packed(&self) -> bool {
        self.features & PACKED != 0
    }

    /// True until the client was accepted.
    pub fn greeting(&self) -> bool {
        self.state == State::Greeting
    }

    /// Takes a request. `identify` says whether the key of the connection belongs to that user at that address, and if not
    /// why, for the log. `now` is the time in seconds since the epoch.
    pub fn take(
        &mut self,
        config: &Config,
        now: i64,
        id: u32,
        request: Request,
        identify: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Step {
        match (&self.state, request) {
            (State::Greeting, Request::Hello(hello)) => match self.greet(config, now, &hello, identify) {
                Ok(version) => {
                    self.state = State::Ready;
                    let known = if config.compress { FEATURES } else { FEATURES & !PACKED };
                    self.features = hello.features & known;
                    Step::Welcome {
                        version,
                        features: self.features,
                    }
                }
                Err(refusal) => Step::Refuse(refusal),
            },
            (State::Ready, Request::Manifest { root, known, select }) => match clean(root.as_ref()) {
                Some(root) => Step::Manifest { root, known, select },
                None => Step::Refuse(unsound(root.as_ref())),
            },
            (State::Ready, Request::Fetch { root }) => match clean(root.as_ref()) {
                Some(root) => {
                    self.state = State::Fetching { id, root };
                    Step::Wait
                }
                // What is wanted is on its way already: there is no answer to it but the end.
                None => Step::Refuse(Refusal {
                    close: true,
                    ..unsound(root.as_ref())
                }),
            },
            (State::Fetching { id: fetch, root }, Request::Want { last, files }) if *fetch == id => {
                let root = root.clone();
                if last {
                    self.state = State::Ready;
                }
                Step::Files { root, files, last }
            }
            (State::Ready, Request::Cut { root, file }) if self.features & CHUNKS != 0 => match clean(root.as_ref()) {
                Some(root) => Step::Cut { root, file },
                None => Step::Refuse(unsound(root.as_ref())),
            },
            (State::Ready, Request::Ranges { root, file, ranges }) if self.features & CHUNKS != 0 => {
                match clean(root.as_ref()) {
                    Some(root) => Step::Ranges { root, file, ranges },
                    None => Step::Refuse(unsound(root.as_ref())),
                }
            }
            (State::Ready, Request::Policy(policy)) if self.fleet() => Step::Policy(policy),
            (State::Ready, Request::Exec { args, classes }) => self.exec(config, &args, &classes),
            (state, request) => Step::Refuse(Refusal::fatal(
                Code::Protocol,
                "the request does not fit here",
                format!("it sent {} while {}", name(&request), at(state)),
            )),
        }
    }

    fn greet(
        &mut self,
        config: &Config,
        now: i64,
        hello: &Hello,
        identify: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<u16, Refusal> {
        let user = hello.user.to_str_lossy();
        identify(&user).map_err(|log| Refusal::fatal(Code::Identity, "the key of this host is not accepted", log))?;
        let (low, high) = hello.versions;
        let version = high.min(VERSIONS.1);
        if version < low.max(VERSIONS.0) {
            let text = format!(
                "no common version of the protocol: {low} to {high} offered, {} to {} spoken",
                VERSIONS.0, VERSIONS.1
            );
            return Err(Refusal::fatal(Code::Protocol, text.clone(), text));
        }
        if config.deny_bad_clocks && now.abs_diff(hello.time) > CLOCKS {
            let text = format!("Clocks are too far unsynchronized {now}/{}", hello.time);
            return Err(Refusal::fatal(
                Code::Refused,
                text.clone(),
                format!("{text} (DenyBadClocks)"),
            ));
        }
        self.user = user.into_owned();
        Ok(version)
    }

    fn exec(&self, config: &Config, args: &[BString], classes: &[BString]) -> Step {
        let refuse = |log: String| Step::Refuse(Refusal::request(Code::Refused, exec::REFUSED, log));
        if !config.users.contains(&self.user) {
            return refuse(format!("AllowUsers does not name {}", self.user));
        }
        if !config.command.first().is_some_and(|program| program.starts_with(b"/")) {
            return refuse("no cfrunCommand with an absolute path is defined".to_string());
        }
        if !classes.is_empty() && !classes.iter().any(|class| config.classes.contains(class)) {
            return Step::Irrelevant;
        }
        let args = exec::strip(args);
        let argv = exec::argv(&config.command, &args);
        let announce = (!args.is_empty()).then(|| {
            let mut line = BString::from("cfservd Executing ");
            line.extend_from_slice(&bstr::join(" ", &argv));
            line
        });
        Step::Exec { argv, announce }
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello(_) => "a greeting",
        Request::Manifest { .. } => "a request for a manifest",
        Request::Fetch { .. } => "a request for content",
        Request::Want { .. } => "a list of files",
        Request::Exec { .. } => "a request to run the agent",
        Request::Cut { .. } => "a request for chunks",
        Request::Ranges { .. } => "a request for parts of a file",
        Request::Policy(_) => "the name of its policy",
    }
}

fn at(state: &State) -> &'static str {
    match state {
        State::Greeting => "a greeting was due",
        State::Ready => "a request was due",
        State::Fetching { .. } => "a list of files was due",
    }
}

/// What a client reads when a path is refused: the same whether anything is there or not.
pub fn denied(path: &BStr) -> String {
    format!("access to {path} denied")
}

fn unsound(path: &BStr) -> Refusal {
    Refusal::request(
        Code::Refused,
        denied(path),
        format!("{path} is not an absolute path without '..'"),
    )
}

/// An absolute path without `..` and NUL, repeated slashes and `.` taken out. A slash at the end stays: it asks for what a
/// link leads to.
fn clean(path: &BStr) -> Option<BString> {
    if !path.starts_with(b"/") || path.contains(&0) {
        return None;
    }
    let follow = path.ends_with(b"/") || path.ends_with(b"/.");
    let mut out = BString::default();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if follow || out.is_empty() {
        out.push(b'/');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(time: i64) -> Request {
        Request::Hello(Hello {
            versions: (1, 9),
            features: 0,
            time,
            user: "root".into(),
            program: "test".into(),
        })
    }

    fn manifest(root: &str) -> Request {
        Request::Manifest {
            root: root.into(),
            known: None,
            select: Select::default(),
        }
    }

    fn ready(config: &Config) -> Session {
        let mut session = Session::default();
        let step = session.take(config, 0, 1, hello(0), &mut |_| Ok(()));
        let welcome = Step::Welcome {
            version: 1,
            features: 0,
        };
        assert_eq!(step, welcome);
        session
    }

    fn take(session: &mut Session, config: &Config, id: u32, request: Request) -> Step {
        session.take(config, 0, id, request, &mut |_| Ok(()))
    }

    #[test]
    fn nothing_is_done_before_the_client_was_recognised() {
        let config = Config::default();
        for request in [
            manifest("/srv"),
            Request::Fetch { root: "/srv".into() },
            Request::Exec {
                args: Vec::new(),
                classes: Vec::new(),
            },
        ] {
            let step = take(&mut Session::default(), &config, 1, request);
            assert!(matches!(step, Step::Refuse(Refusal { close: true, .. })));
        }
        let mut session = Session::default();
        let step = session.take(&config, 0, 1, hello(0), &mut |_| Err("why".to_string()));
        let Step::Refuse(refusal) = step else { panic!() };
        assert!(refusal.close && refusal.code == Code::Identity && !refusal.text.contains("why"));
        assert!(session.greeting());
    }

    #[test]
    fn a_second_greeting_and_a_list_without_a_fetch_end_the_connection() {
        let config = Config::default();
        for request in [
            hello(0),
            Request::Want {
                last: true,
                files: Vec::new(),
            },
        ] {
            let step = take(&mut ready(&config), &config, 2, request);
            assert!(matches!(step, Step::Refuse(Refusal { close: true, .. })));
        }
    }

    #[test]
    fn paths_are_absolute_and_never_go_up() {
        let config = Config::default();
        for bad in ["", "srv", "../x", "/srv/../etc", "/..", "/a/..", "/a\0b"] {
            let step = take(&mut ready(&config), &config, 2, manifest(bad));
            let Step::Refuse(refusal) = step else { panic!("{bad}") };
            assert_eq!((refusal.code, refusal.close), (Code::Refused, false));
        }
        for (given, cleaned) in [
            ("/", "/"),
            ("//a/./b//c", "/a/b/c"),
            ("/a/", "/a/"),
            ("/a/.", "/a/"),
            ("/...", "/..."),
        ] {
            assert_eq!(clean(given.into()), Some(cleaned.into()));
        }
    }

    #[test]
    fn a_clock_that_is_an_hour_off_is_refused_unless_that_is_switched_off() {
        let mut config = Config::default();
        let step = Session::default().take(&config, 10_000, 1, hello(10_000 - 3601), &mut |_| Ok(()));
        let Step::Refuse(refusal) = step else { panic!() };
        assert_eq!(refusal.text, "Clocks are too far unsynchronized 10000/6399");
        config.deny_bad_clocks = false;
        let step = Session::default().take(&config, 10_000, 1, hello(i64::MIN), &mut |_| Ok(()));
        assert!(matches!(step, Step::Welcome { .. }));
    }

    #[test]
    fn the_agent_is_started_for_allowed_users_only_and_never_by_another_policy_q22() {
        let mut config = Config {
            command: vec!["/opt/dsau/sbin/cfagent".into()],
            ..Config::default()
        };
        let exec = |args: &[&str], classes: &[&str]| Request::Exec {
            args: args.iter().map(|a| BString::from(*a)).collect(),
            classes: classes.iter().map(|a| BString::from(*a)).collect(),
        };
        let step = take(&mut ready(&config), &config, 2, exec(&[], &[]));
        assert!(matches!(&step, Step::Refuse(r) if r.text == exec::REFUSED && r.log.contains("AllowUsers")));
        config.users = vec!["root".into()];
        let step = take(
            &mut ready(&config),
            &config,
            2,
            exec(&["-K", "-f", "/tmp/evil", "-D", "x"], &[]),
        );
        let Step::Exec { argv, announce } = step else { panic!() };
        assert_eq!(
            bstr::join(" ", &argv),
            b"/opt/dsau/sbin/cfagent --no-splay --inform -D x"
        );
        assert_eq!(
            announce.unwrap(),
            "cfservd Executing /opt/dsau/sbin/cfagent --no-splay --inform -D x"
        );
        let step = take(&mut ready(&config), &config, 2, exec(&[], &["nosuch"]));
        assert_eq!(step, Step::Irrelevant);
        config.classes.insert("linux".into());
        let step = take(&mut ready(&config), &config, 2, exec(&[], &["nosuch", "linux"]));
        assert!(matches!(step, Step::Exec { announce: None, .. }));
    }

    #[test]
    fn chunks_are_for_clients_that_said_they_know_them_and_between_two_requests() {
        let config = Config::default();
        let file = || Want {
            path: "f".into(),
            size: 10,
            mtime: 0,
            digest: None,
        };
        let cut = |root: &str| Request::Cut {
            root: root.into(),
            file: file(),
        };
        let ranges = || Request::Ranges {
            root: "/srv//a".into(),
            file: file(),
            ranges: vec![Range { at: 0, len: 1 }],
        };
        for request in [cut("/srv"), ranges()] {
            let step = take(&mut ready(&config), &config, 2, request);
            assert!(matches!(step, Step::Refuse(Refusal { close: true, .. })));
        }
        let mut session = Session::default();
        let hello = Request::Hello(Hello {
            versions: (1, 1),
            features: 0xff,
            time: 0,
            user: "root".into(),
            program: "test".into(),
        });
        let step = take(&mut session, &config, 1, hello);
        assert!(matches!(step, Step::Welcome { features: FEATURES, .. }));
        assert!(matches!(take(&mut session, &config, 2, cut("/srv/.")), Step::Cut { root, .. } if root == "/srv/"));
        assert!(matches!(take(&mut session, &config, 3, ranges()), Step::Ranges { root, .. } if root == "/srv/a"));
        assert!(matches!(
            take(&mut session, &config, 4, cut("/srv/../etc")),
            Step::Refuse(Refusal { close: false, .. })
        ));
        take(&mut session, &config, 5, Request::Fetch { root: "/srv".into() });
        assert!(matches!(
            take(&mut session, &config, 5, ranges()),
            Step::Refuse(Refusal { close: true, .. })
        ));
    }

    #[test]
    fn the_policy_of_a_client_is_taken_from_those_that_said_they_would_tell_it() {
        let config = Config::default();
        let policy = || {
            Request::Policy(Policy {
                id: "abc".into(),
                ..Policy::default()
            })
        };
        let step = take(&mut ready(&config), &config, 2, policy());
        assert!(matches!(step, Step::Refuse(Refusal { close: true, .. })));
        let mut session = Session::default();
        let Request::Hello(mut hello) = hello(0) else { panic!() };
        hello.features = FLEET;
        assert!(!session.fleet());
        take(&mut session, &config, 1, Request::Hello(hello));
        assert!(session.fleet());
        let step = take(&mut session, &config, 2, policy());
        assert!(matches!(step, Step::Policy(policy) if policy.id == "abc"));
        // Nothing was begun by it.
        assert!(matches!(
            take(&mut session, &config, 3, manifest("/srv")),
            Step::Manifest { .. }
        ));
    }

    #[test]
    fn wants_belong_to_the_fetch_with_their_id() {
        let config = Config::default();
        let mut session = ready(&config);
        let want = |last| Request::Want {
            last,
            files: Vec::new(),
        };
        assert_eq!(
            take(&mut session, &config, 7, Request::Fetch { root: "/srv".into() }),
            Step::Wait
        );
        assert!(matches!(
            take(&mut session, &config, 7, want(false)),
            Step::Files { last: false, .. }
        ));
        assert!(matches!(
            take(&mut session.clone(), &config, 8, want(true)),
            Step::Refuse(_)
        ));
        assert!(matches!(
            take(&mut session, &config, 7, want(true)),
            Step::Files { last: true, .. }
        ));
        assert!(matches!(
            take(&mut session, &config, 8, manifest("/srv")),
            Step::Manifest { .. }
        ));
    }
}
