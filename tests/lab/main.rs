//! Lab tests: whole jobs on real hosts, each a set of namespaces. They need root; without it, or without a tool they
//! name, they say what they skipped (in CI nothing is skipped).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod behaviour;
mod converge;
mod copies;
mod copy;
mod crash;
mod documents;
mod fanout;
mod fed;
mod harness;
mod manual;
mod methods;
mod network;
mod policy;
mod selftest;
mod site;
mod sixteen;
mod trust;
mod wizard;
mod wizard_many;
