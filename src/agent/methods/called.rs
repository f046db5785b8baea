//! Being called: the bundle with a digest in `rpc_in`, the rights it runs with, and the answer.
//!
//! Everything that needs the caller's rights is done before they are given up: the bundle and the method's file are read,
//! and the answer's file is open.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::asked::{is_nothing, meant};
use super::bundle::{self, Call, Reply};
use super::room::{self, Room};
use crate::agent::{BytesPath, Counts, Run};
use crate::fsx::{Place, Wanted, write_whole};
use crate::policy::{Body, Context, Rule, Section, World};
use crate::sys::{Paths, identity};

/// The largest file of a method.
const LARGEST: u64 = 32 << 20;

/// A call that is being carried out.
pub struct Called {
    call: Call,
    /// The method's file and its content.
    pub policy: (PathBuf, Vec<u8>),
    answer: Reply,
    out: File,
}

impl Called {
    /// Takes up the call with a digest. The error is one sentence.
    pub fn open(paths: &Paths, digest: &[u8], now: i64) -> Result<Called, String> {
        let digest = std::str::from_utf8(digest)
            .ok()
            .filter(|text| bundle::is_digest(text.as_bytes()));
        let digest = digest.ok_or("-Z wants the digest of a call, 32 hexadecimal digits")?;
        let rooms = Room::open(&room::incoming(paths), false, None)?;
        let name = rooms
            .find(digest)
            .ok_or(format!("there is no call {digest} of a method"))?;
        let bytes = rooms.read(name.as_bstr()).map_err(|error| format!("{name}: {error}"))?;
        if bundle::digest(&bytes) != digest {
            return Err(format!("the call {name} is not what its digest says"));
        }
        let call = Call::decode(&bytes).map_err(|why| format!("the call {name}: {why}"))?;
        if call.until < now {
            return Err(format!("the call {name} is past its time"));
        }
        let policy = read(call.file.as_path())?;
        let out = rooms.blank(room::reply_name(name.as_bstr()).as_bstr());
        let out = out.map_err(|error| format!("the answer to {name}: {error}"))?;
        let answer = Reply {
            name: call.name.clone(),
            call: digest.to_string(),
            until: call.until,
            ..Reply::default()
        };
        Ok(Called {
            call,
            policy,
            answer,
            out,
        })
    }

    /// Whether it runs as somebody else or elsewhere, so that what is remembered is out of reach.
    pub fn is_apart(&self) -> bool {
        let manner = &self.call.manner;
        manner.chroot.is_some() || manner.uid.is_some_and(|uid| uid != nix::unistd::geteuid().as_raw())
    }

    /// Becomes whoever the method runs as.
    pub fn enter(&self) -> io::Result<()> {
        let manner = &self.call.manner;
        let path = |path: &Option<BString>| path.as_ref().map(|path| path.as_path().to_path_buf());
        let (root, dir) = (path(&manner.chroot), path(&manner.chdir));
        identity::assume(manner.uid, manner.gid, root.as_deref(), dir.as_deref())
    }

    /// Arguments and classes, for the policy to be read with.
    pub fn prepare(&self, context: &mut Context) {
        context.set_arguments(self.call.args.clone());
        for class in &self.call.classes {
            context.define(class);
        }
    }

    /// Whether the policy that was read is the method that was called; the error is one sentence.
    pub fn check(&self, context: &Context) -> Result<(), String> {
        let file = self.policy.0.display();
        let name = context.get("MethodName").map(|name| context.expand(name.as_bstr()));
        match name {
            None => return Err(format!("{file} sets no MethodName")),
            Some(name) if name != self.call.name => {
                return Err(format!("{file} is the method {name}, not {}", self.call.name));
            }
            Some(_) => {}
        }
        let words = context.list("MethodParameters");
        let (parameters, args) = (meant(&words), &self.call.args);
        if parameters.len() != args.len() {
            return Err(format!(
                "{file} takes {} arguments (MethodParameters), and {} were given",
                parameters.len(),
                args.len()
            ));
        }
        Ok(())
    }

