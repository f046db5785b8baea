//! csync_wizard: questions as data, answers, plan, commit with backup and rollback (dsau.md 1.5 … 1.8).
//!
//! The wizard runs on the master. What it asks goes through a [`Dialog`], what it does elsewhere through a [`Remote`], what
//! names mean through [`Names`]; all three are seams for tests. It never overwrites an administrator's policy nor a key
//! pair, it can be run again at any time, and a run that fails or is killed is taken back, or finished by the next one, on the
//! master and on the clients.
//!
//! | file | owns |
//! |---|---|
//! | `question`, `text` | what is asked and said, word for word |
//! | `dialog` | terminal, pipe, replay |
//! | `answers` | the answer file |
//! | `names` | fully qualified names, addresses, domain lists |
//! | `remote` | ssh to many hosts at once |
//! | `scripts`, `client` | what runs there, the steps on one client |
//! | `fleet` | the same step on many clients; who failed and why |
//! | `site` | what is configured now |
//! | `files` | the policy files |
//! | `backup`, `journal`, `recover` | the way back: saved files, what a run is doing, taking back or finishing |
//! | `local`, `process` | programs and keys on the master itself |
//! | `menu` | the menu, and replaying a file |
//! | `master`, `add`, `remove`, `rekey` | options 1 to 4 |
//! | `retry`, `undo`, `check` | what the options of the command line do |

mod add;
mod answers;
mod backup;
mod check;
mod client;
mod dialog;
mod error;
mod files;
mod fleet;
mod journal;
mod local;
mod master;
mod menu;
mod names;
mod process;
mod question;
mod recover;
mod rekey;
mod remote;
mod remove;
mod retry;
mod scripts;
mod site;
mod text;
mod undo;

pub use answers::{Action, Answers};
pub use client::ClientError;
pub use dialog::{Dialog, Lines, Replay, Stop};
pub use error::WizardError;
pub use menu::Wizard;
pub use names::{NameError, Names, SystemNames};
pub use process::feed;
pub use question::Question;
pub use remote::{Order, Output, Progress, Remote, RemoteError, Ssh};
pub use site::Site;
