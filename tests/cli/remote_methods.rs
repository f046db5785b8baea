//! Methods of other hosts: two hosts with a root and a cfservd each, on loopback. `a.lab` calls, `b.lab` is called.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};
use dsau::agent::{self, Levels, OpenOptions, RunOptions, Setup, Sink, Sources};
use dsau::facts::{self, Machine};
use dsau::fsx::{Deliver, Entry, Select, Source, SourceError};
use dsau::sync::{self, Remote};

use crate::cfservd::{Host, Master};
use crate::desk::exists;

/// The method: it leaves a line in `ran` each time, and returns more than it is asked for.
const ECHO: &str = "control:
 MethodName = ( Echo )
 MethodParameters = ( what )
 actionsequence = ( shellcommands )
shellcommands:
 \"/bin/echo $(what) >>$ROOT/ran\"
alerts:
 ReturnVariables(\"$(what) back\")
 ReturnClasses(linux,any,asked,unasked)
";

const RULE: &str = "Echo(\"hello\") action=cf.echo server=b.lab returnvars=r returnclasses=linux,asked,unasked \
                    sendclasses=asked ifelapsed=60";

/// Both hosts.
struct Pair {
    a: Master,
    b: Master,
}

/// What a run said, and how it ended.
struct Said {
    lines: Vec<String>,
    status: u8,
}

impl Said {
    #[track_caller]
    fn says(&self, text: &str) -> &Said {
        assert!(
            self.lines.iter().any(|line| line.contains(text)),
            "{text}: {:#?}",
            self.lines
        );
        self
    }

    #[track_caller]
    fn is_silent(&self) {
        assert_eq!((self.lines.as_slice(), self.status), (&[][..], 0));
    }
}

fn pair() -> Pair {
    let (a, b) = (Host::new("127.0.0.2"), Host::new("127.0.0.3"));
    a.meets(&b);
    let admit = |peer: &str, address: &str| {
        format!(
            "control:\n AllowMultipleConnectionsFrom = ( 127. )\nadmit:\n \
             $ROOT/var/opt/dsau/cfengine/rpc_out/{peer} {address} root={address}\n"
        )
    };
    b.write(
        "modules/cf.echo",
        &ECHO.replace("$ROOT", b.root.path().to_str().unwrap()),
    );
    for host in [&a, &b] {
        fs::create_dir_all(host.root.path().join("modules")).unwrap();
        let private = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        private(&host.root.path().join("modules"), 0o755);
    }
    fs::set_permissions(b.root.path().join("modules/cf.echo"), fs::Permissions::from_mode(0o600)).unwrap();
    Pair {
        a: Master::start(a, &admit("b.lab", "127.0.0.3")),
        b: Master::start(b, &admit("a.lab", "127.0.0.2")),
    }
}

fn policy(peers: &str, rule: &str) -> String {
    format!(
        "control:\n moduledirectory = ( $ROOT/modules )\n MethodPeers = ( {peers} )\n\
         actionsequence = ( methods shellcommands )\n secret = ( hidden )\nmethods:\n {rule}\n\
         shellcommands:\n Echo_linux::\n  \"/bin/echo got $(Echo.r)\" ifelapsed=0\n \
         Echo_asked::\n  \"/bin/echo asked\" ifelapsed=0\n Echo_any|Echo_unasked::\n  \"/bin/echo WRONG\" ifelapsed=0\n"
    )
}

impl Pair {
    fn a(&self, how: &How) -> Said {
        self.run("a", &self.a, how)
    }

    fn b(&self, how: &How) -> Said {
        self.run("b", &self.b, how)
    }

    fn run(&self, name: &str, on: &Master, how: &How) -> Said {
        let root = on.host.root.path();
        let policy = policy(how.peers, how.rule).replace("$ROOT", root.to_str().unwrap());
        let file = on.host.write("p.cf", &policy);
        let paths = on.host.paths();
        let host = facts::Host {
            short: name.into(),
            full: format!("{name}.lab"),
            system: "Linux".into(),
            ..facts::Host::default()
        };
        let agent = assert_cmd::cargo::cargo_bin!("cfagent");
        let options = RunOptions {
            file: Some(file.to_str().unwrap().into()),
            dry_run: how.dry,
            exit_status: true,
            no_splay: true,
            no_preconf: true,
            no_locks: !how.locks,
            define: how.define.iter().map(|class| (*class).into()).collect(),
            program: vec![
                "/usr/bin/env".into(),
                format!("DSAU_ROOT={}", root.display()).into(),
                agent.to_str().unwrap().into(),
            ],
            ..RunOptions::default()
        };
        let mut lines = Lines(Vec::new());
        let later = jiff::Span::new().hours(how.hours_later);
        let ending = agent::run(Setup {
            options: &options,
            paths: &paths,
            host: &host,
            machine: &mut Machine::new(&paths, host.clone()),
            sources: &mut Net {
                pair: self,
                from: &on.host,
            },
            sink: &mut lines,
            levels: Levels {
                verbose: how.verbose,
                ..Levels::default()
            },
            now: jiff::Zoned::now().checked_add(later).unwrap(),
            env: std::collections::HashMap::new(),
        });
        Said {
            lines: lines.0,
            status: ending.status,
        }
    }

    /// The bundles that a host left for the other one.
    fn left(&self, by: &Master) -> Vec<PathBuf> {
        let other = if by.host.address == self.a.host.address {
            "b.lab"
        } else {
            "a.lab"
        };
        let dir = by.host.work("rpc_out").join(other);
        let mut found: Vec<PathBuf> = match fs::read_dir(dir) {
            Ok(names) => names.map(|name| name.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        found.sort();
        found
    }

    fn ran(&self) -> String {
        fs::read_to_string(self.b.host.root.path().join("ran")).unwrap_or_default()
    }

    /// Puts a call that is written as `edit` wants beside the one that waits, under the name its digest gives it.
    fn forge(&self, edit: impl Fn(String) -> String) -> PathBuf {
        let real = self.left(&self.a).remove(0);
        let text = edit(fs::read_to_string(&real).unwrap());
        let digest = &blake3::hash(text.as_bytes()).to_hex()[..32];
        let file = real.with_file_name(format!("a.lab_b.lab_Echo_{digest}"));
        fs::write(&file, text).unwrap();
        file
    }
}

/// How a run is made.
struct How {
    peers: &'static str,
    rule: &'static str,
    dry: bool,
    locks: bool,
    verbose: bool,
    hours_later: i64,
    define: &'static [&'static str],
}

const PLAIN: How = How {
    peers: "a.lab b.lab",
    rule: RULE,
    dry: false,
    locks: false,
    verbose: false,
    hours_later: 0,
    define: &[],
};

struct Lines(Vec<String>);

impl Sink for Lines {
    fn out(&mut self, line: &[u8]) {
        self.0.push(line.to_str_lossy().into_owned());
    }

    fn err(&mut self, line: &[u8]) {
        self.out(line);
    }

    fn syslog(&mut self, _: &str, _: &str) {}
}

/// The way from one host to the other: by name to its cfservd, whose files lie below another root.
struct Net<'a> {
    pair: &'a Pair,
    from: &'a Host,
}

struct Through {
    remote: Remote,
    from: PathBuf,
    to: PathBuf,
}

impl Sources for Net<'_> {
    fn open(&mut self, server: &BStr, _: &OpenOptions) -> Result<Box<dyn Source + '_>, SourceError> {
        let to = match server.as_bytes() {
            b"a.lab" => &self.pair.a,
            b"b.lab" => &self.pair.b,
            _ => return Err(SourceError::Unreachable(format!("Unknown host {server}"))),
        };
        let options = sync::Options {
            paths: self.from.paths(),
            port: to.port,
            bind: Some(self.from.address),
            ..sync::Options::default()
        };
        let address: IpAddr = to.host.address;
        Ok(Box::new(Through {
            remote: sync::connect(&address.to_string(), &options)?,
            from: self.from.root.path().into(),
            to: to.host.root.path().into(),
        }))
    }
}

