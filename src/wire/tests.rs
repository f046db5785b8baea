//! Properties: what is encoded is decoded to the same, and no bytes of a peer do harm.

use bstr::BString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::digest::Chunk;
use crate::fsx::{Entry, Kind, Select};

fn text(max: usize) -> impl Strategy<Value = BString> {
    vec(any::<u8>(), 0..max).prop_map(BString::from)
}

fn time() -> impl Strategy<Value = i128> {
    (any::<i64>(), 0i128..1_000_000_000).prop_map(|(s, n)| i128::from(s) * 1_000_000_000 + n)
}

fn digest() -> impl Strategy<Value = Option<[u8; 32]>> {
    option::of(any::<[u8; 32]>())
}

fn path() -> impl Strategy<Value = BString> {
    vec("[a-z\u{e9} *-]{1,9}", 0..4).prop_map(|parts| parts.join("/").into())
}

prop_compose! {
    fn entry()(
        path in path(),
        kind in prop_oneof![Just(Kind::File), Just(Kind::Dir), Just(Kind::Link), Just(Kind::Fifo), Just(Kind::Socket),
            any::<u64>().prop_map(Kind::Char), any::<u64>().prop_map(Kind::Block)],
        mode in 0u32..0o10000, owner in any::<(u32, u32)>(), size in any::<u64>(), times in (time(), time()),
        inode in any::<(u64, u64)>(), nlink in any::<u64>(), target in text(50), digest in digest(),
    ) -> Entry {
        Entry { path, kind, mode, uid: owner.0, gid: owner.1, size, mtime: times.0, ctime: times.1, inode, nlink,
            target, digest }
    }
}

prop_compose! {
    fn select()(recurse in any::<u32>(), flags in any::<(bool, bool)>(), include in vec(text(20), 0..4),
        exclude in vec(text(20), 0..4), ignore in vec(text(20), 0..4)) -> Select {
        Select { recurse, include, exclude, ignore, xdev: flags.0, digest: flags.1 }
    }
}

fn want() -> impl Strategy<Value = Want> {
    (path(), any::<u64>(), time(), digest()).prop_map(|(path, size, mtime, digest)| Want {
        path,
        size,
        mtime,
        digest,
    })
}

