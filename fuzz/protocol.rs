//! Bodies for what a peer sends: frames, the session of a server, the manifest a client reads. See `bodies`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bstr::{BStr, BString, ByteSlice};
use dsau::fsx::Kind;
use dsau::serve::{Config, Session, Step};
use dsau::sync::{Listing, Manifest};
use dsau::wire::{self, HEADER, MAX_REPLY, MAX_REQUEST, Reply, Request};

/// The clock of the server.
const NOW: i64 = 1_700_000_000;

/// Bytes from a peer are whole frames and then an end or an error. What a frame says is read to its last byte or not at
/// all: written again it has the same bytes. What came packed is frames of which the same holds.
pub fn frames(input: &[u8]) {
    let mut from = input;
    loop {
        let before = from;
        let Ok(read) = wire::read_frame(&mut from, MAX_REPLY) else {
            break;
        };
        let Some((header, payload)) = read else {
            assert!(before.is_empty());
            break;
        };
        assert!(header.len == payload.len() && header.len <= MAX_REPLY);
        let frame = &before[..HEADER + header.len];
        if let Ok(request) = Request::decode(header, &payload)
            && header.len <= MAX_REQUEST
        {
            let mut again = Vec::new();
            request
                .encode(header.id, &mut again)
                .expect("what was read can be sent");
            assert_eq!(again.as_bstr(), frame.as_bstr());
        }
        let mut inside = Vec::new();
        match wire::unpack(header, &payload, &mut inside) {
            Ok(()) => packed(&inside),
            Err(_) => assert!(inside.is_empty()),
        }
        if let Ok(reply) = Reply::decode(header, payload) {
            assert!(!header.is_packed());
            let mut again = Vec::new();
            reply.encode(header.id, &mut again).expect("what was read can be sent");
            assert_eq!(again.as_bstr(), frame.as_bstr());
        }
    }
    // A manifest that was kept is read back from a disk.
    if let Ok(entries) = wire::take_entries(input) {
        let mut again = Vec::new();
        for entry in &entries {
            assert!(wire::relative(entry.path.as_bstr()));
            wire::put_entry(entry, &mut again).expect("what was read can be kept");
        }
        assert_eq!(again.as_bstr(), input.as_bstr());
    }
}

/// What was packed is whole frames, none of them packed again, and comes out the same when it is packed by us.
fn packed(inside: &[u8]) {
    assert!(!inside.is_empty() && inside.len() <= wire::MAX_UNPACKED);
    let mut from = inside;
    while let Some((header, _)) = wire::read_frame(&mut from, MAX_REPLY).expect("whole frames") {
        assert!(!header.is_packed());
    }
    let (mut packer, mut rest) = (wire::Packer::default(), inside);
    let mut ours = packer.take(&mut rest);
    assert!(rest.is_empty() && ours.len() <= inside.len());
    let (header, payload) = wire::read_frame(&mut ours, MAX_REPLY)
        .expect("our frame is one")
        .expect("there is one");
    if header.is_packed() {
        let mut again = Vec::new();
        wire::unpack(header, &payload, &mut again).expect("what we pack can be unpacked");
        assert_eq!(again.as_bstr(), inside.as_bstr());
    }
    frames(inside);
}

/// Absolute, and nothing in it goes up or is empty.
fn sound(root: &BStr) -> bool {
    root.strip_prefix(b"/")
        .is_some_and(|rest| wire::relative(rest.strip_suffix(b"/").unwrap_or(rest).as_bstr()))
}

/// The session of a server: the first byte says how the host is set up, the others are what a client sends. Nothing is
/// done for whom nobody welcomed, paths are sound, content belongs to its fetch, and no options of a client make the agent
/// run another policy or pass its locks.
pub fn session(input: &[u8]) {
    let Some((&sort, mut from)) = input.split_first() else {
        return;
    };
    let bit = |number: u8| sort >> number & 1 == 1;
    let known = !bit(0);
    let mut config = Config {
        command: vec!["/opt/dsau/sbin/cfagent".into()],
        deny_bad_clocks: bit(2),
        ..Config::default()
    };
    if !bit(1) {
        config.users = vec!["root".into()];
    }
    config.classes.insert("linux".into());
    let mut session = Session::default();
    let (mut welcomed, mut chunks) = (false, false);
    let mut fetch: Option<(u32, BString)> = None;
    while let Ok(Some((header, payload))) = wire::read_frame(&mut from, MAX_REQUEST) {
        // Both lead to the end of the connection.
        let Ok(request) = Request::decode(header, &payload) else {
            break;
        };
        let asked = request.clone();
        let mut asked_who = 0;
        let step = session.take(&config, NOW, header.id, request, &mut |user| {
            asked_who += 1;
            match known && user == "root" {
                true => Ok(()),
                false => Err("a reason for the log".to_string()),
            }
        });
        assert_eq!(asked_who, usize::from(!welcomed && matches!(asked, Request::Hello(_))));
        match step {
            Step::Welcome { version, features } => {
                let Request::Hello(hello) = &asked else {
                    panic!("{asked:?} was welcomed")
                };
                assert!(known && !welcomed);
                assert!((wire::VERSIONS.0..=wire::VERSIONS.1).contains(&version));
                assert!((hello.versions.0..=hello.versions.1).contains(&version));
                assert!(!config.deny_bad_clocks || NOW.abs_diff(hello.time) <= 3600);
                assert_eq!(features & !(hello.features & wire::FEATURES), 0);
                (welcomed, chunks) = (true, features & wire::CHUNKS != 0);
            }
            Step::Refuse(refusal) => {
                assert!(!refusal.text.contains("a reason for the log"));
                assert!(!refusal.text.is_empty() && !refusal.log.is_empty());
                assert!(refusal.close || welcomed);
                if refusal.close {
                    break;
                }
            }
            _ if !welcomed => panic!("{asked:?} led to something before the greeting"),
            Step::Manifest { root, .. } => {
                assert!(sound(root.as_bstr()) && fetch.is_none(), "{root}");
            }
            Step::Wait => {
                let Request::Fetch { root } = &asked else {
                    panic!("{asked:?} is waited upon")
                };
                assert!(fetch.is_none());
                fetch = Some((header.id, root.clone()));
            }
            Step::Files { root, last, .. } => {
                let (id, asked) = fetch.as_ref().expect("content without a fetch");
                assert!(*id == header.id && sound(root.as_bstr()), "{root}");
                assert!(asked.contains_str("/.") || asked.contains_str("//") || *asked == root);
                if last {
                    fetch = None;
                }
            }
            Step::Cut { root, .. } => assert!(chunks && fetch.is_none() && sound(root.as_bstr()), "{root}"),
            Step::Ranges { root, file, ranges } => {
                assert!(chunks && fetch.is_none() && sound(root.as_bstr()), "{root}");
                let mut done = 0;
                for range in ranges {
                    assert!(range.len > 0 && range.at >= done);
                    done = range.at + range.len;
                }
                assert!(done <= file.size);
            }
            Step::Policy(policy) => {
                assert!(session.fleet() && policy.id.len() <= wire::MAX_NAME);
            }
            Step::Exec { argv, .. } => {
                assert!(config.users.contains(&"root".to_string()) && argv.starts_with(&config.command));
                harmless(&argv);
            }
            Step::Irrelevant => assert!(!config.users.is_empty()),
        }
        assert_eq!(session.greeting(), !welcomed);
    }
}

