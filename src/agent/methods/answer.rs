//! Being called by other hosts: each of `MethodPeers` is asked for its calls, and they are carried out as this host's own
//! rule says. A call is written down before it is carried out, so it is carried out at most once.

use bstr::{BStr, BString, ByteSlice};

use super::asked::Asked;
use super::bundle::{self, Call, Reply};
use super::remote::LONGEST;
use super::room::{self, Room};
use super::{given, local, peers};
use crate::agent::{Action, Job, Outcome, Run};

/// Calls that were answered and could come once more; with more than these nothing is answered.
const MOST_ANSWERED: usize = 100_000;
/// So far may the clocks of two hosts be apart, in seconds.
const SKEW: i64 = 3600;
/// So much is told of what went wrong.
const LONGEST_ERROR: usize = 500;

/// The turn of a promise whose method other hosts call here. No lock holds it back.
pub fn turn(run: &mut Run<'_>, action: &'static Action, job: &Job, asked: &Asked, own: &BStr) {
    if !run.begin_now(action, job) {
        return;
    }
    let peers: Vec<BString> = peers::listed(run);
    // The arguments are those of the callers: one look is enough whatever lists are in the rule.
    if job.id.1 > 0 || run.called.is_some() {
        run.left(job);
        return run.end(job);
    }
    if peers.is_empty() {
        run.report
            .verbose("MethodPeers names no host that may call methods here");
    }
    for peer in peers.iter().map(|peer| peer.as_bstr()) {
        if peers::is_own_name(run, peer) {
            continue;
        }
        match of_peer(run, job, asked, own, peer) {
            Ok(()) => {}
            Err(why) => super::failed(run, job, &why),
        }
        if run.stop.is_some() {
            break;
        }
    }
    run.end(job);
}

/// Fetches and answers the calls of one peer.
fn of_peer(run: &mut Run<'_>, job: &Job, asked: &Asked, own: &BStr, peer: &BStr) -> Result<(), String> {
    let done = match run.dry {
        // Nothing is carried out.
        true => given::answered(run).unwrap_or_default(),
        false => given::answered(run)?,
    };
    let now = run.now.timestamp().as_second();
    let dir = peers::left_for(run, own);
    let fits = |name: &BStr| digest_in(name, asked).is_some_and(|digest| !done.contains_key(digest));
    for (name, content) in peers::calls(run, peer, &dir, &fits)? {
        let refused = |why: &str| format!("the call {name} of {peer} is not taken: {why}");
        let result = content
            .map_err(|why| refused(&why))
            .and_then(|bytes| understood(&bytes, name.as_bstr(), asked, own, now).map_err(|why| refused(&why)));
        match result {
            Ok(Some((digest, call))) => one(run, job, asked, peer, &digest, call)?,
            Ok(None) => {}
            Err(why) => super::failed(run, job, &crate::log::clean(&why)),
        }
    }
    Ok(())
}

/// The digest in the name of a file that may hold a call of a method.
fn digest_in<'n>(name: &'n BStr, asked: &Asked) -> Option<&'n str> {
    let method = asked.name.get(..60).unwrap_or(&asked.name);
    let (rest, digest) = name.rsplit_once_str("_")?;
    let rest = rest.strip_suffix(method)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:_".contains(byte);
    let fits = rest.ends_with(b"_") && rest.iter().all(plain) && bundle::is_digest(digest);
    std::str::from_utf8(digest).ok().filter(|_| fits)
}

/// The call in the bytes of a file, with its digest; `None` where it is one of another method, or counts no more.
fn understood(
    bytes: &[u8],
    name: &BStr,
    asked: &Asked,
    own: &BStr,
    now: i64,
) -> Result<Option<(String, Call)>, String> {
    let digest = bundle::digest(bytes);
    if digest_in(name, asked) != Some(&digest) {
        return Err("it is not what its digest says".into());
    }
    let call = Call::decode(bytes).map_err(|why| why.to_string())?;
    if call.name != asked.name {
        return Ok(None);
    }
    if !call.server.eq_ignore_ascii_case(own) {
        return Err(format!("it is one of {}", call.server));
    }
    if call.until < now {
        return Ok(None);
    }
    if call.until > now + LONGEST + SKEW {
        return Err("it counts longer than a call may, or the clocks of the hosts differ".into());
    }
    Ok(Some((digest, call)))
}

