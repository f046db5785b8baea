//! `MethodPeers`: the hosts that may be called and that may call, and what lies in their `rpc_out` for this one.

use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use super::bundle::{self, LIMIT};
use super::room;
use crate::agent::sources::is_local;
use crate::agent::{BytesPath, OpenOptions, Run};
use crate::fsx::{Entry, Kind, Select, Source, SourceError};

/// No more bundles are taken from one host for one rule in one run.
pub const AT_ONCE: usize = 64;

/// A bundle of another host, or why it was not taken.
pub type Fetched = (BString, Result<Vec<u8>, String>);

/// The hosts of `MethodPeers`, in lower case and with a domain where this host has one. What is no host is left out.
pub fn listed(run: &Run<'_>) -> Vec<BString> {
    let words = run.ctx.list("MethodPeers");
    words
        .iter()
        .map(|word| whole(run, word))
        .filter(|host| bundle::is_host(host))
        .collect()
}

/// A host's name in lower case, with our domain where it has none.
pub fn whole(run: &Run<'_>, host: &[u8]) -> BString {
    let mut name = BString::from(host.trim().to_ascii_lowercase());
    let domain = run.machine.host().full.split_once('.');
    if let (Some((_, domain)), false) = (domain, name.contains_str(".") || name.contains_str(":")) {
        name.push(b'.');
        name.extend_from_slice(domain.to_ascii_lowercase().as_bytes());
    }
    name
}

/// Whether a name is this host's, or one of its addresses.
pub fn is_own_name(run: &Run<'_>, host: &BStr) -> bool {
    let own = run.machine.host();
    let address = host.to_str().ok().and_then(|text| text.parse().ok());
    whole(run, host) == own_name(run)
        || host.eq_ignore_ascii_case(own.short.as_bytes())
        || own.interfaces.iter().any(|one| Some(one.address) == address)
}

/// The full name of this host.
pub fn own_name(run: &Run<'_>) -> BString {
    run.machine.host().full.to_ascii_lowercase().into()
}

/// Where a peer has what it left for a host. Peers have the same work directory as this host.
pub fn left_for(run: &Run<'_>, host: &BStr) -> PathBuf {
    room::outgoing(run.paths).join(host.as_path())
}

/// The names of calls in a directory of a peer that `fits` wants, with their content.
pub fn calls(run: &mut Run<'_>, peer: &BStr, dir: &Path, fits: &dyn Fn(&BStr) -> bool) -> Result<Vec<Fetched>, String> {
    // With a slash behind it: a server that admits it says whether it is there, whatever is above it.
    let dir = &dir.join("");
    let found = ask(run, peer, |source| {
        let entries = source.manifest(dir, &below())?;
        if let Some((_, why)) = source.unread().first() {
            return Err(SourceError::Refused(format!("not all can be read there: {why}")));
        }
        let wanted = entries
            .iter()
            .filter(|entry| entry.kind == Kind::File && fits(entry.path.as_bstr()));
        fetch(source, dir, &wanted.take(AT_ONCE).collect::<Vec<_>>())
    });
    match found {
        Err(SourceError::Missing) => Ok(Vec::new()),
        other => other.map_err(|error| why(peer, &error)),
    }
}

/// One bundle of a peer; `None` where there is none yet.
pub fn one(run: &mut Run<'_>, peer: &BStr, dir: &Path, name: &BStr) -> Result<Option<Vec<u8>>, String> {
    let path = dir.join(name.as_path());
    let found = ask(run, peer, |source| {
        let entries = source.manifest(&path, &Select::default())?;
        let wanted = entries.iter().filter(|entry| entry.kind == Kind::File);
        fetch(source, &path, &wanted.take(1).collect::<Vec<_>>())
    });
    match found.map(|mut found| found.pop()) {
        Ok(Some((_, content))) => content
            .map(Some)
            .map_err(|why| format!("the answer of {peer} is not taken: {}", crate::log::clean(&why))),
        Ok(None) => Err(format!("{peer}: the answer is no plain file")),
        Err(SourceError::Missing) => Ok(None),
        Err(error) => Err(why(peer, &error)),
    }
}

fn below() -> Select {
    Select {
        recurse: 1,
        ..Select::default()
    }
}

fn ask<T>(
    run: &mut Run<'_>,
    peer: &BStr,
    ask: impl FnOnce(&mut dyn Source) -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    if is_local(peer) {
        return Err(SourceError::Unreachable("it is this machine".into()));
    }
    let options = OpenOptions::of(run);
    let Some(sources) = run.sources.take() else {
        return Err(SourceError::Unreachable(
            "this program has no way to reach others".into(),
        ));
    };
    let result = match sources.open(peer, &options) {
        Ok(mut source) => ask(source.as_mut()),
        Err(error) => Err(error),
    };
    for note in sources.take_notes() {
        run.report.error(note);
    }
    run.sources = Some(sources);
    result
}

/// What a source holds of the wanted files. Nothing larger than a bundle is asked for.
fn fetch(source: &mut dyn Source, root: &Path, wanted: &[&Entry]) -> Result<Vec<Fetched>, SourceError> {
    let (fit, large): (Vec<&Entry>, Vec<&Entry>) = wanted.iter().partition(|entry| entry.size <= LIMIT as u64);
    let mut found: Vec<Fetched> = large
        .into_iter()
        .map(|entry| (entry.path.clone(), Err("it is too large".into())))
        .collect();
    source.fetch(root, &fit, &mut |entry, content| {
        let content = content.map_err(|error| error.to_string()).and_then(|content| {
            let mut bytes = Vec::new();
            let read = content.take(LIMIT as u64 + 1).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|error| error.to_string())
        });
        found.push((entry.path.clone(), content));
        Ok(())
    })?;
    Ok(found)
}

/// What went wrong, and with whom.
fn why(peer: &BStr, error: &SourceError) -> String {
    let text = crate::log::clean(&error.to_string());
    match error {
        SourceError::Unreachable(_) => format!("{peer} cannot be reached: {text}"),
        SourceError::Authentication(_) => format!("{peer} and this host do not know each other: {text}"),
        SourceError::Refused(_) => format!("{peer} does not admit this host: {text}"),
        _ => format!("{peer}: {text}"),
    }
}
