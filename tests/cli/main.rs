//! Tool tests: each tool as a user runs it. One binary; `tests/meta.rs` checks that no file is forgotten here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod access_lists;
mod agent_once;
mod besieged;
mod ccollate;
mod ccp;
mod cexec;
mod cfagent;
mod cfexecd;
mod cfkey;
mod cfrun;
mod cfservd;
mod cfshow;
mod chosts;
mod compared;
mod confined;
mod crender;
mod csshsetup;
mod csync_wizard;
mod desk;
mod documents;
mod dsau;
mod editfiles;
mod examples;
mod explain;
mod faults;
mod fleet;
mod fuzz;
mod gateways;
mod hostile;
mod interactive;
mod large;
mod lint;
mod looks;
mod malformed;
mod many;
mod methods;
mod mounts;
mod noticed;
mod packed;
mod parse_only;
mod pipelines;
mod remembering;
mod remembering_copies;
mod remote_methods;
mod shellcommands;
mod spellings;
mod standin;
mod surroundings;
mod survey;
mod system_calls;
mod templates;
mod tidying;
mod undoing;
mod wizard_crash;
mod wizard_life;
mod wizard_site;