    /// Parameters that are files get what they were given as content, for nobody else to read.
    pub fn write_files(&self, context: &Context) -> Result<(), String> {
        let words = context.list("MethodParameters");
        let files = words
            .iter()
            .zip(&self.call.args)
            .filter(|(word, _)| word.starts_with(b"/"));
        for (path, content) in files {
            let write = || {
                let place = Place::of(path.as_path())?;
                let wanted = Wanted {
                    carry: false,
                    ..Wanted::default()
                };
                write_whole(&place.dir, place.name(), content, &wanted, None)
            };
            write().map_err(|error| format!("the argument for {path} cannot be written: {error}"))?;
        }
        Ok(())
    }

    /// The methods on the way here, this one too.
    pub fn chain(&self) -> Vec<BString> {
        let mut chain = self.call.chain.clone();
        chain.push(self.call.name.clone());
        chain
    }

    /// When it has to be done.
    pub fn until(&self) -> i64 {
        self.call.until
    }

    /// What promises of this method are remembered under: the same promise of another call is another one.
    pub fn lock(&self) -> String {
        let args = blake3::hash(&bundle::join(&self.call.args)).to_hex();
        format!("method.{}.{}", self.call.name, &args.as_str()[..16])
    }

    /// Writes the answer.
    pub fn finish(mut self, counts: Counts) -> io::Result<()> {
        self.answer.figures = [counts.kept, counts.repaired, counts.failed];
        let bytes = self.answer.encode();
        if bytes.len() > bundle::LIMIT {
            return Err(io::Error::other("what it returns is too large"));
        }
        self.out.write_all(&bytes)
    }
}

/// The method's file: a plain one of root's or ours that nobody else may write, in a directory of which the same is true.
fn read(path: &Path) -> Result<(PathBuf, Vec<u8>), String> {
    let shown = path.display();
    let told = |error: io::Error| format!("{shown}: {error}");
    let place = Place::of(path).map_err(told)?;
    let file = place.dir.read(place.name()).map_err(told)?;
    let meta = crate::sys::at::file_meta(&file).map_err(told)?;
    for (what, meta) in [("it", meta), ("its directory", place.dir.self_meta().map_err(told)?)] {
        let ours = meta.uid() == 0 || meta.uid() == nix::unistd::geteuid().as_raw();
        if !ours || meta.mode() & 0o022 != 0 {
            return Err(format!("{shown} is not run: others own {what} or may write it"));
        }
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(told)?;
    if text.len() as u64 > LARGEST {
        return Err(format!("{shown} is too large"));
    }
    Ok((path.to_path_buf(), text))
}

/// Whether a rule is `ReturnVariables(…)` or `ReturnClasses(…)`, which are no promises: no lock holds them back.
pub fn is_return(rule: &Rule) -> bool {
    rule.section == Section::Alerts
        && matches!(rule.body, Body::Call(_))
        && [&b"ReturnVariables"[..], b"ReturnClasses"]
            .iter()
            .any(|name| rule.promiser.eq_ignore_ascii_case(name))
}

/// `ReturnVariables(…)`: the values for `returnvars=`, in that order. The last one counts.
pub fn give_variables(run: &mut Run<'_>, values: &[BString]) -> Result<(), String> {
    let values = meant(values);
    if values.len() > bundle::MOST {
        return Err(format!("ReturnVariables: more than {} values", bundle::MOST));
    }
    match &mut run.called {
        Some(called) => called.answer.values = values.to_vec(),
        None => run.machine.verbose("ReturnVariables: nobody called this policy"),
    }
    Ok(())
}

/// `ReturnClasses(…)`: those of these classes that hold.
pub fn give_classes(run: &mut Run<'_>, classes: &[BString]) -> Result<(), String> {
    for class in meant(classes) {
        if is_nothing(class) {
            continue;
        }
        if !bundle::is_name(class) {
            return Err(format!("ReturnClasses: {class} is no name of a class"));
        }
        let holds = run.ctx.has(class);
        match &mut run.called {
            Some(called) if holds && !called.answer.classes.contains(class) => {
                if called.answer.classes.len() >= bundle::MOST {
                    return Err(format!("ReturnClasses: more than {} classes", bundle::MOST));
                }
                called.answer.classes.push(class.clone());
            }
            Some(_) => {}
            None => run.machine.verbose("ReturnClasses: nobody called this policy"),
        }
    }
    Ok(())
}
