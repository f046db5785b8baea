//! Replays what the fuzzer found (`fuzz/corpus`): the same bodies as its targets, without the fuzzer. What a peer sends is
//! also made here, in good order and then damaged.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use dsau::fsx::{Entry, Kind, Select};
use dsau::wire::{Hello, Range, Reply, Request, Want};
use proptest::prelude::*;

use crate::malformed;

/// All files of the corpus of a target, sorted.
fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Runs a body over its corpus; a panic names the file.
fn replay(target: &str, body: fn(&[u8])) {
    let files = corpus(target);
    assert!(files.len() >= 8, "{target}: only {} files", files.len());
    for file in files {
        let input = std::fs::read(&file).unwrap();
        if std::panic::catch_unwind(|| body(&input)).is_err() {
            panic!("{}", file.display());
        }
    }
}

#[test]
fn every_policy_the_fuzzer_found_is_read_and_printed() {
    replay("policy", bodies::policy);
}

#[test]
fn every_class_expression_the_fuzzer_found_means_what_it_says() {
    replay("class", bodies::class);
}

#[test]
fn every_expansion_the_fuzzer_found_stays_within_its_bounds() {
    replay("expand", bodies::expand);
}

#[test]
fn every_edit_the_fuzzer_found_ends_and_settles_where_it_should() {
    replay("editfiles", bodies::editfiles);
}

#[test]
fn every_frame_the_fuzzer_found_is_read_whole_or_refused() {
    replay("frames", bodies::protocol::frames);
}

#[test]
fn every_session_the_fuzzer_found_does_nothing_that_is_not_granted() {
    replay("session", bodies::protocol::session);
}

#[test]
fn every_manifest_the_fuzzer_found_is_a_tree_or_refused() {
    replay("manifest", bodies::protocol::manifest);
}

#[test]
fn every_list_of_chunks_the_fuzzer_found_makes_the_file_or_nothing() {
    replay("chunks", bodies::chunks::chunks);
}

#[test]
fn every_malformed_request_of_the_list_leads_a_session_to_nothing() {
    let requests = malformed::requests("/srv", 1_700_000_000);
    let [hello, manifest, fetch, want, exec, cut, ranges] = &requests[..] else {
        panic!("{} requests", requests.len())
    };
    let starts = [
        Vec::new(),
        hello.frame(1),
        [hello.frame(1), fetch.frame(9)].concat(),
        [hello, manifest, exec, cut, ranges, fetch, want]
            .map(|good| good.frame(9))
            .concat(),
    ];
    let mut count = 0;
    for sort in 0..8u8 {
        for start in &starts {
            let all = requests.iter().flat_map(|request| request.malformed(9));
            for bytes in all
                .map(|bad| bad.bytes)
                .chain(requests.iter().map(|good| good.frame(9)))
            {
                bodies::protocol::session(&[&[sort], &start[..], &bytes].concat());
                bodies::protocol::frames(&bytes);
                count += 1;
            }
        }
    }
    assert!(count > 5000, "{count}");
}

/// Bytes of which some are others.
fn mutated(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (changes, proptest::option::weighted(0.2, any::<prop::sample::Index>()))
}

fn request() -> impl Strategy<Value = Request> {
    let text = || "(/|\\.\\.|-|K|f|=|[a-z ]|\\PC){0,12}".prop_map(BString::from);
    let texts = || proptest::collection::vec(text(), 0..4);
    let hello = (0..3u16, 0..3u16, prop_oneof![Just("root"), Just("mark")], any::<bool>());
    let want = || {
        (text(), any::<u64>()).prop_map(|(path, size)| Want {
            path,
            size,
            mtime: 0,
            digest: None,
        })
    };
    prop_oneof![
        hello.prop_map(|(low, high, user, late)| Request::Hello(Hello {
            versions: (low, high),
            features: 1,
            time: if late { 0 } else { 1_700_000_000 },
            user: user.into(),
            program: "test".into(),
        })),
        (text(), texts()).prop_map(|(root, include)| Request::Manifest {
            root,
            known: None,
            select: Select {
                include,
                ..Select::default()
            },
        }),
        text().prop_map(|root| Request::Fetch { root }),
        (any::<bool>(), proptest::collection::vec(want(), 0..4))
            .prop_map(|(last, files)| Request::Want { last, files }),
        (texts(), texts()).prop_map(|(args, classes)| Request::Exec { args, classes }),
        (text(), want()).prop_map(|(root, file)| Request::Cut { root, file }),
        (text(), want(), any::<[u8; 4]>()).prop_map(|(root, file, [a, b, c, d])| Request::Ranges {
            root,
            file,
            ranges: vec![
                Range {
                    at: a.into(),
                    len: b.into()
                },
                Range {
                    at: c.into(),
                    len: d.into()
                },
            ],
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![Just(Kind::File), Just(Kind::Dir), Just(Kind::Dir), Just(Kind::Link)];
    let path = prop_oneof![Just(String::new()), "[ab]", "[ab]/[ab]", "[ab]/[ab]/[ab.]"];
    (path, kind, any::<u32>()).prop_map(|(path, kind, number)| Entry {
        path: path.into(),
        kind,
        mode: number & 0o7777,
        uid: 0,
        gid: 0,
        size: u64::from(number),
        mtime: i128::from(number),
        ctime: -i128::from(number),
        inode: (1, u64::from(number)),
        nlink: 1,
        target: BString::default(),
        digest: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_of_requests_some_of_which_are_damaged_does_nothing_that_is_not_granted(
        sort in any::<u8>(), ids in any::<bool>(), requests in proptest::collection::vec(request(), 0..8), changes in changes(),
    ) {
        let mut bytes = Vec::new();
        for (id, request) in (1..).zip(&requests) {
            request.encode(if ids { 7 } else { id }, &mut bytes).unwrap();
        }
        let bytes = mutated(bytes, &changes.0, changes.1);
        bodies::protocol::frames(&bytes);
        bodies::protocol::session(&[&[sort], &bytes[..]].concat());
    }

    #[test]
    fn a_manifest_in_any_order_and_with_damage_is_a_tree_or_refused(
        known in any::<u8>(), sorted in any::<bool>(), entries in proptest::collection::vec(entry(), 0..12),
        unread in proptest::option::of("[ab]{0,2}"), end in any::<bool>(), changes in changes(),
    ) {
        let mut entries = entries;
        if sorted {
            entries.sort_by(|a, b| a.path.split_str("/").cmp(b.path.split_str("/")));
            entries.dedup_by(|a, b| a.path == b.path);
        }
        let mut replies = vec![Reply::Alive, Reply::Entries(entries)];
        replies.extend(unread.map(|path| Reply::Unread { path: path.into(), text: "a cause\u{1b}[2J".into() }));
        replies.push(if end { Reply::ManifestEnd { count: 0, digest: [0; 32] } } else { Reply::Unchanged });
        let mut bytes = Vec::new();
        for reply in &replies {
            reply.encode(7, &mut bytes).unwrap();
        }
        let (mut packer, mut rest) = (dsau::wire::Packer::default(), &bytes[..]);
        let packed = packer.take(&mut rest).to_vec();
        bodies::protocol::frames(&mutated(packed, &changes.0, changes.1));
        let bytes = mutated(bytes, &changes.0, changes.1);
        bodies::protocol::frames(&bytes);
        bodies::protocol::manifest(&[&[known], &bytes[..]].concat());
    }
}
