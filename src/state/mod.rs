//! What a machine remembers from run to run: when a promise was last kept, digests of watched files, persistent classes,
//! the last policy that parsed. One small checksummed file each, replaced atomically; a damaged one is set aside and said.
//!
//! | file | owns |
//! |---|---|
//! | `store` | [`Store`]: reading, updating and locking of such files |
//! | `records` | what is in them: [`Promises`], [`Digests`], [`Classes`], [`Runs`] |
//! | `single` | the lock against two agents at once: [`Single`] |

mod records;
mod single;
mod store;

pub use records::{Classes, Digests, Promises, RunSummary, Runs, key_of};
pub use single::{Holder, Single};
pub use store::{Damage, Store};
