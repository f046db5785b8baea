//! What a machine remembers from run to run: when a promise was last kept, digests of watched files, persistent classes,
//! the last policy that parsed. One small checksummed file each, replaced atomically; a damaged one is set aside and said.
//!
//! | file | owns |
//! |---|---|
//! | `store` | [`Store`]: reading, updating and locking of such files |
//! | `cache` | files that only save work |
//! | `records` | what is in them: [`Promises`], [`Digests`], [`Classes`], [`Runs`], [`Standing`] |
//! | `history` | how past runs were: [`History`] |
//! | `hosts` | when other hosts were seen: [`Hosts`] |
//! | `audit` | what was done: [`Audit`] |
//! | `spread` | averages with their deviation: [`Spread`] |
//! | `single` | the lock against two agents at once: [`Single`] |

mod audit;
mod cache;
mod history;
mod hosts;
mod records;
mod single;
mod spread;
mod store;

pub use audit::{Audit, AuditEntry};
pub use history::{ClassSeen, History, Timing};
pub use hosts::{Contact, Direction, Hosts, Sighting};
pub use records::{Classes, Digests, Promises, RunSummary, Runs, Standing, key_of};
pub use single::{Holder, Single, holder_of};
pub use spread::Spread;
pub use store::{Damage, Store};
