//! Manifests remembered from run to run, so that a tree that did not change costs one short exchange.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::fsx::Select;
use crate::{digest, wire};

/// Shorter ones are not remembered.
pub(super) const LEAST: usize = 16;

/// Where manifests are kept. What is found is what was kept, byte for byte, or nothing.
pub trait Shelf: Send {
    /// The entries of a manifest as they were sent, and their blake3.
    fn find(&self, name: &str) -> Option<(Vec<u8>, [u8; 32])>;

    /// Keeps the entries of a manifest. One that cannot be kept is sent again in full the next time.
    fn keep(&self, name: &str, body: &[u8], digest: &[u8; 32]);
}

/// Under which name the manifest of a tree is kept: a server may be asked for several parts of several trees. It only
/// decides what is compared with; whether that is what the server has now, the server says.
pub(super) fn name(server: &str, port: u16, root: &Path, select: &Select) -> String {
    let select = wire::select_bytes(select).unwrap_or_default();
    let root = root.as_os_str().as_bytes();
    let parts = [server.as_bytes(), b"\0", &port.to_be_bytes(), root, b"\0", &select].concat();
    let hex = digest::blake3(&parts).map(|byte| format!("{byte:02x}"));
    hex.get(..16).unwrap_or_default().concat()
}