impl Through {
    fn there(&self, path: &Path) -> PathBuf {
        // As text: a slash at the end means something.
        let below = path.to_str().unwrap().strip_prefix(self.from.to_str().unwrap());
        format!("{}{}", self.to.display(), below.unwrap()).into()
    }
}

impl Source for Through {
    fn name(&self) -> &str {
        self.remote.name()
    }

    fn manifest(&mut self, root: &Path, select: &Select) -> Result<Vec<Entry>, SourceError> {
        self.remote.manifest(&self.there(root), select)
    }

    fn unread(&self) -> &[(BString, String)] {
        self.remote.unread()
    }

    fn fetch(&mut self, root: &Path, wanted: &[&Entry], deliver: &mut Deliver<'_>) -> Result<(), SourceError> {
        self.remote.fetch(&self.there(root), wanted, deliver)
    }
}

#[test]
fn a_call_goes_to_the_other_host_and_in_a_later_run_its_answer_comes_back() {
    let pair = pair();
    let how = How {
        locks: true,
        define: &["asked"],
        ..PLAIN
    };
    pair.b(&PLAIN).is_silent();
    pair.a(&how).is_silent();
    assert_eq!((pair.left(&pair.a).len(), pair.ran().as_str()), (1, ""));
    // Not yet answered: it waits, and no second call is made.
    pair.a(&how).is_silent();
    assert_eq!(pair.left(&pair.a).len(), 1);
    pair.b(&PLAIN).is_silent();
    assert_eq!((pair.left(&pair.b).len(), pair.ran().as_str()), (1, "hello\n"));
    // At most once.
    pair.b(&PLAIN).is_silent();
    assert_eq!(pair.ran(), "hello\n");
    let said = pair.a(&how);
    said.says("got hello back").says(": asked");
    assert_eq!((said.lines.len(), said.status), (2, 0), "{:#?}", said.lines);
    assert!(pair.left(&pair.a).is_empty());
    // While it is not due again, what it gave still holds, and nothing is called.
    pair.a(&how).says("got hello back").says(": asked");
    assert!(pair.left(&pair.a).is_empty());
    // Then it is called again, and what it gave last holds until the next answer.
    let later = How { hours_later: 2, ..how };
    pair.a(&later).says("got hello back");
    assert_eq!(pair.left(&pair.a).len(), 1);
    pair.b(&PLAIN).is_silent();
    assert_eq!(pair.ran(), "hello\nhello\n");
    // What is past its time goes on both sides.
    let much_later = How { hours_later: 30, ..how };
    pair.b(&much_later).is_silent();
    assert!(pair.left(&pair.b).is_empty());
    let said = pair.a(&much_later);
    said.says("method Echo: b.lab did not answer in time (expireafter=)");
    assert_eq!((said.status, pair.left(&pair.a)), (1, vec![]));
}

