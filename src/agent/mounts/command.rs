//! mount(8) and umount(8), without a shell and with a time limit: the server may be dead.

use std::time::Duration;

use bstr::{BString, ByteSlice};

use super::fstab::Entry;
use super::patience;
use crate::agent::Run;
use crate::sys::process::{self, Argv, Command};

/// How long mounting or unmounting one file system may take, unless `TimeOut` says otherwise.
const USUAL: Duration = Duration::from_secs(60);

/// What is added for ending the command, and for one that not even that ends.
const GRACE: Duration = Duration::from_secs(5);

/// The time limit: `TimeOut`, where the policy sets it.
pub fn limit(run: &Run<'_>) -> Duration {
    let set = run.ctx.get("TimeOut");
    let seconds = set.and_then(|text| text.to_str().ok()?.trim().parse::<u64>().ok());
    seconds.map_or(USUAL, |seconds| Duration::from_secs(seconds.clamp(3, 600)))
}

/// The command that mounts one file system.
pub fn mounting(entry: &Entry) -> Vec<BString> {
    let mut words: Vec<BString> = ["/bin/mount", "-t"].map(BString::from).to_vec();
    words.push(entry.kind.clone());
    words.push("-o".into());
    words.push(entry.options.clone());
    words.extend([entry.source.clone(), entry.target.clone()]);
    words
}

/// The command that unmounts: `unmountcomm` of the resource file, or umount(8).
pub fn unmounting(run: &Run<'_>, target: &BString, more: &str) -> Vec<BString> {
    let mut words = match run.resources.get("unmountcomm") {
        Some(line) => process::split(line),
        None => vec!["/bin/umount".into()],
    };
    if !more.is_empty() {
        words.push(more.into());
    }
    words.push(target.clone());
    words
}

/// Runs a command. The error is one sentence: it could not be started, it failed and said so, or its time was up (then
/// `true`).
pub fn carry_out(words: Vec<BString>, limit: Duration) -> Result<(), (String, bool)> {
    let shown = BString::from(bstr::join(" ", &words));
    let mut command = Command::new(Argv::Direct(words));
    command.timeout = Some(limit);
    command.env.push(("LC_ALL".into(), "C".into()));
    let ran = patience::within(limit + GRACE, move || {
        let mut said: Vec<BString> = Vec::new();
        let outcome = process::run(&command, &mut |line| {
            if said.len() < 20 && !line.trim().is_empty() {
                said.push(line.trim().into());
            }
        });
        (outcome, BString::from(bstr::join("; ", said)))
    });
    let late = || {
        (
            format!("{shown} was ended: it took more than {} s", limit.as_secs()),
            true,
        )
    };
    match ran {
        None => Err(late()),
        Some((Ok(outcome), _)) if outcome.success() => Ok(()),
        Some((Ok(outcome), _)) if outcome.timed_out => Err(late()),
        Some((Ok(outcome), said)) => Err((format!("{shown} ended with status {}: {said}", outcome.status), false)),
        Some((Err(error), _)) => Err((format!("cannot run {shown}: {error}"), false)),
    }
}
