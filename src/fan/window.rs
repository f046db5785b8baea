//! How many hosts are served at once: what this machine can do, and what its limits allow.

use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors that a host takes: its pipes or its socket, and their other ends while it is started.
const FILES: u64 = 6;

/// Processes that a host takes: its ssh, and one that ssh may start for a proxy or a connection that is kept.
const PROCESSES: u64 = 2;

/// Descriptors and processes that are left for the rest of the work.
const SPARE: u64 = 32;

/// A limit of processes above this leaves room for every window, whatever runs already.
const MANY: u64 = 65_536;

/// The window when none is asked for: 16 hosts a core, from 32 to 128, as far as the limits go.
pub fn default_window() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    (cores * 16).clamp(32, 128).min(widest_window())
}

/// The widest window that the limits on open files and on processes of this user allow.
pub fn widest_window() -> usize {
    let soft = |resource| getrlimit(resource).map_or(1024, |(soft, _)| soft);
    let processes = match soft(Resource::RLIMIT_NPROC) {
        // The kernel does not hold root to it.
        _ if nix::unistd::geteuid().is_root() => None,
        MANY.. => None,
        limit => Some((limit, running())),
    };
    widest(soft(Resource::RLIMIT_NOFILE), processes)
}

/// `processes`: the limit, and how many there are already.
fn widest(files: u64, processes: Option<(u64, u64)>) -> usize {
    let by_files = files.saturating_sub(SPARE) / FILES;
    let by_processes = processes.map(|(limit, running)| limit.saturating_sub(running + SPARE) / PROCESSES);
    let widest = by_processes.map_or(by_files, |most| most.min(by_files));
    usize::try_from(widest).unwrap_or(usize::MAX).max(1)
}

/// How many processes this user has.
fn running() -> u64 {
    let uid = nix::unistd::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let process = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let own = entries
        .filter_map(Result::ok)
        .filter(|entry| process(&entry.file_name()))
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid));
    own.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_fits_into_both_limits_and_is_never_nothing() {
        assert_eq!(widest(1024, None), 165);
        assert_eq!(widest(1024, Some((200, 68))), 50);
        assert_eq!(widest(256, Some((4096, 100))), 37);
        assert_eq!(widest(16, None), 1);
        assert_eq!(widest(1024, Some((100, 400))), 1);
    }

    #[test]
    fn own_processes_are_counted() {
        let before = running();
        assert!(before >= 1);
        let mut children: Vec<_> = (0..20)
            .map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap())
            .collect();
        // Others come and go meanwhile.
        assert!(running() >= 20);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
