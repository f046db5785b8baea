//! Starting the agent for cfrun (cfengine2.md 20): which options go through, and its output as it comes.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use bstr::BString;

use crate::state::{Runs, Standing, Store};
use crate::sys::Paths;
use crate::sys::process::{self, Argv, Command};
use crate::wire::{MAX_TEXT, Ran};

/// What a client reads whatever the reason is.
pub const REFUSED: &str = "this host and user may not start the agent here";

/// Takes out what would run another policy or ignore locks: `-K`, `--no-lock`, `-A`, `--auto`, `-f FILE`, `--file FILE`,
/// also inside clusters of short options, with the value joined and with the long name cut (Q22). And `--undo RUN`,
/// `--force-undo`: to take back what a policy did is for whoever is at the machine.
pub fn strip(args: &[BString]) -> Vec<BString> {
    let mut kept = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix(b"--") {
            let (name, joined) = match long.iter().position(|b| *b == b'=') {
                Some(at) => (long.get(..at).unwrap_or_default(), true),
                None => (long, false),
            };
            if (!name.is_empty() && b"file".starts_with(name)) || name == b"undo" {
                if !joined {
                    words.next();
                }
            } else if !(name.len() >= 4 && b"no-lock".starts_with(name)
                || name.len() >= 7 && b"force-undo".starts_with(name)
                || !name.is_empty() && b"auto".starts_with(name))
            {
                kept.push(word.clone());
            }
        } else if word.len() > 1 && word.starts_with(b"-") {
            let (rest, value_follows) = short(word.get(1..).unwrap_or_default());
            if value_follows {
                words.next();
            }
            if !rest.is_empty() {
                kept.push([b"-", &rest[..]].concat().into());
            }
        } else {
            kept.push(word.clone());
        }
    }
    kept
}

/// A cluster of short options without `K`, `A` and `f`; and whether the value of `f` is the next word.
fn short(cluster: &[u8]) -> (Vec<u8>, bool) {
    /// Options of cfagent with a value: what stands behind them is not an option.
    const WITH_VALUE: &[u8] = b"DjNoQZ";
    let mut rest = Vec::new();
    for (i, option) in cluster.iter().enumerate() {
        match option {
            // A dash would become the second of a long option once what stands before it is gone.
            b'K' | b'A' | b'-' => {}
            b'f' => return (rest, i + 1 == cluster.len()),
            option if WITH_VALUE.contains(option) => {
                rest.extend_from_slice(cluster.get(i..).unwrap_or_default());
                return (rest, false);
            }
            option => rest.push(*option),
        }
    }
    (rest, false)
}

/// The whole command. What we add ourselves is not said twice.
pub fn argv(command: &[BString], args: &[BString]) -> Vec<BString> {
    let own = ["--no-splay", "--inform"].map(BString::from);
    let more = args.iter().filter(|arg| !own.contains(arg));
    command.iter().chain(&own).chain(more).cloned().collect()
}

/// The command as the launcher gets it: the launcher, what the environment has more, the command. Without a launcher it is
/// the command itself.
pub fn launched(launcher: &[BString], env: &[(OsString, OsString)], argv: Vec<BString>) -> Vec<BString> {
    if launcher.is_empty() {
        return argv;
    }
    let mut all = launcher.to_vec();
    if !env.is_empty() {
        // Our own environment ends at the launcher.
        all.push("/usr/bin/env".into());
        all.extend(env.iter().map(|(name, value)| {
            let mut word = BString::from(name.as_bytes());
            word.push(b'=');
            word.extend_from_slice(value.as_bytes());
            word
        }));
    }
    all.extend(argv);
    all
}

/// What a running command tells.
#[derive(Debug)]
pub enum Event {
    /// A line of output, not blank.
    Line(Vec<u8>),
    /// It ended.
    Exit(i32),
    /// It could not be started.
    Failed(std::io::Error),
}

