//! Fan-out: one command, every machine.

pub mod ccollate;
pub mod ccp;
pub mod cexec;
pub mod chosts;
pub mod ckill;
pub mod cps;
pub mod csshsetup;
pub mod cuptime;
pub mod cwall;
mod gateways;
mod gathered;
pub(in crate::tools) mod gauge;
mod groups;
mod json;
mod look;
mod manner;
mod once;
mod processes;
mod prompt;
mod replay;
mod secret;
mod show;
pub mod spellings;
mod survey;
mod targets;
mod work;

use manner::status;
