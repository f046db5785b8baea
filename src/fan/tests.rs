use super::*;
use crate::remote;
use std::time::Instant;

/// A host of this machine that runs a shell text.
fn job(name: &str, text: &str) -> Job {
    Job {
        host: Host::named(name).unwrap(),
        start: Launch {
            argv: vec!["/bin/sh".into(), "-c".into(), text.into()],
            ssh: false,
            kept: None,
            env: Vec::new(),
        }
        .into(),
        input: Input::Nothing,
    }
}

/// What a job starts, to be changed.
pub(super) fn started(job: &mut Job) -> &mut Launch {
    match &mut job.start {
        Start::Launch(launch) => Arc::make_mut(launch),
        Start::Over(..) => unreachable!("the jobs of these tests are made with their command line"),
    }
}

#[derive(Default)]
struct Record {
    lines: Vec<(String, Stream, Vec<u8>)>,
    done: Vec<String>,
}

impl Sink for Record {
    fn line(&mut self, _: usize, host: &Host, stream: Stream, line: &[u8]) {
        self.lines.push((host.to_string(), stream, line.to_vec()));
    }
    fn done(&mut self, _: usize, report: &Report) {
        self.done.push(report.host.to_string());
    }
}

fn run_all(jobs: &[Job], options: &Options) -> (Vec<Report>, Record) {
    let mut record = Record::default();
    let reports = run(jobs, options, None, &mut record).unwrap();
    (reports, record)
}

fn states(reports: &[Report]) -> Vec<State> {
    reports.iter().map(|r| r.state.clone()).collect()
}

#[test]
fn every_host_has_its_own_status_and_the_worst_is_found() {
    let jobs = [
        job("a", "exit 0"),
        job("b", "exit 3"),
        job("c", "exit 200"),
        job("d", "kill -9 $$"),
    ];
    let (reports, record) = run_all(&jobs, &Options::default());
    assert_eq!(
        states(&reports),
        [State::Exited(0), State::Exited(3), State::Exited(200), State::Killed(9)]
    );
    assert_eq!(worst(&reports), 200);
    assert_eq!(record.done.len(), 4);
}

#[test]
fn lines_stay_whole_with_nul_bytes_without_newline_and_very_long() {
    let jobs = [
        job("a", "printf 'x\\0y\\nlast'; printf 'oops' >&2"),
        job("b", "head -c 100000 /dev/zero | tr '\\0' b; echo; echo end"),
    ];
    let (_, record) = run_all(&jobs, &Options::default());
    let of = |host: &str, stream| -> Vec<Vec<u8>> {
        let lines = record.lines.iter().filter(|(h, s, _)| h == host && *s == stream);
        lines.map(|(_, _, line)| line.clone()).collect()
    };
    assert_eq!(of("a", Stream::Out), [b"x\0y".to_vec(), b"last".to_vec()]);
    assert_eq!(of("a", Stream::Err), [b"oops".to_vec()]);
    assert_eq!(of("b", Stream::Out), [vec![b'b'; 100_000], b"end".to_vec()]);
}

#[test]
fn a_line_without_end_is_cut_at_the_limit_and_no_byte_is_lost() {
    let jobs = [job("a", "head -c 1000000 /dev/zero")];
    let (_, record) = run_all(&jobs, &Options::default());
    assert_eq!(
        record.lines.iter().map(|(_, _, line)| line.len()).sum::<usize>(),
        1_000_000
    );
    assert!(record.lines.iter().all(|(_, _, line)| line.len() <= LINE_LIMIT));
}

