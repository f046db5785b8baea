//! What a server sends, packed: whole on arrival, fewer bytes on the way, and only where it was asked for and allowed.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use dsau::sys::Paths;
use dsau::tls::{Deadline, Identity, ServerStream};
use dsau::wire::{self, Code, Reply};

use crate::agent_once::{self, Said};
use crate::cfservd::{Host, Master};
use crate::large::{Proxy, noise};

/// A master with a tree, a client, and a proxy between them that counts.
struct Site {
    master: Master,
    client: Host,
    proxy: Proxy,
}

/// Text as configuration is: no two lines alike, and much in common.
fn text(seed: usize, lines: usize) -> String {
    let line = |i: usize| {
        let number = (seed * 7919 + i) * 2_654_435_761 % 1_000_003;
        format!("option_{number} = value of the {i}th setting of file {seed}\n")
    };
    (0..lines).map(line).collect()
}

impl Site {
    /// `words` are options of the server, `control` is in the server's policy.
    fn new(words: &[&str], control: &str) -> Site {
        let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.1"));
        server.meets(&client);
        let policy = format!(
            "control:\n AllowMultipleConnectionsFrom = ( 127. )\n{control}admit:\n $ROOT/srv 127.0.0.1 root=127.0.0.1\n"
        );
        let master = Master::start_by(server, &policy, Command::new("env"), words);
        let proxy = Proxy::to(master.port);
        Site { master, client, proxy }
    }

    /// A tree of text: many small files and a large one.
    fn texts(&self) {
        for i in 0..120 {
            self.master
                .host
                .write(&format!("srv/d{}/f{i}", i % 9), &text(i, 20 + i % 50));
        }
        self.master.host.write("srv/large", &text(1000, 8_000));
        self.master.host.write("srv/empty", "");
    }

    /// Copies the tree to where nothing is yet; gives how many bytes came.
    #[track_caller]
    fn copies(&self, control: &str) -> usize {
        let copy = self.client.root.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        let before = self.proxy.came();
        let said = self.run(control);
        assert_eq!((said.status, said.counts.failed), (0, 0), "{:#?}", said.lines);
        self.is_whole();
        usize::try_from(self.proxy.came() - before).unwrap()
    }

    fn run(&self, control: &str) -> Said {
        let policy = format!(
            "control:\n actionsequence = ( copy )\n{control}copy:\n {} dest={} recurse=inf server=127.0.0.1 \
             type=checksum backup=false\n",
            self.master.host.root.path().join("srv").display(),
            self.client.root.path().join("copy").display(),
        );
        let policy = self.client.write("p.cf", &policy);
        agent_once::run(&Paths::under(self.client.root.path()), &policy, self.proxy.port)
    }

    /// The copy is what the master has.
    #[track_caller]
    fn is_whole(&self) {
        let diff = Command::new("diff")
            .arg("-r")
            .arg(self.master.host.root.path().join("srv"))
            .arg(self.client.root.path().join("copy"))
            .output()
            .unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    }

    /// Bytes of content on the master.
    fn content(&self) -> usize {
        let sum = |dir: &str| {
            let files = fs::read_dir(self.master.host.root.path().join(dir));
            files
                .into_iter()
                .flatten()
                .map(|file| file.unwrap().metadata().unwrap())
                .filter(fs::Metadata::is_file)
                .map(|meta| usize::try_from(meta.len()).unwrap())
                .sum::<usize>()
        };
        sum("srv") + (0..9).map(|d| sum(&format!("srv/d{d}"))).sum::<usize>()
    }
}

const ON: &str = " Compress = ( on )\n";
const OFF: &str = " Compress = ( off )\n";
const AUTO: &str = " Compress = ( auto )\n";

/// Both forms of the server.
const FORMS: [&[&str]; 2] = [&[], &["--one-process"]];

#[test]
fn a_tree_of_text_comes_whole_in_a_third_of_its_bytes_where_the_policy_wants_it_packed() {
    for form in FORMS {
        let site = Site::new(form, "");
        site.texts();
        let content = site.content();
        let on = site.copies(ON);
        assert!(on * 3 < content, "{form:?}: {on} of {content}");
        for control in [OFF, AUTO, ""] {
            let plain = site.copies(control);
            assert!(plain > content, "{form:?} {control}: {plain} of {content}");
        }
    }
}

