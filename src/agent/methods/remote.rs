//! Calling a method on another host. The call lies in `rpc_out/SERVER` until that host fetches it; its answer is fetched
//! from the `rpc_out` of that host in a later run.

use bstr::{BStr, BString, ByteSlice};

use super::asked::Asked;
use super::bundle::{self, Call, Manner, Reply};
use super::given::{self, Waiting};
use super::peers;
use super::room::{self, Room};
use crate::agent::{Action, Job, Run};

/// Minutes a call waits for its answer unless `expireafter=` says otherwise: both hosts have to run in them.
const EXPIRE_AFTER: i64 = 24 * 60;
/// No call waits longer: 7 days. So long the called host remembers what it answered.
pub const LONGEST: i64 = 7 * 24 * 3600;

/// The turn of a promise whose method runs on another host.
pub fn turn(run: &mut Run<'_>, action: &'static Action, job: &Job, asked: &Asked, host: &BStr) {
    let waiting = given::waiting(run, &asked.key).filter(|waiting| waiting.server.as_bytes() == host.as_bytes());
    // The time until it is due again begins when its answer has come.
    let begun = match waiting {
        Some(_) => run.begin_now(action, job),
        None => run.begin(action, job),
    };
    if !begun {
        return given::recall(run, asked);
    }
    run.stays_due(job);
    let result = allowed(run, host).and_then(|()| match &waiting {
        Some(waiting) => fetch(run, asked, host, waiting),
        None => leave(run, asked, host).map(|()| None),
    });
    let result = match result {
        Ok(Some(reply)) => {
            if run.options.uses_locks() {
                let now = run.now.timestamp().as_second();
                run.memory.record(asked.key.clone(), now);
            }
            super::take(run, job, asked, &reply).map_err(|why| format!("{host}: {why}"))
        }
        Ok(None) => {
            given::recall(run, asked);
            run.left(job);
            Ok(())
        }
        Err(why) => {
            given::recall(run, asked);
            Err(why)
        }
    };
    if let Err(why) = result {
        super::failed(run, job, &why);
    }
    run.end(job);
}

fn allowed(run: &Run<'_>, host: &BStr) -> Result<(), String> {
    if run.called.is_some() {
        return Err(format!(
            "a method cannot call one of another host ({host}): the answer would come after its end"
        ));
    }
    match peers::listed(run).contains(&peers::whole(run, host)) {
        true => Ok(()),
        false => Err(format!("{host} is not one of MethodPeers")),
    }
}

/// Leaves a call for a host to fetch.
fn leave(run: &mut Run<'_>, asked: &Asked, host: &BStr) -> Result<(), String> {
    let shown = asked.shown();
    if run.dry {
        let text = format!("Method {shown} is to be called on {host}");
        run.report.say(run.doing(), text);
        return Ok(());
    }
    let now = run.now.timestamp().as_second();
    let minutes = asked.minutes.unwrap_or(EXPIRE_AFTER).min(LONGEST / 60);
    let client = peers::own_name(run);
    let call = Call {
        name: asked.name.clone(),
        file: asked.file.clone(),
        time: now,
        until: now + minutes * 60,
        reply_to: asked.reply_to.clone().unwrap_or_else(|| client.clone()),
        client,
        server: host.to_owned(),
        classes: asked.send.clone(),
        args: asked.args.clone(),
        nonce: super::local::nonce(run),
        // As whom it runs is for the called host to say.
        manner: Manner::default(),
        chain: Vec::new(),
    };
    let bytes = call.encode();
    if bytes.len() > bundle::LIMIT {
        return Err("its arguments are too large".into());
    }
    let digest = bundle::digest(&bytes);
    let name = room::file_name(&call.client, &call.server, &call.name, &digest);
    let room = Room::open(&room::outgoing(run.paths), true, None)?.of_host(host)?;
    if room.is_full() {
        return Err(format!("too many calls wait for {host}"));
    }
    let waiting = Waiting {
        digest,
        file: name.to_string(),
        server: host.to_string(),
        reply_to: call.reply_to.to_string(),
        until: call.until,
    };
    given::write_down(run, |methods| {
        methods.waiting.retain(|_, waiting| waiting.until + LONGEST > now);
        methods.waiting.insert(asked.key.clone(), waiting);
    })?;
    if let Err(why) = room.put(name.as_bstr(), &bytes) {
        forget(run, asked)?;
        return Err(why);
    }
    run.report.inform(format_args!(
        "Calling method {shown} on {host}: the call lies in rpc_out until {host} fetches it"
    ));
    Ok(())
}

/// The answer, once it is there.
fn fetch(run: &mut Run<'_>, asked: &Asked, host: &BStr, waiting: &Waiting) -> Result<Option<Reply>, String> {
    let shown = asked.shown();
    if run.dry {
        let text = format!("The answer of {host} to method {shown} is to be fetched");
        run.report.say(run.doing(), text);
        return Ok(None);
    }
    if waiting.until < run.now.timestamp().as_second() {
        forget(run, asked)?;
        take_back(run, host, waiting);
        return Err(format!("{host} did not answer in time (expireafter=)"));
    }
    let name = room::reply_name(waiting.file.as_bytes().as_bstr());
    let dir = peers::left_for(run, waiting.reply_to.as_bytes().as_bstr());
    let Some(bytes) = peers::one(run, host, &dir, name.as_bstr())? else {
        run.report
            .verbose(format_args!("{host} has no answer to method {shown} yet"));
        return Ok(None);
    };
    let reply = Reply::decode(&bytes).map_err(|why| format!("the answer of {host} is not taken: {why}"))?;
    if reply.call != waiting.digest || reply.name != asked.name {
        return Err(format!("the answer of {host} is not taken: it is one to another call"));
    }
    // From here on it was taken: never twice.
    forget(run, asked)?;
    take_back(run, host, waiting);
    run.report.verbose(format_args!("{host} has answered method {shown}"));
    Ok(Some(reply))
}

fn forget(run: &mut Run<'_>, asked: &Asked) -> Result<(), String> {
    given::write_down(run, |methods| {
        methods.waiting.remove(&asked.key);
    })
}

/// Removes a call from where it waits.
fn take_back(run: &Run<'_>, host: &BStr, waiting: &Waiting) {
    let name = BString::from(waiting.file.as_str());
    let room = Room::open(&room::outgoing(run.paths), false, None).and_then(|room| room.of_host(host));
    if let Ok(room) = room {
        room.remove(name.as_bstr());
    }
}
