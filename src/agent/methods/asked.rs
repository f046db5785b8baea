//! What a rule of `methods:` asks for.

use bstr::{BString, ByteSlice};

use super::bundle::{self, Manner};
use crate::agent::sources::is_local;
use crate::agent::{Job, Memory, Run, owner};
use crate::policy::{Body, class_list};

/// Where a method is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// `server=none`
    Nowhere,
    /// On this machine, in this run.
    Here,
    /// On another host, or here for other hosts.
    Host(BString),
}

/// A rule, understood.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub name: BString,
    /// Its arguments.
    pub args: Vec<BString>,
    /// `action=`: the file in the modules directory.
    pub file: BString,
    /// `server=`
    pub server: Where,
    /// `returnvars=`
    pub vars: Vec<BString>,
    /// `returnclasses=`
    pub classes: Vec<BString>,
    /// Those of `sendclasses=` that hold.
    pub send: Vec<BString>,
    /// All of `sendclasses=`: what a call that comes here may send.
    pub accept: Vec<BString>,
    /// `forcereplyto=`
    pub reply_to: Option<BString>,
    /// `owner=`, `group=`, `chdir=`, `chroot=`
    pub manner: Manner,
    /// `expireafter=`, in minutes.
    pub minutes: Option<i64>,
    /// What this call is remembered by.
    pub key: String,
}

impl Asked {
    /// Reads a rule; the error is one sentence.
    pub fn of(run: &Run<'_>, job: &Job) -> Result<Asked, String> {
        if !matches!(job.rule.body, Body::Call(_)) {
            return Err("a method is written Name(arguments), without quotes around it".into());
        }
        let name = job.object.clone();
        if !bundle::is_name(&name) {
            return Err("the name of a method has letters, digits and underscores only".into());
        }
        if [&b"global"[..], b"main", b"update"].contains(&name.as_slice()) {
            return Err("the name is that of a context; $(NAME.variable) would mean two things".into());
        }
        let file = run.value(job, "action").unwrap_or_default();
        if file.is_empty() || file.starts_with(b".") || file.contains(&b'/') {
            return Err("action= must name a file of the modules directory".into());
        }
        let server = run.value(job, "server").unwrap_or_default().to_ascii_lowercase();
        let server = match server.as_slice() {
            b"none" => Where::Nowhere,
            here if is_local(here.as_bstr()) => Where::Here,
            host if bundle::is_host(host) => Where::Host(host.into()),
            host => return Err(format!("server={} is no host", host.as_bstr())),
        };
        let args = bundle::split(job.other.as_bstr());
        if args.len() > bundle::MOST {
            return Err(format!("more than {} arguments", bundle::MOST));
        }
        let id = |attr, one: fn(&bstr::BStr) -> Result<u32, String>| {
            let name = run.value(job, attr);
            name.map(|name| one(name.as_bstr())).transpose()
        };
        let accept = names(run, job, "sendclasses")?;
        let reply_to = run
            .value(job, "forcereplyto")
            .map(|host| BString::from(host.to_ascii_lowercase()));
        if let Some(host) = reply_to.as_ref().filter(|host| !bundle::is_host(host)) {
            return Err(format!("forcereplyto={host} is no host"));
        }
        let minutes = run.value(job, "expireafter");
        let minutes = minutes.and_then(|text| text.to_str().ok()?.trim().parse().ok());
        Ok(Asked {
            vars: names(run, job, "returnvars")?,
            classes: names(run, job, "returnclasses")?,
            send: accept.iter().filter(|class| run.ctx.has(class)).cloned().collect(),
            accept,
            reply_to,
            manner: Manner {
                uid: id("owner", owner::uid)?,
                gid: id("group", owner::gid)?,
                chdir: run.value(job, "chdir"),
                chroot: run.value(job, "chroot"),
            },
            minutes: minutes.filter(|minutes| *minutes > 0),
            key: Memory::key(run.phase, "method", job),
            name,
            args,
            file,
            server,
        })
    }

    /// The call as messages show it.
    pub fn shown(&self) -> String {
        let args: Vec<String> = self.args.iter().map(|arg| arg.escape_bytes().to_string()).collect();
        format!("{}({})", self.name, args.join(","))
    }
}

/// The names of an attribute; `null`, `void` and `none` are none.
fn names(run: &Run<'_>, job: &Job, attribute: &str) -> Result<Vec<BString>, String> {
    let text = run.value(job, attribute).unwrap_or_default();
    let names: Vec<BString> = class_list(&text).into_iter().filter(|name| !is_nothing(name)).collect();
    match names.iter().find(|name| !bundle::is_name(name)) {
        Some(odd) => Err(format!(
            "{attribute}= names {odd}; a name has letters, digits and underscores only"
        )),
        None if names.len() > bundle::MOST => Err(format!("{attribute}= has more than {} names", bundle::MOST)),
        None => Ok(names),
    }
}

/// The words that stand for nothing.
pub fn is_nothing(word: &[u8]) -> bool {
    [&b""[..], b"null", b"void", b"none"]
        .iter()
        .any(|nothing| word.eq_ignore_ascii_case(nothing))
}

/// Arguments or parameters; a single word for nothing is none.
pub fn meant(words: &[BString]) -> &[BString] {
    match words {
        [only] if is_nothing(only) => &[],
        words => words,
    }
}
