//! Giving up what a process may do, for good: for one that reads what strangers send. Three walls, each of which would do
//! alone for files: a user that owns nothing, Landlock that grants nothing, and a list of the only system calls there are.

#![allow(unsafe_code)] // Landlock has no wrapper in the C library

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use nix::sys::prctl::{set_dumpable, set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, umask};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::identity::assume;

/// Closes all descriptors but the three standard ones.
pub fn close_others() -> io::Result<()> {
    // SAFETY: no memory is passed; nothing in this process has opened anything yet that it still needs.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    answer(closed).map(|_| ())
}

/// From now on these signals do nothing.
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    for one in signals {
        // SAFETY: no handler is set.
        unsafe { signal(*one, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Confines this process, which must still be alone with its main thread: it becomes that user, loses all capabilities,
/// cannot get new ones, cannot be traced, ends with its parent, and then stands behind [`landlock`] and [`filter`]. Gives
/// what this kernel could not do, one sentence each. On an error the process must not go on.
pub fn confine(uid: u32, gid: u32) -> io::Result<Vec<String>> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    assume(Some(uid), Some(gid), None, Some(std::path::Path::new("/")))?;
    // After the change of user, which undoes both.
    set_dumpable(false)?;
    set_pdeathsig(Signal::SIGKILL)?;
    set_no_new_privs()?;
    let mut missing = Vec::new();
    if let Err(error) = landlock() {
        missing.push(format!("Landlock is not to be had from this kernel ({error})"));
    }
    if let Err(error) = filter() {
        missing.push(format!("system calls cannot be filtered here ({error})"));
    }
    Ok(missing)
}

fn answer(value: libc::c_long) -> io::Result<libc::c_long> {
    match value {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// What a Landlock ruleset decides about; where it decides and no rule grants, nothing is allowed.
#[repr(C)]
struct Handled {
    files: u64,
    net: u64,
    scoped: u64,
}

impl Handled {
    /// All that a version of Landlock knows.
    fn all(version: libc::c_long) -> (Self, usize) {
        let rights = match version {
            1 => 13,
            2 => 14,
            3 | 4 => 15,
            _ => 16,
        };
        let handled = Handled {
            files: (1 << rights) - 1,
            net: if version >= 4 { 3 } else { 0 },
            scoped: if version >= 6 { 3 } else { 0 },
        };
        let size = match version {
            ..=3 => 8,
            4 | 5 => 16,
            _ => 24,
        };
        (handled, size)
    }
}

/// From now on no file can be opened, made, removed, run or renamed, no TCP port bound or connected to, no process outside
/// signalled, as far as this kernel's Landlock knows of it. What is open stays open.
pub fn landlock() -> io::Result<()> {
    // SAFETY: with these arguments only the version is asked for.
    let version = answer(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Handled>(),
            0_usize,
            1_u32,
        )
    })?;
    let (handled, size) = Handled::all(version);
    // SAFETY: `handled` lives through the call and is at least `size` bytes long.
    let ruleset = answer(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0_u32) })?;
    // SAFETY: the descriptor was just made; nobody else knows of it.
    let done = answer(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0_u32) });
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close, ruleset) };
    done.map(|_| ())
}

/// The calls that a confined process needs: to talk on sockets that it has or is given, to read what is open, threads,
/// memory that is not run, time and random numbers. No path, no new socket but pairs, no program, no other process.
const CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    // Never comes through, see `filter`.
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_socketpair,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// From now on there are the calls of [`CALLS`] and a few with some arguments only; any other fails with EPERM.
pub fn filter() -> io::Result<()> {
    let rules = rules().map_err(io::Error::other)?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let known = compile(rules, refused, SeccompAction::Allow)?;
    // The C library asks whether there is clone3, whose flags no filter can see, and takes clone when there is not.
    let old = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let none = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let old = compile(old, SeccompAction::Allow, none)?;
    for program in [old, known] {
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn compile(rules: Rules, otherwise: SeccompAction, action: SeccompAction) -> io::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, action, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let mut some = |call: libc::c_long, argument: u8, op: &dyn Fn(u64) -> SeccompCmpOp, values: &[u64]| {
        let one = |value: &u64| {
            // The second word of an int is not looked at by the kernel either.
            let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op(*value), *value)?;
            SeccompRule::new(vec![condition])
        };
        let conditions = values.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, conditions);
        Ok::<(), seccompiler::BackendError>(())
    };
    let word = |value: libc::c_int| u64::from(value.unsigned_abs());
    let equal = |_| SeccompCmpOp::Eq;
    // Threads, no processes.
    let thread = word(libc::CLONE_THREAD);
    some(libc::SYS_clone, 0, &SeccompCmpOp::MaskedEq, &[thread])?;
    // Memory that can be run is there from the start or not at all.
    let not_run = |_| SeccompCmpOp::MaskedEq(word(libc::PROT_EXEC));
    some(libc::SYS_mmap, 2, &not_run, &[0])?;
    some(libc::SYS_mprotect, 2, &not_run, &[0])?;
    let flags = [
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
    ];
    some(libc::SYS_fcntl, 1, &equal, &flags.map(word))?;
    some(libc::SYS_ioctl, 1, &equal, &[libc::FIONBIO])?;
    some(libc::SYS_prctl, 0, &equal, &[word(libc::PR_SET_NAME)])?;
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_made_for_the_machines_that_the_packages_are_for() {
        let rules = rules().unwrap();
        for call in [
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_kill,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
        for arch in ["x86_64", "aarch64"] {
            let arch: seccompiler::TargetArch = arch.try_into().unwrap();
            let filter = SeccompFilter::new(rules.clone(), SeccompAction::Errno(1), SeccompAction::Allow, arch);
            assert!(BpfProgram::try_from(filter.unwrap()).is_ok());
        }
    }

    #[test]
    fn landlock_is_told_no_more_than_its_version_knows() {
        for (version, files, net, scoped, size) in [
            (1, 13, 0, 0, 8),
            (2, 14, 0, 0, 8),
            (3, 15, 0, 0, 8),
            (4, 15, 3, 0, 16),
            (5, 16, 3, 0, 16),
            (6, 16, 3, 3, 24),
            (9, 16, 3, 3, 24),
        ] {
            let (handled, told) = Handled::all(version);
            assert_eq!(handled.files.count_ones(), files);
            assert_eq!((handled.net, handled.scoped, told), (net, scoped, size), "{version}");
        }
    }
}