/// Gaps and lengths that stay within a file which is as long as they ask for.
fn ranges() -> impl Strategy<Value = (Want, Vec<Range>)> {
    (want(), vec((0u64..1 << 40, 1u64..1 << 40), 0..20), any::<u32>()).prop_map(|(mut file, parts, more)| {
        let mut done = 0;
        let mut ranges = Vec::new();
        for (gap, len) in parts {
            ranges.push(Range { at: done + gap, len });
            done += gap + len;
        }
        file.size = done + u64::from(more);
        (file, ranges)
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<(u16, u16)>(), any::<u32>(), any::<i64>(), text(64), text(64)).prop_map(
            |(versions, features, time, user, program)| Request::Hello(Hello {
                versions,
                features,
                time,
                user,
                program
            })
        ),
        (text(200), digest(), select()).prop_map(|(root, known, select)| Request::Manifest { root, known, select }),
        text(200).prop_map(|root| Request::Fetch { root }),
        (any::<bool>(), vec(want(), 0..20)).prop_map(|(last, files)| Request::Want { last, files }),
        (vec(text(50), 0..9), vec(text(50), 0..9)).prop_map(|(args, classes)| Request::Exec { args, classes }),
        (text(200), want()).prop_map(|(root, file)| Request::Cut { root, file }),
        (text(64), any::<i64>(), text(64)).prop_map(|(id, since, version)| Request::Policy(Policy {
            id,
            since,
            version
        })),
        (text(200), ranges()).prop_map(|(root, (file, ranges))| Request::Ranges { root, file, ranges }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let code = prop_oneof![
        Just(Code::Refused),
        Just(Code::Missing),
        Just(Code::Busy),
        Just(Code::Limit)
    ];
    prop_oneof![
        (any::<u16>(), any::<u32>(), any::<i64>(), text(64)).prop_map(|(version, features, time, program)| {
            Reply::Welcome {
                version,
                features,
                time,
                program,
            }
        }),
        vec(entry(), 0..20).prop_map(Reply::Entries),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(count, digest)| Reply::ManifestEnd { count, digest }),
        (path(), text(60)).prop_map(|(path, text)| Reply::Unread { path, text }),
        Just(Reply::Unchanged),
        any::<u64>().prop_map(|size| Reply::File { size }),
        vec(any::<u8>(), 0..500).prop_map(Reply::Data),
        any::<[u8; 32]>().prop_map(|digest| Reply::FileEnd { digest }),
        (code.clone(), text(100)).prop_map(|(code, text)| Reply::FileError { code, text }),
        vec((1u32.., any::<[u8; 16]>()), 0..50)
            .prop_map(|chunks| Reply::Chunks(chunks.into_iter().map(|(len, id)| Chunk { len, id }).collect())),
        Just(Reply::FetchEnd),
        text(100).prop_map(Reply::Line),
        any::<i32>().prop_map(|status| Reply::Exit { status }),
        (any::<[u32; 3]>(), text(64)).prop_map(|([kept, repaired, failed], policy)| {
            Reply::Ran(Ran {
                kept,
                repaired,
                failed,
                policy,
            })
        }),
        (any::<u16>(), text(100)).prop_map(|(again, text)| Reply::Busy { again, text }),
        Just(Reply::Alive),
        (code, text(100)).prop_map(|(code, text)| Reply::Error { code, text }),
    ]
}

proptest! {
    #[test]
    fn a_request_decodes_to_what_was_encoded(request in request(), id in any::<u32>()) {
        let mut bytes = Vec::new();
        request.encode(id, &mut bytes).unwrap();
        let (header, payload) = read_frame(&mut &bytes[..], MAX_REQUEST).unwrap().unwrap();
        prop_assert_eq!(header.id, id);
        prop_assert_eq!(Request::decode(header, &payload).unwrap(), request.clone());
        // One byte less or more is refused.
        prop_assert!(Request::decode(header, &[&payload[..], b"x"].concat()).is_err());
        if !payload.is_empty() {
            prop_assert!(Request::decode(header, &payload[..payload.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_reply_decodes_to_what_was_encoded(reply in reply(), id in any::<u32>()) {
        let mut bytes = Vec::new();
        reply.encode(id, &mut bytes).unwrap();
        let (header, payload) = read_frame(&mut &bytes[..], MAX_REPLY).unwrap().unwrap();
        prop_assert_eq!(header.id, id);
        prop_assert_eq!(Reply::decode(header, payload).unwrap(), reply);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read_and_never_more(kind in any::<u8>(), payload in vec(any::<u8>(), 0..600)) {
        let header = Header { len: payload.len(), kind, id: 1 };
        if let Ok(request) = Request::decode(header, &payload) {
            let mut again = Vec::new();
            request.encode(1, &mut again).unwrap();
            prop_assert_eq!(&again[HEADER..], &payload[..]);
        }
        if let Ok(reply) = Reply::decode(header, payload.clone()) {
            let mut again = Vec::new();
            reply.encode(1, &mut again).unwrap();
            prop_assert_eq!(&again[HEADER..], &payload[..]);
        }
    }

    #[test]
    fn a_stream_of_noise_ends_in_an_error_or_in_whole_frames(bytes in vec(any::<u8>(), 0..600)) {
        let mut from = &bytes[..];
        while let Ok(Some((header, payload))) = read_frame(&mut from, 256) {
            prop_assert!(payload.len() == header.len && header.len <= 256);
        }
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_payload_is_read() {
    let head = [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 1];
    let error = read_frame(&mut &head[..], MAX_REQUEST).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 4294967295 is over the limit of 65536");
}

#[test]
fn a_count_that_cannot_be_there_takes_no_memory() {
    // WANT with 4,096 files announced and none there.
    let payload = [&[0u8][..], &4096u32.to_be_bytes()].concat();
    let header = Header {
        len: payload.len(),
        kind: 4,
        id: 1,
    };
    assert_eq!(Request::decode(header, &payload), Err(WireError::Short));
}

#[test]
fn ranges_that_are_empty_overlap_or_lie_outside_the_file_are_refused() {
    let good = [(0, 10), (10, 5), (90, 10)];
    for bad in [
        &[(0, 0)][..],
        &[(0, 10), (9, 5)],
        &[(50, 10), (0, 10)],
        &[(0, 101)],
        &[(100, 1)],
        &[(u64::MAX, 2)],
        &[(1, u64::MAX)],
        &[(0, 10), (10, 0)],
    ] {
        for (ranges, sound) in [(bad, false), (&good[..], true)] {
            let request = Request::Ranges {
                root: "/srv".into(),
                file: Want {
                    path: "f".into(),
                    size: 100,
                    mtime: 0,
                    digest: None,
                },
                ranges: ranges.iter().map(|(at, len)| Range { at: *at, len: *len }).collect(),
            };
            let mut bytes = Vec::new();
            request.encode(1, &mut bytes).unwrap();
            let (header, payload) = read_frame(&mut &bytes[..], MAX_REQUEST).unwrap().unwrap();
            assert_eq!(Request::decode(header, &payload).is_ok(), sound, "{ranges:?}");
        }
    }
    let empty = Reply::Chunks(vec![Chunk { len: 0, id: [1; 16] }]);
    let mut bytes = Vec::new();
    empty.encode(1, &mut bytes).unwrap();
    let (header, payload) = read_frame(&mut &bytes[..], MAX_REPLY).unwrap().unwrap();
    assert_eq!(Reply::decode(header, payload), Err(WireError::Value("a chunk")));
}

#[test]
fn a_manifest_cannot_name_a_path_outside_its_root() {
    let mut bytes = Vec::new();
    let entry = Entry {
        path: "../x".into(),
        kind: Kind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        ctime: 0,
        inode: (0, 0),
        nlink: 1,
        target: BString::default(),
        digest: None,
    };
    Reply::Entries(vec![entry]).encode(1, &mut bytes).unwrap();
    let (header, payload) = read_frame(&mut &bytes[..], MAX_REPLY).unwrap().unwrap();
    assert_eq!(Reply::decode(header, payload), Err(WireError::Value("a path")));
}

#[test]
fn what_is_over_a_limit_is_not_sent_either() {
    let mut bytes = b"before".to_vec();
    let request = Request::Fetch {
        root: vec![b'x'; MAX_PATH + 1].into(),
    };
    assert!(matches!(request.encode(1, &mut bytes), Err(WireError::Limit { .. })));
    assert_eq!(bytes, b"before");
}
