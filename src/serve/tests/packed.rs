//! What a client is told packed: where it was agreed, and what is in one piece.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn bits_that_one_side_does_not_know_or_want_are_left_out_of_the_answer() {
    for (compress, asked, got) in [
        (true, u32::MAX, wire::FEATURES),
        (false, u32::MAX, PLAIN),
        (true, PLAIN, PLAIN),
        (true, wire::PACKED | 1 << 20, wire::PACKED),
        (true, 0, 0),
    ] {
        let running = Running::start(short(), |config| config.compress = compress);
        let mut stream = running.tls();
        greeting(asked).encode(1, stream.buffer()).unwrap();
        let welcome = reply(&mut stream);
        assert!(
            matches!(welcome, Some(Reply::Welcome { features, .. }) if features == got),
            "{asked:#x}: {welcome:?}"
        );
    }
}

/// The frames of a fetch as they come, packed or not: for each the types of the frames that are in it.
fn pieces(running: &Running, paths: &[&str]) -> Vec<Vec<u8>> {
    let mut stream = running.tls();
    greeting(wire::FEATURES).encode(1, stream.buffer()).unwrap();
    assert!(matches!(reply(&mut stream), Some(Reply::Welcome { .. })));
    Request::Fetch { root: running.root() }
        .encode(2, stream.buffer())
        .unwrap();
    let files = paths.iter().map(|path| running.want(path)).collect();
    Request::Want { last: true, files }.encode(2, stream.buffer()).unwrap();
    let mut pieces = Vec::new();
    let mut frames = Vec::new();
    while !matches!(pieces.last().map(Vec::as_slice), Some([.., 0x89])) {
        let (header, payload) = wire::read_frame(&mut stream, wire::MAX_REPLY).unwrap().unwrap();
        let mut kinds = vec![header.bytes()[4]];
        if header.is_packed() {
            wire::unpack(header, &payload, &mut frames).unwrap();
            kinds.clear();
            let mut rest = &frames[..];
            while let Some((header, _)) = wire::read_frame(&mut rest, wire::MAX_REPLY).unwrap() {
                kinds.push(header.bytes()[4]);
            }
        }
        pieces.push(kinds);
    }
    pieces
}

#[test]
fn a_file_that_is_not_for_everybody_is_packed_with_no_other() {
    let running = Running::start(short(), |_| ());
    let root = running.dir.path().join("srv");
    for name in ["a", "b", "secret", "y", "z"] {
        std::fs::write(root.join(name), name.repeat(1000)).unwrap();
    }
    let file = [0x85, 0x86, 0x87];
    let all = ["a", "b", "secret", "y", "z"];
    let together = [&[&file[..]; 5].concat()[..], &[0x89]].concat();
    assert_eq!(pieces(&running, &all), [together]);
    // It belongs to the user who asks, and is for nobody else.
    std::fs::set_permissions(root.join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let two = [&file[..]; 2].concat();
    assert_eq!(
        pieces(&running, &all),
        [two.clone(), file.to_vec(), [&two[..], &[0x89]].concat()]
    );
}
