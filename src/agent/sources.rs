//! Where copies come from: this machine, or a server behind [`Sources`], which the tool provides.

use std::time::Duration;

use bstr::{BStr, ByteSlice};

use super::Run;
use crate::fsx::{Local, Source, SourceError};
use crate::state::{Sighting, Standing, Store};
use crate::sync::Compress;

/// How a server is to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// `trustkey=true`: accept the key of a server that is not known yet.
    pub trust: bool,
    /// `encrypt=true`; our protocol always does.
    pub encrypt: bool,
    /// `forceipv4=true`
    pub ipv4_only: bool,
    /// `stealth=true`: leave no trace in access times.
    pub stealth: bool,
    /// `TimeOut`: how long connecting and each answer may take; `None` = the default.
    pub timeout: Option<Duration>,
    /// `Compress`: whether servers are to pack what they send.
    pub compress: Compress,
    /// `BindToInterface`
    pub bind: Option<std::net::IpAddr>,
    /// Where manifests are remembered from run to run.
    pub memory: Option<Store>,
}

impl OpenOptions {
    /// As `control:` says for all servers.
    pub fn of(run: &Run<'_>) -> OpenOptions {
        let setting = |name: &str| run.ctx.get(name);
        OpenOptions {
            timeout: setting("TimeOut")
                .and_then(|text| text.to_str().ok()?.trim().parse().ok())
                .map(|seconds: u64| Duration::from_secs(seconds.clamp(3, 60))),
            memory: run.memory.store().cloned(),
            compress: run
                .setting("Compress")
                .and_then(|word| Compress::named(&word))
                .unwrap_or_default(),
            bind: setting("BindToInterface").and_then(|text| text.to_str().ok()?.trim().parse().ok()),
            ..OpenOptions::default()
        }
    }
}

/// Opens sources of trees by the name of a server. One connection serves all rules that name the same server.
pub trait Sources {
    /// The source of a server. An error says whether the server could not be reached, or one side did not accept the
    /// other's key.
    fn open(&mut self, server: &BStr, options: &OpenOptions) -> Result<Box<dyn Source + '_>, SourceError>;

    /// What a person may want to know of the connections made since the last call: a key that was accepted on trust.
    fn take_notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// This machine runs this policy from now on: servers may want to know.
    fn runs(&mut self, _policy: &Standing) {}

    /// The servers that answered since the last call.
    fn take_sightings(&mut self) -> Vec<Sighting> {
        Vec::new()
    }
}

/// No servers, only this machine.
#[derive(Debug, Default)]
pub struct OnlyLocal;

impl Sources for OnlyLocal {
    fn open(&mut self, server: &BStr, options: &OpenOptions) -> Result<Box<dyn Source + '_>, SourceError> {
        if is_local(server) {
            return Ok(Box::new(Local::new(options.stealth)));
        }
        Err(SourceError::Unreachable(format!(
            "{server} is not this machine, and this program has no way to reach others"
        )))
    }
}

/// Whether a server name means this machine without asking a server (14.1: the default is `localhost`).
pub fn is_local(server: &BStr) -> bool {
    server.is_empty() || server == "localhost" || server == "127.0.0.1" || server == "::1"
}