/// The agent reads these words as its own policy with its locks, or not at all.
fn harmless(argv: &[BString]) {
    thread_local! {
        static AGENT: clap::Command = {
            let tool = dsau::tools::ALL.iter().find(|tool| tool.name == "cfagent");
            (tool.expect("there is a cfagent").command)()
        };
    }
    let words = argv.iter().map(|word| OsStr::from_bytes(word).to_os_string());
    if let Ok(matches) = AGENT.with(Clone::clone).try_get_matches_from(words) {
        for id in ["file", "no-lock", "auto"] {
            let set = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
            assert!(!set, "{id}: {argv:?}");
        }
    }
}

/// A manifest as a client reads it: the first byte says whether it has one, the others are what a server sends. What is
/// believed is a tree: its root first, nothing twice, everything in a directory that came before it; and it is read back
/// from where it is kept as it was.
pub fn manifest(input: &[u8]) {
    let Some((&sort, mut from)) = input.split_first() else {
        return;
    };
    let mut replies = Vec::new();
    while let Ok(Some((header, payload))) = wire::read_frame(&mut from, MAX_REPLY) {
        let Ok(reply) = Reply::decode(header, payload) else {
            break;
        };
        replies.push(reply);
    }
    let known = sort & 1 == 1;
    read(known, replies.clone());
    // A peer knows how to digest what it sends; bytes by chance do not.
    let (mut count, mut body) = (0, Vec::new());
    for reply in &mut replies {
        match reply {
            Reply::Entries(entries) => {
                count += entries.len() as u64;
                for entry in entries {
                    wire::put_entry(entry, &mut body).expect("what was read can be kept");
                }
            }
            Reply::Unread { .. } => {
                let mut frame = Vec::new();
                reply.encode(0, &mut frame).expect("what was read can be sent");
                body.extend_from_slice(&frame[HEADER..]);
            }
            Reply::ManifestEnd { .. } => {
                let digest = dsau::digest::blake3(&body);
                *reply = Reply::ManifestEnd { count, digest };
            }
            _ => {}
        }
    }
    read(known, replies);
}

fn read(known: bool, replies: Vec<Reply>) {
    let mut manifest = Manifest::new(known);
    for reply in replies {
        let last = reply.clone();
        match manifest.take(reply) {
            Err(what) => {
                assert!(!what.is_empty());
                return;
            }
            Ok(None) => {}
            Ok(Some(Listing::Unchanged)) => {
                assert!(known && last == Reply::Unchanged && manifest.body.is_empty());
                return;
            }
            Ok(Some(Listing::Entries(entries, digest))) => {
                assert_eq!(digest, dsau::digest::blake3(&manifest.body));
                assert!(entries.first().is_none_or(|root| root.path.is_empty()));
                let mut kinds: HashMap<&BStr, Kind> = HashMap::new();
                for entry in &entries {
                    let path = entry.path.as_bstr();
                    assert!(wire::relative(path));
                    if !path.is_empty() {
                        let parent = path.rfind_byte(b'/').map_or(b"".as_bstr(), |at| path[..at].as_bstr());
                        assert_eq!(kinds.get(parent), Some(&Kind::Dir), "{path}");
                    }
                    assert!(kinds.insert(path, entry.kind).is_none(), "{path} came twice");
                }
                for (path, why) in &manifest.unread {
                    assert!(wire::relative(path.as_bstr()) && !why.chars().any(|c| c.is_control() && c != '\t'));
                }
                if manifest.unread.is_empty() {
                    let kept = wire::take_entries(&manifest.body).expect("what was believed is read back");
                    assert_eq!(kept, entries);
                }
                return;
            }
        }
    }
}