/// Starts a command on a thread of its own and gives its events as they come. When nobody listens any more its output is
/// dropped, and it may finish: an agent is not stopped halfway because somebody interrupted cfrun.
pub fn start(argv: Vec<BString>, env: &[(OsString, OsString)]) -> std::io::Result<Receiver<Event>> {
    let (sender, receiver) = sync_channel(64);
    let mut command = Command::new(Argv::Direct(argv));
    command.line_limit = MAX_TEXT;
    command.env = env.to_vec();
    std::thread::Builder::new()
        .name("exec".to_string())
        .stack_size(super::server::STACK)
        .spawn(move || {
            let mut listening = true;
            let outcome = process::run_until(&command, &mut |line| {
                if listening && line.iter().any(|b| !b.is_ascii_whitespace()) {
                    listening = sender.send(Event::Line(line.to_vec())).is_ok();
                }
                ControlFlow::Continue(())
            });
            let _ = sender.send(match outcome {
                Ok(outcome) => Event::Exit(outcome.status),
                Err(error) => Event::Failed(error),
            });
        })?;
    Ok(receiver)
}

/// What the agent did that was started at that moment, as it wrote down itself; none where it did not.
pub fn ran(began: SystemTime) -> Option<Ran> {
    let began = began.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let state = Paths::from_env().state();
    let runs: Runs = Store::peek(&state.join(Runs::FILE)).ok()??;
    let run = runs.runs.last()?;
    if u64::try_from(run.began).ok()? < began {
        return None;
    }
    let standing: Standing = Store::peek(&state.join(Standing::FILE))
        .ok()
        .flatten()
        .unwrap_or_default();
    let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Some(Ran {
        kept: short(run.kept),
        repaired: short(run.repaired),
        failed: short(run.failed),
        policy: standing.id.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(line: &str) -> String {
        let args: Vec<BString> = line.split(' ').map(BString::from).collect();
        String::from_utf8(bstr::join(" ", strip(&args))).unwrap()
    }

    #[test]
    fn no_way_to_write_the_option_brings_another_policy_in_q22() {
        for (given, kept) in [
            ("-v -D x", "-v -D x"),
            ("-K", ""),
            ("-f /tmp/x -v", "-v"),
            ("-f/tmp/x -v", "-v"),
            ("--file /tmp/x -v", "-v"),
            ("--file=/tmp/x -v", "-v"),
            ("--fil /tmp/x -v", "-v"),
            ("--f=/tmp/x -v", "-v"),
            ("--no-lock -v", "-v"),
            ("--no-l -v", "-v"),
            ("--no-splay --no-check-files", "--no-splay --no-check-files"),
            ("-vKf /tmp/x -I", "-v -I"),
            ("-vKq", "-vq"),
            ("-vf/tmp/x", "-v"),
            ("-A", ""),
            ("-vA", "-v"),
            ("--auto -v", "-v"),
            ("--aut", ""),
            ("--avoid copy", "--avoid copy"),
            ("--undo last --force-undo -v", "-v"),
            ("--undo=7 --force-u", ""),
            ("--undefine x --force-net-copy", "--undefine x --force-net-copy"),
            ("-K-no-lock", "-no-lock"),
            ("-A-auto", "-auto"),
            ("-K-file=/tmp/x -v", "-v"),
            ("-DKf -v", "-DKf -v"),
            ("-D Kf -v", "-D Kf -v"),
            ("- word", "- word"),
        ] {
            assert_eq!(stripped(given), kept, "{given}");
        }
    }

    #[test]
    fn a_launcher_stands_in_front_and_what_the_environment_has_more_goes_along() {
        let words = |words: &[&str]| words.iter().map(|word| BString::from(*word)).collect::<Vec<_>>();
        let (launcher, agent) = (words(&["/bin/run", "--"]), words(&["/sbin/agent", "-v"]));
        let env = [("LD_LIBRARY_PATH".into(), "/a b".into())];
        assert_eq!(launched(&[], &env, agent.clone()), agent);
        assert_eq!(
            launched(&launcher, &[], agent.clone()),
            words(&["/bin/run", "--", "/sbin/agent", "-v"])
        );
        assert_eq!(
            launched(&launcher, &env, agent),
            words(&[
                "/bin/run",
                "--",
                "/usr/bin/env",
                "LD_LIBRARY_PATH=/a b",
                "/sbin/agent",
                "-v"
            ])
        );
    }

    #[test]
    fn output_comes_line_by_line_without_blank_lines_and_without_a_shell() {
        let events = start(vec!["/bin/echo".into(), "a\n \n$(id); b".into()], &[]).unwrap();
        let mut lines = Vec::new();
        for event in events {
            match event {
                Event::Line(line) => lines.push(String::from_utf8(line).unwrap()),
                Event::Exit(status) => assert_eq!(status, 0),
                Event::Failed(error) => panic!("{error}"),
            }
        }
        assert_eq!(lines, ["a", "$(id); b"]);
    }
}