#[test]
fn a_server_that_does_not_want_it_packs_nothing() {
    for form in FORMS {
        let site = Site::new(form, OFF);
        site.texts();
        let on = site.copies(ON);
        assert!(on > site.content(), "{form:?}: {on}");
        for word in [AUTO, ON] {
            let site = Site::new(form, word);
            site.texts();
            let on = site.copies(ON);
            assert!(on * 3 < site.content(), "{form:?} {word}: {on}");
        }
    }
}

#[test]
fn what_does_not_shrink_costs_nothing_more() {
    for form in FORMS {
        let site = Site::new(form, "");
        for i in 0..40 {
            let path = site.master.host.write(&format!("srv/f{i}"), "");
            fs::write(path, noise(2 * i + 1001, 20_000)).unwrap();
        }
        let large = site.master.host.write("srv/large", "");
        fs::write(large, noise(99, 1_500_000)).unwrap();
        // From the second run on the list of the tree is known, and does not come.
        site.copies(OFF);
        let (on, off) = (site.copies(ON), site.copies(OFF));
        assert!(on <= off + 500, "{form:?}: {on}, {off} unpacked");
        assert!(on > site.content(), "{form:?}: {on}");
    }
}

#[test]
fn of_a_large_file_that_changed_little_comes_less_than_little_and_a_cut_transfer_goes_on() {
    let site = Site::new(&[], "");
    let mut content = text(1, 120_000);
    site.master.host.write("srv/large", &content);
    let whole = site.copies(ON);
    assert!(whole * 3 < content.len(), "{whole} of {}", content.len());
    // Something else in the middle: only the chunks around it come, and they come packed.
    let other = text(2, 10_000);
    content.replace_range(2_000_000..2_000_000 + other.len(), &other);
    site.master.host.write("srv/large", &content);
    let changed = |control: &str| {
        let before = site.proxy.came();
        let said = site.run(control);
        assert_eq!((said.status, said.counts.repaired), (0, 1), "{:#?}", said.lines);
        site.is_whole();
        usize::try_from(site.proxy.came() - before).unwrap()
    };
    let on = changed(ON);
    assert!(on * 2 < other.len(), "{on} of {}", other.len());
    // A transfer that was cut off has left a part of which nothing comes again.
    content = text(3, 120_000);
    site.master.host.write("srv/large", &content);
    site.proxy.cut_after(800_000);
    let said = site.run(ON);
    assert_eq!((said.status, said.counts.failed), (1, 1), "{:#?}", said.lines);
    site.proxy.allow(u64::MAX);
    let rest = changed(ON);
    assert!(rest < whole - 500_000, "{rest} of {whole}");
}

/// A server of our own: it welcomes with these features, answers the first request with these bytes, and hangs up when the
/// client has.
fn hostile(features: u32, answer: Vec<u8>) -> (Host, u16, Host) {
    let (server, client) = (Host::new("127.0.0.1"), Host::new("127.0.0.1"));
    server.meets(&client);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = Identity::new(&server.store().load_local().unwrap()).unwrap();
    thread::spawn(move || {
        let wait = Deadline::after(Duration::from_secs(20));
        let (mut stream, _) = identity.accept(listener.accept().unwrap().0, wait).unwrap();
        let read = |stream: &mut ServerStream| wire::read_frame(stream, wire::MAX_REQUEST).unwrap();
        let _hello = read(&mut stream);
        let welcome = Reply::Welcome {
            version: 1,
            features,
            time: 0,
            program: "test".into(),
        };
        welcome.encode(0, stream.buffer()).unwrap();
        while let Some((header, _)) = read(&mut stream) {
            if header.id != 0 {
                stream.send(&answer).unwrap();
            }
        }
    });
    (server, port, client)
}

