//! The packages that are installed on machines: made of the programs cargo built for the tests, checked by the tools of
//! their kind, installed, upgraded, removed and purged on throw-away copies of this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod booted;
mod completions;
mod deb;
mod depot;
mod harness;
mod newcomer;
mod rpm;
mod units;
