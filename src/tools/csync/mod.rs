//! Setting configuration synchronization up.

pub mod crender;
pub mod csync_wizard;
