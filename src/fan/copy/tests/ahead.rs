//! What is sent before the host has read it.

use super::*;
use crate::fan::talk::Reply;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

#[test]
fn a_host_is_sent_little_more_than_it_has_read() {
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("file");
    fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let delivery = Delivery::new(pack(&[file]), order("/there"));
    let (mut talk, mut reply) = (delivery.talk(), Reply::default());
    // A file takes all that is written: what is not allowed is not written.
    let (mut sink, mut buffer) = (tempfile::tempfile().unwrap(), vec![0; 64 * 1024]);
    let mut given = |reply: &mut Reply| {
        let before = sink.metadata().unwrap().len();
        reply.write(&mut sink, &mut buffer).unwrap();
        sink.metadata().unwrap().len() - before
    };
    talk.start(&mut reply);
    for said in ["ready 0:0 \n", "end\n"] {
        talk.hear(format!("dsau-ccp {said}").as_bytes(), &mut reply);
    }
    given(&mut reply);
    talk.hear(b"dsau-ccp go\n", &mut reply);
    assert_eq!(given(&mut reply), 512 << 10);
    assert_eq!(given(&mut reply), 0);
    talk.hear(b".", &mut reply);
    assert_eq!(given(&mut reply), 128 << 10);
    talk.hear(b"..", &mut reply);
    assert_eq!(given(&mut reply), 256 << 10);
    // What is no such word is for the user, also right behind one.
    talk.hear(b".something\n.", &mut reply);
    assert_eq!(reply.shown(), [b"something"]);
    assert_eq!(given(&mut reply), 256 << 10);
    talk.hear(&[b'.'; 20], &mut reply);
    assert!(given(&mut reply) > 3_000_000 - (9 << 17));
    assert!(reply.over());
    assert_eq!(talk.end(true), [""; 0]);
}

#[test]
fn a_tar_that_has_not_read_yet_is_not_sent_all() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = from.path().join("file");
    fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let delivery = Delivery::new(pack(std::slice::from_ref(&file)), order(to.path()));
    let mut launch = remote::local(&delivery.command());
    // It begins late, and says so.
    let tar = from.path().join("tar");
    let script = "#!/bin/sh\nsleep 1; : >ready\nexec /bin/tar \"$@\"\n";
    let text = script.replace("ready", &from.path().join("ready").to_string_lossy());
    program(&tar, &text);
    launch.env.push(("PATH".into(), path_with(from.path())));
    let job = Job {
        host: Host::parse("here").unwrap(),
        start: launch.into(),
        input: delivery.input(0),
    };
    let (ready, most) = (from.path().join("ready"), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let written = delivery.progress().0;
                if !ready.exists() {
                    most.fetch_max(written, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let reports = fan::run(&[job], &Options::default(), None, &mut Heard::default());
        done.store(true, Ordering::Relaxed);
        assert_eq!(reports.unwrap()[0].state, State::Exited(0));
    });
    assert_eq!(most.into_inner(), (512 << 10) + "put much\n".len() as u64);
    same(&file, &to.path().join("file"));
}
