use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::{Reply, put_data, read_frame};

/// What a packer makes of bytes, and how many pieces of it are packed.
fn packed(packer: &mut Packer, bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut count, mut rest) = (Vec::new(), 0, bytes);
    while !rest.is_empty() {
        let piece = packer.take(&mut rest);
        count += usize::from(piece.get(4) == Some(&PACKED));
        out.extend_from_slice(piece);
    }
    (out, count)
}

/// What a client reads: the frames, unpacked.
fn opened(mut bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut frames) = (Vec::new(), Vec::new());
    while let Some((header, payload)) = read_frame(&mut bytes, MAX_REPLY).unwrap() {
        match header.is_packed() {
            true => {
                unpack(header, &payload, &mut frames).unwrap();
                out.extend_from_slice(&frames);
            }
            false => {
                out.extend_from_slice(&header.bytes());
                out.extend_from_slice(&payload);
            }
        }
    }
    out
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step)
        .take(len.div_ceil(8))
        .flatten()
        .take(len)
        .collect()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    put_data(&mut frames, 7, bytes);
    frames
}

/// PACKED with a block that says what `frames` are, and a length.
fn frame(size: usize, frames: &[u8], id: u32) -> (Header, Vec<u8>) {
    let mut payload = u32::try_from(size).unwrap().to_be_bytes().to_vec();
    payload.extend(lz4_flex::block::compress(frames));
    let header = Header {
        len: payload.len(),
        kind: PACKED,
        id,
    };
    (header, payload)
}

#[track_caller]
fn refused((header, payload): (Header, Vec<u8>)) -> WireError {
    let mut frames = b"before".to_vec();
    let error = unpack(header, &payload, &mut frames).unwrap_err();
    assert!(frames.is_empty(), "nothing of it can be used");
    error
}

#[test]
fn text_becomes_a_fraction_and_noise_stays_as_it_is() {
    let text = data(&b"a line of a configuration file = with a value\n".repeat(4000));
    let (out, count) = packed(&mut Packer::default(), &text);
    assert!(out.len() * 20 < text.len(), "{}", out.len());
    assert!(count >= 2, "{count}");
    assert_eq!(opened(&out), text);
    let noise = data(&noise(500_000));
    assert_eq!(packed(&mut Packer::default(), &noise), (noise.clone(), 0));
}

#[test]
fn what_is_short_is_not_packed_and_what_shrinks_by_less_than_an_eighth_neither() {
    let short = data(&[b'x'; LEAST - HEADER - 1]);
    assert_eq!(packed(&mut Packer::default(), &short), (short.clone(), 0));
    let long = data(&[b'x'; LEAST - HEADER]);
    assert_eq!(packed(&mut Packer::default(), &long).1, 1);
    for (same, count) in [(2000, 0), (20_000, 1)] {
        let bytes = data(&[noise(30_000), vec![b'x'; same]].concat());
        assert_eq!(packed(&mut Packer::default(), &bytes).1, count, "{same}");
    }
}

#[test]
fn the_largest_frame_there_is_has_room_and_a_piece_never_ends_inside_a_frame() {
    let largest = [&Header::encode(MAX_REPLY, 0x82, 1)[..], &vec![0; MAX_REPLY]].concat();
    let all = [data(b"x"), largest.clone(), largest, data(&[b'y'; 200_000])].concat();
    let (out, count) = packed(&mut Packer::default(), &all);
    assert_eq!(
        count, 5,
        "two large ones, and three of the others: two of them are just too much for one"
    );
    assert_eq!(opened(&out), all);
}

#[test]
fn where_much_does_not_shrink_most_is_not_tried_and_what_shrinks_later_is_found_again() {
    let (noise, text) = (data(&noise(60_000)), data(&[b'x'; 60_000]));
    let mut packer = Packer::default();
    let mut tried = Vec::new();
    for turn in 0..200 {
        let due = packer.pass == 0;
        packed(&mut packer, &noise);
        if due {
            tried.push(turn);
        }
    }
    assert_eq!(tried, [0, 1, 2, 4, 7, 12, 21, 38, 71, 104, 137, 170]);
    let turns = (0..50).find(|_| packed(&mut packer, &text).1 == 1).unwrap();
    assert!(turns <= MOST_PASSED as usize, "{turns}");
    assert_eq!(packed(&mut packer, &text).1, 1, "it shrinks: the next one is tried");
}