#[test]
fn a_dry_run_sends_nothing_and_says_what_would_be_sent() {
    let pair = pair();
    let dry = How { dry: true, ..PLAIN };
    pair.a(&dry).says("Method Echo(hello) is to be called on b.lab");
    assert!(!exists(&pair.a.host.work("rpc_out")));
    pair.a(&PLAIN);
    pair.a(&dry)
        .says("The answer of b.lab to method Echo(hello) is to be fetched");
    pair.b(&dry).says("Method Echo(hello) is to be carried out for a.lab");
    assert!(!exists(&pair.b.host.work("rpc_out")) && pair.ran().is_empty());
    // It was not taken for carried out.
    pair.b(&PLAIN).is_silent();
    assert_eq!(pair.ran(), "hello\n");
}

#[test]
fn only_hosts_of_method_peers_are_called_and_asked() {
    let pair = pair();
    let said = pair.a(&How {
        peers: "a.lab c.lab",
        ..PLAIN
    });
    said.says("method Echo: b.lab is not one of MethodPeers");
    assert!(said.status == 1 && !exists(&pair.a.host.work("rpc_out")));
    pair.a(&PLAIN);
    let said = pair.b(&How {
        peers: "b.lab c.lab",
        ..PLAIN
    });
    said.says("method Echo: c.lab cannot be reached: Unknown host c.lab");
    assert!(said.status == 1 && pair.ran().is_empty());
    // A name without a domain is one of our domain.
    pair.b(&How { peers: "a b", ..PLAIN }).is_silent();
    assert_eq!(pair.ran(), "hello\n");
}