#[test]
fn a_host_is_done_when_its_process_is_though_a_background_process_holds_the_pipe() {
    let started = Instant::now();
    let (reports, record) = run_all(&[job("a", "sleep 20 & echo up; exit 4")], &Options::default());
    assert_eq!(states(&reports), [State::Exited(4)]);
    assert_eq!(record.lines[0].2, b"up");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_host_is_done_at_its_mark_though_what_is_left_running_keeps_the_connection() {
    let mark = Mark::new().unwrap();
    let said = "seq 50000; sleep 20 & echo err >&2; exit 4";
    let tied = remote::tied(&[said.into()], Some(&mark));
    let line = tied[0].to_str().unwrap();
    // As with ssh, the end of the process is that of the last holder of its outputs.
    let text = format!("{{ {{ ({line}) 2>&1 >&7 | cat >&2; }} 7>&1 | cat; }}");
    let options = Options {
        mark: Some(mark),
        ..Options::default()
    };
    let started = Instant::now();
    let mut job = job("a", &text);
    job.input = Input::Held;
    let (reports, record) = run_all(&[job], &options);
    assert_eq!(states(&reports), [State::Exited(4)]);
    assert_eq!(record.lines.iter().filter(|line| line.1 == Stream::Out).count(), 50_000);
    let errors: Vec<_> = record.lines.iter().filter(|line| line.1 == Stream::Err).collect();
    assert_eq!((errors.len(), errors[0].2.as_slice()), (1, &b"err"[..]));
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_its_children_even_when_it_does_not_listen() {
    let options = Options {
        command_timeout: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    let started = Instant::now();
    let (reports, _) = run_all(
        &[job("a", "trap '' TERM; sleep 20; sleep 20"), job("b", "echo quick")],
        &options,
    );
    assert_eq!(reports[0].state, State::TimedOut(Duration::from_millis(200)));
    assert_eq!(reports[1].state, State::Exited(0));
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(worst(&reports), 124);
}

#[test]
fn the_window_bounds_how_many_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "cd {}; mkdir run.$$; ls | grep -c run; sleep 0.05; rmdir run.$$",
        dir.path().display()
    );
    let jobs: Vec<Job> = (0..9).map(|n| job(&format!("h{n}"), &text)).collect();
    let options = Options {
        window: 3,
        ..Options::default()
    };
    let (_, record) = run_all(&jobs, &options);
    let counts: Vec<u32> = record
        .lines
        .iter()
        .map(|(_, _, line)| String::from_utf8_lossy(line).trim().parse().unwrap())
        .collect();
    assert_eq!(counts.len(), 9);
    assert!(counts.iter().all(|&n| n <= 3), "{counts:?}");
}

#[test]
fn each_host_reads_the_whole_input_from_its_beginning() {
    let spool = Arc::new(Spool::of(b"one\ntwo\n").unwrap());
    let mut jobs = [job("a", "cat"), job("b", "wc -c")];
    for job in &mut jobs {
        job.input = Input::Spool(Arc::clone(&spool));
    }
    let answers = ask(&jobs, &Options::default(), None, 1000).unwrap();
    assert_eq!(answers[0].out, b"one\ntwo\n");
    assert_eq!(answers[1].out, b"8\n");
}

#[test]
fn a_fed_input_is_given_whole_and_then_stays_open() {
    let size = 700_000;
    let spool = Arc::new(Spool::of(&vec![b'x'; size]).unwrap());
    let mut jobs = [
        job(
            "a",
            "head -c 700000 | wc -c; read -t 0.2 x; [ $? -gt 128 ] && echo open",
        ),
        job("b", "exec <&-; sleep 0.2; exit 3"),
    ];
    for job in &mut jobs {
        started(job).argv[0] = "/bin/bash".into();
        job.input = Input::Fed(Arc::clone(&spool));
    }
    let answers = ask(&jobs, &Options::default(), None, 1000).unwrap();
    // A time-out of read is a status above 128; the end of the input would be 1.
    assert_eq!(answers[0].out, b"700000\nopen\n");
    assert_eq!(answers[1].report.state, State::Exited(3));
}

#[test]
fn without_input_a_command_that_reads_ends_at_once() {
    let (reports, _) = run_all(&[job("a", "cat")], &Options::default());
    assert!(reports[0].state.is_ok());
}

#[test]
fn what_cannot_be_started_is_named() {
    let mut bad = job("a", "");
    started(&mut bad).argv[0] = "/nowhere/ssh".into();
    let (reports, _) = run_all(&[bad], &Options::default());
    assert_eq!(
        states(&reports),
        [State::NotStarted(
            "cannot start /nowhere/ssh: No such file or directory".into()
        )]
    );
}

/// A program that takes `-E FILE` as ssh does, and then does what the host's name says.
fn stand_in(dir: &std::path::Path, name: &str) -> Job {
    let program = dir.join("ssh");
    if !program.exists() {
        let text = "#!/bin/sh\nlog=$2\ncase $4 in\n\
            far) echo remote says; exit 255;;\n\
            liar) echo 'ssh: connect to host liar port 22: Connection refused' >&2; exit 255;;\n\
            gone) echo 'ssh: Could not resolve hostname gone: Name or service not known' >>$log; exit 255;;\n\
            busy) echo x >>$0.tries; [ $(wc -l <$0.tries) -gt 2 ] && exit 0\n\
            echo 'kex_exchange_identification: read: Connection reset by peer' >>$log; exit 255;;\nesac\n";
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    Job {
        host: Host::named(name).unwrap(),
        start: Launch {
            argv: vec![program.into(), "--".into(), name.into()],
            ssh: true,
            kept: None,
            env: Vec::new(),
        }
        .into(),
        input: Input::Nothing,
    }
}

#[test]
fn a_failure_of_ssh_is_told_from_a_command_that_exits_with_255_or_writes_like_ssh() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = ["far", "liar", "gone"].map(|name| stand_in(dir.path(), name));
    let (reports, _) = run_all(&jobs, &Options::default());
    assert_eq!(reports[0].state, State::Exited(255));
    assert_eq!(reports[1].state, State::Exited(255));
    let State::Unreachable(trouble) = &reports[2].state else {
        panic!("{:?}", reports[2].state);
    };
    assert_eq!(trouble.cause, remote::Cause::Resolve);
    assert_eq!(worst(&reports[2..]), 4);
}

#[test]
fn a_host_that_was_too_busy_is_tried_again_and_no_more_often_than_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, _) = run_all(&[stand_in(dir.path(), "busy")], &Options::default());
    assert_eq!((reports[0].state.clone(), reports[0].attempts), (State::Exited(0), 3));

    std::fs::remove_file(dir.path().join("ssh.tries")).unwrap();
    let options = Options {
        retries: 1,
        ..Options::default()
    };
    let (reports, _) = run_all(&[stand_in(dir.path(), "busy")], &options);
    assert_eq!(reports[0].attempts, 2);
    assert!(matches!(&reports[0].state, State::Unreachable(t) if t.cause == remote::Cause::Busy));
}