/// Carries out a call and leaves the answer. An error ends the calls of this peer; what is wrong with the call itself goes
/// into its answer.
fn one(run: &mut Run<'_>, job: &Job, asked: &Asked, peer: &BStr, digest: &str, call: Call) -> Result<(), String> {
    let shown = Asked {
        args: call.args.clone(),
        ..asked.clone()
    }
    .shown();
    if run.dry {
        let text = format!("Method {shown} is to be carried out for {peer}");
        run.report.say(run.doing(), text);
        run.mark(job, Outcome::Repaired);
        return Ok(());
    }
    let reply_to = BString::from(call.reply_to.to_ascii_lowercase());
    let to_peer = peers::listed(run).contains(&peers::whole(run, &reply_to));
    if !bundle::is_host(&reply_to) || !to_peer {
        super::failed(
            run,
            job,
            &format!(
                "a call of {peer} is not taken: its answer should go to {reply_to}, which is not one of MethodPeers"
            ),
        );
        return Ok(());
    }
    let room = Room::open(&room::outgoing(run.paths), true, None)?.of_host(reply_to.as_bstr())?;
    if room.is_full() {
        return Err(format!("too many answers wait for {reply_to}"));
    }
    take_up(run, digest, call.until)?;
    run.report
        .inform(format_args!("Carrying out method {shown} for {peer}"));
    let until = call.until;
    let file = room::file_name(&call.client, &call.server, &call.name, digest);
    let result = carry_out(run, asked, peer, call);
    let mut reply = match &result {
        Ok(reply) => reply.clone(),
        Err(why) => Reply {
            error: Some(why.chars().take(LONGEST_ERROR).collect::<String>().into()),
            ..Reply::default()
        },
    };
    reply.name = asked.name.clone();
    reply.call = digest.into();
    reply.until = until;
    room.put(room::reply_name(file.as_bstr()).as_bstr(), &reply.encode())?;
    match result {
        Err(why) => super::failed(run, job, &format!("called by {peer}: {why}")),
        Ok(reply) => match reply.figures {
            [_, 0, 0] => run.record(job, Outcome::Kept),
            [_, _, 0] => run.record(job, Outcome::Repaired),
            [_, _, failed] => {
                let text = format!("called by {peer}: {failed} of its promises could not be kept");
                super::failed(run, job, &text);
            }
        },
    }
    Ok(())
}

/// Writes down that a call is being carried out.
fn take_up(run: &mut Run<'_>, digest: &str, until: i64) -> Result<(), String> {
    let now = run.now.timestamp().as_second();
    let mut fits = false;
    given::write_down(run, |methods| {
        methods.answered.retain(|_, until| *until + SKEW >= now);
        fits = methods.answered.len() < MOST_ANSWERED && methods.answered.insert(digest.into(), until).is_none();
    })?;
    match fits {
        true => Ok(()),
        false => Err("another run carries it out, or too many calls were answered".into()),
    }
}

/// The method as our own rule describes it, with the caller's arguments, and those of its classes that the rule expects.
fn carry_out(run: &mut Run<'_>, asked: &Asked, peer: &BStr, call: Call) -> Result<Reply, String> {
    let call = Call {
        name: asked.name.clone(),
        file: local::file_of(run, asked),
        time: run.now.timestamp().as_second(),
        until: local::until(run, asked).min(call.until),
        client: peer.to_owned(),
        classes: call
            .classes
            .into_iter()
            .filter(|class| asked.accept.contains(class))
            .collect(),
        args: call.args,
        chain: local::no_circle(call.chain, asked)?,
        nonce: local::nonce(run),
        manner: asked.manner.clone(),
        ..Call::default()
    };
    local::carry_out(run, &call)
}
