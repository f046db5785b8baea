//! The NFS model (cfengine2.md 14.15): which file systems of other machines this one has, in its table and mounted.
//!
//! | file | owns |
//! |---|---|
//! | `fstab` | the table as text: [`Fstab`] |
//! | `table` | what is mounted, from the kernel: [`Mounts`] |
//! | `model` | which file systems the policy wants here |
//! | `tab` | the table on disk: read, saved with a backup |
//! | `command` | mount(8) and umount(8), with a time limit |
//! | `addmounts`, `mountall`, `unmount`, `mailcheck` | the actions; `mountinfo` stands in `mountall` |
//! | `servers` | files on binary servers: `$(binserver)`, `linkchildren` |
//! | `patience` | asking file systems that may never answer |

mod addmounts;
mod command;
mod fstab;
mod mailcheck;
mod model;
mod mountall;
pub mod patience;
pub mod servers;
mod tab;
mod table;
mod unmount;

use std::fmt::Display;

use super::Run;
use super::report::Level;

pub use addmounts::ADDMOUNTS;
pub use mailcheck::MAILCHECK;
pub use mountall::{MOUNTALL, MOUNTINFO};
pub use table::{Mount, Mounts};
pub use unmount::UNMOUNT;

/// Says what is being done, or in a dry run what is to be done: `Adding`, `Need to add`.
fn tell(run: &mut Run<'_>, need: &str, doing: &str, what: impl Display) {
    if run.dry {
        run.report.say(Level::Silent, format_args!("Need to {need} {what}"));
    } else {
        run.report.inform(format_args!("{doing} {what}"));
    }
}
