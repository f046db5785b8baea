//! csync_wizard: questions as data, answers, plan, commit with backup and rollback (dsau.md 1.5 … 1.8).
//!
//! The wizard runs on the master. What it asks goes through a [`Dialog`], what it does elsewhere through a [`Remote`], what
//! names mean through [`Names`]; all three are seams for tests. It never overwrites an administrator's policy nor a key
//! pair, it can be run again at any time, and when a run fails or is killed the master's files go back to what they were.
//!
//! | file | owns |
//! |---|---|
//! | `question`, `text` | what is asked and said, word for word |
//! | `dialog` | terminal, pipe, replay |
//! | `answers` | the answer file |
//! | `names` | fully qualified names, addresses, domain lists |
//! | `remote`, `scripts`, `client` | ssh, what runs there, the steps on one client |
//! | `fleet` | the same step on many clients at once; who failed and why |
//! | `site` | what is configured now |
//! | `files`, `backup` | the policy files; the way back |
//! | `local` | programs and keys on the master itself |
//! | `menu` | the menu, and replaying a file |
//! | `master`, `add`, `remove`, `rekey` | options 1 to 4 |

mod add;
mod answers;
mod backup;
mod client;
mod dialog;
mod error;
mod files;
mod fleet;
mod local;
mod master;
mod menu;
mod names;
mod question;
mod rekey;
mod remote;
mod remove;
mod scripts;
mod site;
mod text;

pub use answers::{Action, Answers};
pub use client::ClientError;
pub use dialog::{Dialog, Lines, Replay, Stop};
pub use error::WizardError;
pub use menu::Wizard;
pub use names::{NameError, Names, SystemNames};
pub use question::Question;
pub use remote::{Output, Remote, RemoteError, Ssh, feed};
pub use site::Site;