/// PACKED with these frames in it, and what it says of their length and its number.
fn frame(inside: &[u8], size: usize, id: u32) -> Vec<u8> {
    let block = lz4_flex::block::compress(inside);
    let mut bytes = u32::try_from(block.len() + 4).unwrap().to_be_bytes().to_vec();
    bytes.push(0x92);
    bytes.extend(id.to_be_bytes());
    bytes.extend(u32::try_from(size).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

#[test]
fn a_server_that_packs_badly_or_unasked_is_told_of_and_nothing_of_it_is_used() {
    let mut good = Vec::new();
    let text = "no such thing ".repeat(30);
    let error = Reply::Error {
        code: Code::Refused,
        text: text.as_str().into(),
    };
    error.encode(1, &mut good).unwrap();
    let size = good.len();
    let twice = frame(&good, size, 0);
    let long = [&good[..], &[0, 0, 0, 9, 0x89, 0, 0, 0, 1]].concat();
    let broken = "a packed piece has no valid value";
    let unknown = "frame type 0x92 is not known here";
    let three = wire::FEATURES & !wire::PACKED;
    for (control, features, answer, why) in [
        (ON, wire::FEATURES, frame(&good, size, 0), text.trim()),
        (ON, wire::FEATURES, good.clone(), text.trim()),
        (ON, wire::FEATURES, frame(&good, size + 1, 0), broken),
        (ON, wire::FEATURES, frame(&good, size - 1, 0), broken),
        (ON, wire::FEATURES, frame(&good[..size - 1], size - 1, 0), broken),
        (ON, wire::FEATURES, frame(&long, long.len(), 0), broken),
        (ON, wire::FEATURES, frame(&twice, twice.len(), 0), broken),
        (ON, wire::FEATURES, frame(&[], 0, 0), broken),
        (
            ON,
            wire::FEATURES,
            frame(&good, 1 << 30, 0),
            "is over the limit of 131081",
        ),
        (
            ON,
            wire::FEATURES,
            frame(&good, size, 1),
            "the number of a packed piece",
        ),
        (
            ON,
            wire::FEATURES,
            vec![0, 2, 0, 1, 0x92, 0, 0, 0, 0],
            "over the limit of 131072",
        ),
        // It was not asked for, or the server has not said that it does it.
        (OFF, wire::FEATURES, frame(&good, size, 0), unknown),
        (ON, three, frame(&good, size, 0), unknown),
        (AUTO, wire::FEATURES, frame(&good, size, 0), unknown),
    ] {
        let (server, port, client) = hostile(features, answer.clone());
        let policy = format!(
            "control:\n actionsequence = ( copy )\n{control}copy:\n {} dest={} recurse=inf server=127.0.0.1\n",
            server.root.path().join("srv").display(),
            client.root.path().join("copy").display(),
        );
        let policy = client.write("p.cf", &policy);
        let said = agent_once::run(&Paths::under(client.root.path()), &policy, port);
        let lines = said.lines.join("\n");
        assert!(lines.contains(why), "{control} {features} {answer:x?}: {lines}");
        assert!(said.status == 1 && !client.root.path().join("copy").exists(), "{lines}");
    }
}

#[test]
fn a_word_that_is_none_of_the_three_is_an_error_with_its_place() {
    let host = Host::new("127.0.0.1");
    for (word, hint) in [("sometimes", ""), ("of", "did you mean 'off'"), ("", ""), ("yes", "")] {
        let file = host.write(
            "p.cf",
            &format!("control:\n actionsequence = ( )\n Compress = ( \"{word}\" )\n"),
        );
        for program in ["cfagent", "cfservd"] {
            let program = match program {
                "cfagent" => assert_cmd::cargo::cargo_bin!("cfagent"),
                _ => assert_cmd::cargo::cargo_bin!("cfservd"),
            };
            let ran = Command::new(program)
                .arg("-p")
                .arg("-f")
                .arg(&file)
                .env("DSAU_ROOT", host.root.path())
                .output()
                .unwrap();
            let said = [ran.stdout, ran.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let sentence = format!("Compress is auto, on or off, not {word}");
            assert!(said.contains(&sentence) && said.contains("p.cf:3:2"), "{said}");
            assert!(said.contains(hint), "{said}");
            assert!(!ran.status.success(), "{said}");
        }
    }
    for word in ["auto", "ON", "Off", "$(elsewhere)"] {
        let file = host.write(
            "p.cf",
            &format!("control:\n actionsequence = ( )\n Compress = ( {word} )\n"),
        );
        let ran = Command::new(assert_cmd::cargo::cargo_bin!("cfagent"))
            .args(["-p", "-f"])
            .arg(&file)
            .env("DSAU_ROOT", host.root.path())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{word}: {}", String::from_utf8_lossy(&ran.stdout));
    }
}
