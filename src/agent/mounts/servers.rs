//! Files on binary servers: `$(binserver)` in links and required paths, and `linkchildren` (cfengine2.md 14.5).

use std::io;
use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};

use super::model::{binary_servers, is_here, mountables, same_host};
use super::patience;
use crate::agent::Run;
use crate::agent::job::BytesPath;

/// How the variable is written.
const VARIABLE: [&str; 2] = ["$(binserver)", "${binserver}"];

/// The target of links that is looked for on the binary servers.
pub const LINK_CHILDREN: &str = "linkchildren";

/// The paths that a text with `$(binserver)` may mean: of this host first, then of each binary server. A text without it
/// is the only one.
pub fn candidates(run: &Run<'_>, text: &BStr) -> Vec<BString> {
    if !VARIABLE.iter().any(|variable| text.contains_str(variable)) {
        return vec![text.to_owned()];
    }
    let own = run.ctx.get("host").unwrap_or_default();
    let servers = binary_servers(run)
        .into_iter()
        .filter(|server| !is_here(run, server.as_bstr()));
    std::iter::once(own)
        .chain(servers)
        .map(|server| {
            let text = text.replace(VARIABLE[0], &server);
            text.replace(VARIABLE[1], &server).into()
        })
        .collect()
}

/// The first of the candidates that is there. The error names what was looked for; a server that gives no answer counts
/// as one that has nothing.
pub fn first(run: &mut Run<'_>, text: &BStr) -> Result<BString, String> {
    let all = candidates(run, text);
    if let [only] = all.as_slice() {
        return Ok(only.clone());
    }
    for path in &all {
        if is_there(run, path) {
            return Ok(path.clone());
        }
    }
    Err(format!(
        "no binary server has {text}: there is none of {}",
        bstr::join(", ", &all).as_bstr()
    ))
}

fn is_there(run: &mut Run<'_>, path: &BString) -> bool {
    match patience::look(path.as_path()) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            run.report.error(format_args!("Cannot look at {path}: {error}"));
            false
        }
    }
}

/// Where the children of `from` are: on the first file system of a binary server, in the order of `mountables:`, that
/// ends in a component of `from`, the last component tried first, and has there what follows it.
pub fn children_of(run: &mut Run<'_>, from: &BStr) -> Result<PathBuf, String> {
    let servers = binary_servers(run);
    let mut resources = mountables(run);
    resources.retain(|(host, _)| servers.iter().any(|server| same_host(run, server, host)));
    let parts: Vec<&[u8]> = from
        .split_str("/")
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    for at in (0..parts.len()).rev() {
        for (_, path) in &resources {
            if path.trim_end_with(|c| c == '/').rsplit_str("/").next() != Some(parts[at]) {
                continue;
            }
            let whole = parts[at + 1..]
                .iter()
                .fold(path.as_path().to_path_buf(), |whole, part| {
                    whole.join(part.as_bstr().as_path())
                });
            let name = BString::from(whole.as_os_str().as_encoded_bytes());
            // A directory linked into itself would be endless.
            if name != from.trim_end_with(|c| c == '/') && is_there(run, &name) {
                return Ok(whole);
            }
        }
    }
    Err(format!("no file system of a binary server has the children of {from}"))
}