#[test]
fn a_call_that_is_not_what_it_says_is_told_and_the_others_are_carried_out() {
    let pair = pair();
    pair.a(&PLAIN);
    let real = pair.left(&pair.a).remove(0);
    let call = fs::read_to_string(&real).unwrap();
    let beside = |digit: &str| real.with_file_name(format!("a.lab_b.lab_Echo_{}", digit.repeat(32)));
    fs::write(beside("0"), &call).unwrap();
    fs::write(beside("1"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fs::write(real.with_file_name("a.lab_b.lab_Echo_short"), &call).unwrap();
    pair.forge(|text| text.replace("SERVER: b.lab", "SERVER: c.lab"));
    pair.forge(|text| text.replace("REPLYTO: a.lab", "REPLYTO: c.lab"));
    pair.forge(|text| text.replace("REPLYTO: a.lab", "REPLYTO: ../../etc"));
    let expires = call.lines().find(|line| line.starts_with("EXPIRES: ")).unwrap();
    pair.forge(|text| text.replace(expires, "EXPIRES: 99999999999"));
    pair.forge(|text| text.replace(expires, "EXPIRES: 1"));
    pair.forge(|_| "junk".into());
    pair.forge(|text| text.replace("ATTACH-ARG: hello\n", "ATTACH-ARG: other\n"));
    let said = pair.b(&PLAIN);
    for why in [
        "of a.lab is not taken: it is not what its digest says",
        "of a.lab is not taken: it is too large",
        "of a.lab is not taken: it is one of c.lab",
        "a call of a.lab is not taken: its answer should go to c.lab, which is not one of MethodPeers",
        "of a.lab is not taken: it names a host that cannot be",
        "of a.lab is not taken: it counts longer than a call may",
        "of a.lab is not taken: it does not begin and end as a bundle does",
    ] {
        said.says(why);
    }
    assert_eq!((said.lines.len(), said.status), (7, 1), "{:#?}", said.lines);
    let mut ran: Vec<String> = pair.ran().lines().map(str::to_string).collect();
    ran.sort();
    assert_eq!(ran, ["hello", "other"]);
    assert_eq!(pair.left(&pair.b).len(), 2);
}

#[test]
fn what_was_answered_once_is_not_carried_out_again_whoever_brings_it() {
    let pair = pair();
    pair.a(&PLAIN);
    let real = pair.left(&pair.a).remove(0);
    let call = fs::read(&real).unwrap();
    pair.b(&PLAIN).is_silent();
    let reply = pair.left(&pair.b).remove(0);
    let first = fs::read(&reply).unwrap();
    pair.a(&PLAIN).says("got hello back");
    fs::write(&real, &call).unwrap();
    fs::write(
        real.with_file_name(format!("x_{}", real.file_name().unwrap().to_str().unwrap())),
        &call,
    )
    .unwrap();
    fs::remove_file(&reply).unwrap();
    pair.b(&PLAIN).is_silent();
    assert_eq!((pair.ran().as_str(), pair.left(&pair.b).len()), ("hello\n", 0));
    fs::remove_dir_all(real.parent().unwrap()).unwrap();
    // An old answer is none to a new call.
    pair.a(&PLAIN);
    let mut name = pair.left(&pair.a).remove(0).file_name().unwrap().to_owned();
    name.push(".reply");
    fs::create_dir_all(reply.parent().unwrap()).unwrap();
    fs::write(reply.with_file_name(name), first).unwrap();
    pair.a(&PLAIN)
        .says("method Echo: the answer of b.lab is not taken: it is one to another call");
}

#[test]
fn an_answer_gives_no_more_than_was_asked_for_and_its_text_is_only_text() {
    let pair = pair();
    pair.a(&PLAIN);
    pair.b(&PLAIN).is_silent();
    let reply = pair.left(&pair.b).remove(0);
    let text = fs::read_to_string(&reply).unwrap();
    let value = text.lines().find(|line| line.starts_with("RETURNVAR: ")).unwrap();
    let edited = text.replace(value, "RETURNVAR: $(secret)\nRETURNVAR: evil").replace(
        "RETURNCLASS: linux\n",
        "RETURNCLASS: linux\nRETURNCLASS: evil\nRETURNCLASS: any\n",
    );
    // Names that are none are no answer at all.
    fs::write(&reply, text.replace("RETURNCLASS: linux", "RETURNCLASS: a.b")).unwrap();
    pair.a(&PLAIN)
        .says("method Echo: the answer of b.lab is not taken: it names a class that cannot be");
    fs::write(&reply, vec![b'x'; (1 << 20) + 1]).unwrap();
    pair.a(&PLAIN)
        .says("method Echo: the answer of b.lab is not taken: it is too large");
    fs::write(&reply, edited).unwrap();
    let said = pair.a(&How { verbose: true, ..PLAIN });
    said.says("Class evil of method Echo was not asked for");
    let wrong = ["WRONG", "hidden", "evil: evil"];
    let told = |line: &&String| {
        wrong
            .iter()
            .any(|word| line.contains(word) && !line.contains("Defined"))
    };
    assert_eq!(said.lines.iter().find(told), None, "{:#?}", said.lines);
    // The shell got it as text, and made of it what shells do.
    assert!(
        said.lines.iter().any(|line| line.contains("echo got $(secret)")),
        "{:#?}",
        said.lines
    );
}

#[test]
fn what_goes_wrong_there_or_on_the_way_is_a_promise_not_kept_that_says_what() {
    let pair = pair();
    pair.a(&PLAIN);
    // The method cannot be run: both hosts say so.
    fs::rename(
        pair.b.host.root.path().join("modules/cf.echo"),
        pair.b.host.root.path().join("away"),
    )
    .unwrap();
    let said = pair.b(&PLAIN);
    said.says("method Echo: called by a.lab: it ended with status 1");
    assert_eq!(said.status, 1);
    let said = pair.a(&PLAIN);
    said.says("method Echo: b.lab: it ended with status 1");
    assert_eq!((said.status, pair.left(&pair.a)), (1, vec![]));
    // It is not admitted.
    pair.a(&PLAIN);
    let admitted = fs::read_to_string(pair.b.host.work("inputs/cfservd.conf")).unwrap();
    fs::write(
        pair.b.host.work("inputs/cfservd.conf"),
        admitted.replace("rpc_out", "elsewhere"),
    )
    .unwrap();
    pair.b.says("read again");
    let said = pair.a(&PLAIN);
    said.says("method Echo: b.lab does not admit this host: ");
    assert_eq!((said.status, pair.left(&pair.a).len()), (1, 1), "the call still waits");
    // Its key is not the one we know.
    let other = Host::new("127.0.0.4");
    fs::write(
        pair.a.host.work("ppkeys/root-127.0.0.3.pub"),
        fs::read(other.work("ppkeys/localhost.pub")).unwrap(),
    )
    .unwrap();
    pair.a(&PLAIN)
        .says("method Echo: b.lab and this host do not know each other: ");
}
