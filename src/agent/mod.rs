//! The agent: rules become changes. Look, plan, apply, record; one file per action type.
//!
//! | file | owns |
//! |---|---|
//! | `phases` | a whole run: facts, update phase, main phase, how it ends: [`run()`]; in it `load`: reading a policy |
//! | `run` | one phase: passes, classes, done flags, locks: [`Run`] |
//! | `visit` | one promise from its beginning to its end: [`Outcome`], [`Counts`] |
//! | `event` | what programs are told of a run: [`Event`] |
//! | `action` | the table of actions: [`ACTIONS`] |
//! | `job` | one promise with its attributes: [`Job`] |
//! | `options` | what the command line asks: [`RunOptions`] |
//! | `report` | everything that is said: [`Report`], [`Sink`] |
//! | `say` | what is said about a policy and a run as a whole |
//! | `sources` | where copies come from: [`Sources`] |
//! | `settings` | what `control:` says about a run |
//! | `splay` | when within `SplayTime` a machine comes |
//! | `servers` | connections to servers, kept for the run: [`Servers`] |
//! | `memory` | when promises were last looked after |
//! | `friends` | what alerts tell of it: `FriendStatus`, `ShowState` |
//! | `history` | what a run was like, for `cfshow` and the next run |
//! | `lastgood` | the last policy that parsed |
//! | `undo` | what a run changed, and how it is taken back |
//! | `generation` | new policy files come together or not at all |
//! | `writer` | a thread that writes small new files while the next ones arrive |
//! | `acl` | access lists beyond the permission bits |
//! | `mode`, `owner`, `perms` | permission bits and owners of one object |
//! | `objects` | wildcards, homes, what is ignored |
//! | `suspicious` | names that should make one look |
//! | `checksums` | content that should not change |
//! | `diff` | unified diffs |
//! | `no_effect` | what has no effect on Linux, told |
//! | `resources` | the resource file `cfrc` |
//! | `filters` | conditions on files and processes, `filter=` |
//! | `copy`, `files`, `directories`, `links`, `editfiles`, `tidy`, `disable` | the actions on files |
//! | `netconfig`, `checktimezone` | interfaces, the default route; the time zone |
//! | `mounts` | what is mounted from where: fstab, mounting, unmounting |
//! | `methods` | policies that are called like functions |
//! | `shellcommands`, `processes`, `packages`, `required`, `resolve`, `alerts`, `module` | the other actions |

mod acl;
pub mod action;
mod alerts;
mod checksums;
mod checktimezone;
mod copy;
pub mod diff;
mod directories;
mod disable;
pub mod editfiles;
pub mod event;
mod files;
mod filters;
mod friends;
mod generation;
mod history;
pub mod job;
pub mod lastgood;
mod links;
mod memory;
mod methods;
pub mod mode;
mod module;
mod mounts;
mod netconfig;
mod no_effect;
mod objects;
mod options;
pub mod owner;
mod packages;
pub mod perms;
mod phases;
mod preconf;
mod processes;
pub mod report;
mod required;
mod resolve;
mod resources;
mod run;
mod say;
mod servers;
mod settings;
mod shellcommands;
pub mod sources;
mod splay;
mod suspicious;
mod tidy;
pub mod undo;
mod visit;
mod writer;

pub use action::{ACTIONS, Action, Work};
pub use event::Event;
pub use job::{BadAttr, BytesPath, Job};
pub use memory::Memory;
pub use no_effect::names as without_effect;
pub use options::RunOptions;
pub use phases::{Ending, Setup, look, run};
pub use report::{Level, Levels, Report, Sink, Tally};
pub use run::{Run, Stop};
pub use servers::Servers;
pub use sources::{OnlyLocal, OpenOptions, Sources};
pub use visit::{Counts, Outcome};
