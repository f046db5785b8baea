use super::*;
use crate::remote::{Cause, Trouble};
use proptest::prelude::*;
use std::sync::Arc;

fn states() -> impl Strategy<Value = State> {
    let trouble = ".*".prop_map(|said| {
        State::Unreachable(Trouble {
            cause: Cause::Connect,
            said,
        })
    });
    let limit = (0..1_000_000u64).prop_map(|n| State::TimedOut(Duration::from_millis(n)));
    prop_oneof![
        any::<u8>().prop_map(State::Exited),
        any::<i32>().prop_map(State::Killed),
        limit,
        trouble,
        ".*".prop_map(State::NotStarted),
        Just(State::Cancelled),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let stream = prop_oneof![Just(Stream::Out), Just(Stream::Err)];
    let text = proptest::collection::vec(any::<u8>().prop_filter("a line", |byte| *byte != b'\n'), 0..50);
    let ended = (states(), 0..1_000_000u64, any::<u32>()).prop_map(|(state, millis, attempts)| Ended {
        state,
        took: Duration::from_millis(millis),
        attempts,
    });
    prop_oneof![
        any::<usize>().prop_map(Frame::Started),
        (any::<usize>(), stream, text, any::<bool>()).prop_map(|(job, stream, text, whole)| Frame::Line(
            job,
            stream,
            text.into(),
            whole
        )),
        (any::<usize>(), ended).prop_map(|(job, ended)| Frame::Done(job, ended)),
    ]
}

proptest! {
    #[test]
    fn a_frame_is_one_line_and_is_read_as_it_was_written(frame in frames()) {
        let mut line = Vec::new();
        frame.write(&mut line).unwrap();
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(Frame::read(&line), Some(frame));
    }

    #[test]
    fn no_bytes_upset_the_reader_of_frames_and_orders(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::read(&bytes);
        prop_assert!(Order::read(&mut &bytes[..]).is_err());
    }

    #[test]
    fn every_host_has_exactly_one_gateway_and_the_shares_are_even(hosts in 0usize..5000, gateways in 1usize..50) {
        let shares: Vec<_> = (1..=gateways).map(|number| share(number, gateways, hosts)).collect();
        let all: Vec<usize> = shares.iter().cloned().flatten().collect();
        prop_assert_eq!(all, (0..hosts).collect::<Vec<_>>());
        let sizes = shares.iter().map(ExactSizeIterator::len);
        prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
    }
}

#[test]
fn an_order_carries_hosts_commands_of_any_bytes_and_what_they_read() {
    let ssh = Arc::new(Ssh {
        user: Some("root".into()),
        ..Ssh::default()
    });
    let job = |name: &str, command: &[u8]| {
        let words = [OsString::from_vec(command.to_vec()), "x y".into()];
        Job::over(&ssh, Host::parse(name).unwrap(), &words.into(), Input::Held)
    };
    let jobs = [job("joe@a:22", b"--"), job("b", b"\xff\n'"), job("[::1]:7", b"\xff\n'")];
    let order = Order::of(&jobs, &ssh, &Options::default()).unwrap();
    assert_eq!(order.commands.len(), 2);
    let mut text = serde_json::to_vec(&order).unwrap();
    text.extend(b"\nrest");
    let mut input = &text[..];
    let read = Order::read(&mut input).unwrap();
    assert_eq!(read, order);
    assert_eq!(input, b"rest");
    assert_eq!(read.command(0), "-- x y");
    assert_eq!(read.command(1).as_bytes(), b"\xff\n' x y");
    assert_eq!(host(&read.hosts[2].0).unwrap(), jobs[2].host);
    let local = Job {
        start: crate::remote::local(&["ls".into()]).into(),
        ..jobs[0].clone()
    };
    assert!(Order::of(&[local], &ssh, &Options::default()).is_err());
}