#[test]
fn the_same_answers_are_gathered_also_when_they_are_long() {
    let long = "head -c 300000 /dev/zero | tr '\\0' 'a' | fold -w 60";
    let jobs = [
        job("a", long),
        job("b", "echo short"),
        job("c", long),
        job("d", "true"),
        job("e", "echo short >&2"),
    ];
    struct Gather(Transcripts);
    impl Sink for Gather {
        fn line(&mut self, job: usize, _: &Host, stream: Stream, line: &[u8]) {
            self.0.line(job, stream, line);
        }
        fn done(&mut self, _: usize, _: &Report) {}
    }
    let mut gather = Gather(Transcripts::new(jobs.len()));
    run(&jobs, &Options::default(), None, &mut gather).unwrap();
    let groups = gather.0.gather(Stream::Out);
    let found: Vec<&[usize]> = groups.iter().map(|g| g.jobs.as_slice()).collect();
    assert_eq!(found, [&[0, 2][..], &[1]]);
    let mut text = Vec::new();
    gather.0.write(2, Stream::Out, &mut text).unwrap();
    assert_eq!(text.len(), 305_000);
    assert_eq!(gather.0.gather(Stream::Err)[0].jobs, [4]);
}

#[test]
fn when_nobody_listens_any_more_everything_is_stopped() {
    struct Deaf(usize);
    impl Sink for Deaf {
        fn line(&mut self, _: usize, _: &Host, _: Stream, _: &[u8]) {
            self.0 += 1;
        }
        fn done(&mut self, _: usize, _: &Report) {}
        fn closed(&self) -> bool {
            self.0 > 0
        }
    }
    let jobs = [job("a", "echo x; sleep 20"), job("b", "sleep 20"), job("c", "sleep 20")];
    let options = Options {
        window: 2,
        ..Options::default()
    };
    let started = Instant::now();
    let reports = run(&jobs, &options, None, &mut Deaf(0)).unwrap();
    assert_eq!(states(&reports), [State::Cancelled, State::Cancelled, State::Cancelled]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_begun_after_the_stop_is_called_off_at_once_and_does_not_wait_for_ever() {
    struct Deaf;
    impl Sink for Deaf {
        fn line(&mut self, _: usize, _: &Host, _: Stream, _: &[u8]) {}
        fn done(&mut self, _: usize, _: &Report) {}
        fn closed(&self) -> bool {
            true
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let reports = run(&[job("a", "sleep 60")], &Options::default(), None, &mut Deaf).unwrap();
        sender.send(states(&reports))
    });
    let states = receiver
        .recv_timeout(Duration::from_secs(20))
        .expect("it waits for nothing");
    assert_eq!(states, [State::Cancelled]);
}
