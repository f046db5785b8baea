//! Calling a method on this machine: a bundle in `rpc_in`, this program once more with `-Z DIGEST`, the answer beside it.

use std::time::Duration;

use bstr::{BString, ByteSlice};

use super::asked::Asked;
use super::bundle::{self, Call, DEEPEST, Reply};
use super::room::{self, Room};
use crate::agent::Run;
use crate::sys::process::{self, Argv, Command};

/// Minutes a method may take, unless `expireafter=` or `ExpireAfter` says otherwise.
const EXPIRE_AFTER: i64 = 120;

/// Calls a method. `None`: in this dry run it could not be called without leaving a trace.
pub fn call(run: &mut Run<'_>, asked: &Asked) -> Result<Option<Reply>, String> {
    let shown = asked.shown();
    match run.dry {
        true => run.report.inform(format_args!("Method {shown} is to be called")),
        false => run.report.inform(format_args!("Calling method {shown}")),
    }
    if run.dry && !room::incoming(run.paths).exists() {
        return Ok(None);
    }
    let chain = run.called.as_ref().map(|called| called.chain()).unwrap_or_default();
    let call = Call {
        name: asked.name.clone(),
        file: file_of(run, asked),
        time: run.now.timestamp().as_second(),
        until: until(run, asked),
        classes: asked.send.clone(),
        args: asked.args.clone(),
        chain: no_circle(chain, asked)?,
        nonce: nonce(run),
        manner: asked.manner.clone(),
        ..Call::default()
    };
    carry_out(run, &call).map(Some)
}

/// Has a call carried out on this machine.
pub fn carry_out(run: &mut Run<'_>, call: &Call) -> Result<Reply, String> {
    let rooms = Room::open(&room::incoming(run.paths), true, None)?;
    let bytes = call.encode();
    if bytes.len() > bundle::LIMIT {
        return Err("its arguments are too large".into());
    }
    let digest = bundle::digest(&bytes);
    let client = if call.client.is_empty() {
        &b"localhost"[..]
    } else {
        &call.client
    };
    let name = room::file_name(client, b"localhost", &call.name, &digest);
    rooms.put(name.as_bstr(), &bytes)?;
    let result = start(run, call, &digest);
    let answer = rooms.read(room::reply_name(name.as_bstr()).as_bstr());
    rooms.remove(name.as_bstr());
    rooms.remove(room::reply_name(name.as_bstr()).as_bstr());
    result?;
    let reply = answer.map_err(|error| format!("it left no answer: {error}"))?;
    let reply = Reply::decode(&reply).map_err(|why| format!("it left no whole answer: {why}"))?;
    if reply.call != digest || reply.name != call.name {
        return Err("it answered another call".into());
    }
    Ok(reply)
}

/// The method's file, as a path.
pub fn file_of(run: &Run<'_>, asked: &Asked) -> BString {
    use crate::agent::BytesPath;
    let path = run.machine.modules().join(asked.file.as_path());
    path.into_os_string().into_encoded_bytes().into()
}

/// When the method has to be done, in seconds since the epoch: never after whoever called us.
pub fn until(run: &Run<'_>, asked: &Asked) -> i64 {
    let setting = run.ctx.get("ExpireAfter");
    let setting = setting.and_then(|text| text.to_str().ok()?.trim().parse().ok());
    let minutes = asked.minutes.or(setting).unwrap_or(EXPIRE_AFTER).clamp(1, 999_999);
    let own = jiff::Timestamp::now().as_second() + minutes * 60;
    run.called.as_ref().map_or(own, |called| called.until().min(own))
}

/// The methods on the way here. A method never calls itself, also not through others.
pub fn no_circle(chain: Vec<BString>, asked: &Asked) -> Result<Vec<BString>, String> {
    let way = || bstr::join(" calls ", &chain).to_str_lossy().into_owned();
    if chain.contains(&asked.name) {
        return Err(format!("{} calls {}: it would call itself for ever", way(), asked.name));
    }
    if chain.len() >= DEEPEST {
        return Err(format!(
            "{}: no more than {DEEPEST} methods may call one another",
            way()
        ));
    }
    Ok(chain)
}

/// What makes a call unlike any other.
pub fn nonce(run: &mut Run<'_>) -> BString {
    use crate::policy::World;
    let mut half = || format!("{:016x}", run.machine.random(0, u64::MAX));
    (half() + &half()).into()
}

/// Starts this program as the method and waits for its end.
fn start(run: &mut Run<'_>, call: &Call, digest: &str) -> Result<(), String> {
    let mut argv = run.options.program.clone();
    if argv.is_empty() {
        return Err("this program cannot start itself".into());
    }
    argv.extend(["-Z".into(), digest.into(), "-q".into(), "-x".into()]);
    let levels = run.report.levels;
    let options = run.options;
    for (on, switch) in [
        (run.dry, "-n"),
        (levels.verbose, "-v"),
        (run.report.shows(crate::agent::Level::Inform), "-I"),
        (levels.silent, "-S"),
        (levels.no_warnings, "-w"),
        (options.no_locks, "-K"),
        (options.no_modules, "-M"),
        (options.diff, "--diff"),
    ] {
        if on {
            argv.push(switch.into());
        }
    }
    let seconds = call.until - jiff::Timestamp::now().as_second();
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let Some(seconds) = seconds else {
        return Err("there is no time left for it".into());
    };
    let mut command = Command::new(Argv::Direct(argv));
    command.timeout = Some(Duration::from_secs(seconds));
    let report = &mut run.report;
    // What it says has its prefix already.
    let outcome = process::run(&command, &mut |line| report.bare(crate::agent::Level::Error, line));
    match outcome {
        Err(error) => Err(format!("it cannot be started: {error}")),
        Ok(outcome) if outcome.timed_out => Err(format!("it was ended: it took more than {seconds} s")),
        Ok(outcome) if outcome.status != 0 => Err(format!("it ended with status {}", outcome.status)),
        Ok(_) => Ok(()),
    }
}
