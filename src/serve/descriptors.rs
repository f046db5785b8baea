//! How many descriptors the server may have, and how many clients that is enough for.

use log::{debug, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// So many are taken where the administrator allows it: a shell, and systemd unless told otherwise, begins with 1,024.
const WANTED: u64 = 8192;

/// What a client that is served takes: its connection, the line between the two processes, a file.
const EACH: u64 = 3;

/// What the server has open besides.
const BESIDES: u64 = 64;

/// Takes as many as a crowd needs, or as there may be. The network process, which is started later, has them too.
pub(super) fn take() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let most = WANTED.min(hard);
    if soft < most && setrlimit(Resource::RLIMIT_NOFILE, most, hard).is_ok() {
        debug!("open files: {most} instead of {soft}");
    }
}

/// Says so where there are too few for so many clients.
pub(super) fn compare(max_connections: usize) {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let served = enough_for(limit);
    if served < max_connections as u64 {
        warn!(
            "the limit of open files, {limit}, is enough for about {served} clients at once, and MaxConnections is \
             {max_connections}: see LimitNOFILE in systemd.exec(5), or ulimit -n"
        );
    }
}

/// A quarter is for those who have not said a word yet; see [`super::door`].
fn enough_for(limit: u64) -> u64 {
    (limit / 4 * 3).saturating_sub(BESIDES) / EACH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_unit_gives_is_enough_for_a_crowd_and_what_a_shell_gives_is_not() {
        assert!(enough_for(WANTED) >= 2000);
        assert!((200..300).contains(&enough_for(1024)));
        assert_eq!(enough_for(64), 0);
    }
}