#[test]
fn what_is_packed_must_be_as_long_as_it_says() {
    let text = data(&[b'x'; 1000]);
    let mut frames = Vec::new();
    let (header, payload) = frame(text.len(), &text, 0);
    assert_eq!(unpack(header, &payload, &mut frames), Ok(()));
    assert_eq!(frames, text);
    let bad = WireError::Value("a packed piece");
    for size in [0, 1, text.len() - 1, text.len() + 1, MAX_UNPACKED] {
        assert_eq!(refused(frame(size, &text, 0)), bad, "{size}");
    }
    for size in [MAX_UNPACKED + 1, u32::MAX as usize] {
        assert!(matches!(refused(frame(size, &text, 0)), WireError::Limit { .. }));
    }
    let (mut header, mut payload) = frame(text.len(), &text, 0);
    payload.pop();
    header.len -= 1;
    assert_eq!(refused((header, payload)), bad);
    let (mut header, mut payload) = frame(text.len(), &text, 0);
    payload.push(0);
    header.len += 1;
    assert_eq!(refused((header, payload)), bad);
    for len in 0..4 {
        let header = Header {
            len,
            kind: PACKED,
            id: 0,
        };
        assert_eq!(refused((header, vec![0; len])), WireError::Short);
    }
    assert_eq!(refused(frame(0, b"", 0)), bad, "there is nothing in it");
}

#[test]
fn what_is_packed_must_be_whole_frames_none_of_them_packed_again() {
    let bad = WireError::Value("a packed piece");
    let text = data(&[b'x'; 1000]);
    for cut in [1, HEADER - 1, HEADER, text.len() - 1] {
        assert_eq!(refused(frame(cut, &text[..cut], 0)), bad, "{cut}");
        let more = [&text[..], &text[..cut]].concat();
        assert_eq!(refused(frame(more.len(), &more, 0)), bad, "{cut}");
    }
    let (again, _) = packed(&mut Packer::default(), &text);
    assert_eq!(refused(frame(again.len(), &again, 0)), bad);
    let hidden = [&text[..], &again].concat();
    assert_eq!(refused(frame(hidden.len(), &hidden, 0)), bad);
    let long = [&Header::encode(MAX_REPLY + 1, 0x82, 1)[..], &[0; 1000]].concat();
    assert_eq!(refused(frame(long.len(), &long, 0)), bad);
    assert_eq!(
        refused(frame(text.len(), &text, 1)),
        WireError::Value("the number of a packed piece")
    );
    let (header, payload) = frame(text.len(), &text, 0);
    assert_eq!(
        refused((Header { kind: 0x86, ..header }, payload)),
        WireError::Type(0x86)
    );
}

#[test]
fn it_is_no_reply_by_itself() {
    let (header, payload) = frame(300, &data(&[b'x'; 291]), 0);
    assert_eq!(Reply::decode(header, payload), Err(WireError::Type(PACKED)));
}

proptest! {
    #[test]
    fn any_frames_come_out_as_they_went_in(parts in vec((any::<u32>(), any::<u8>(), 0usize..70_000, any::<bool>()), 0..12)) {
        let mut frames = Vec::new();
        for (id, byte, len, dull) in parts {
            let bytes = if dull { vec![byte; len] } else { noise(len) };
            put_data(&mut frames, id, &bytes);
        }
        let mut packer = Packer::default();
        for _ in 0..3 {
            let (out, _) = packed(&mut packer, &frames);
            prop_assert!(out.len() <= frames.len());
            prop_assert_eq!(opened(&out), frames.clone());
        }
    }

    #[test]
    fn no_bytes_of_a_peer_do_harm(size in 0u32..200_000, block in vec(any::<u8>(), 0..400), text in vec(0u8..3, 0..400),
        at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut frames = Vec::new();
        let mut look = |size: u32, block: &[u8]| {
            let payload = [&size.to_be_bytes()[..], block].concat();
            let header = Header { len: payload.len(), kind: PACKED, id: 0 };
            if unpack(header, &payload, &mut frames).is_ok() {
                assert_eq!(frames.len(), size as usize);
                assert_eq!(opened(&frames), frames);
            }
        };
        look(size, &block);
        // A good one with one byte that is another.
        let good = data(&text);
        let mut block = lz4_flex::block::compress(&good);
        look(u32::try_from(good.len()).unwrap(), &block);
        let at = at.index(block.len().max(1));
        if let Some(byte) = block.get_mut(at) {
            *byte = to;
        }
        look(u32::try_from(good.len()).unwrap(), &block);
    }
}
