//! Broken policies: clients keep the last good one.
