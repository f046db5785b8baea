//! What this machine is: names, addresses, distribution, kernel, as hard classes and variables (cfengine2.md 9.2),
//! and [`Machine`], the real [`crate::policy::World`].
//!
//! | file | owns |
//! |---|---|
//! | `clock` | what time it is here |
//! | `host` | [`Host`]: what was found out, once, at the start of a run |
//! | `distribution` | classes of the distribution from os-release |
//! | `measure` | how the machine is right now: users, processes, disk, load |
//! | `machine` | [`Machine`]: files, commands and users behind the language's questions |

mod clock;
mod distribution;
mod host;
mod machine;
mod measure;

pub use clock::now;
pub use host::{Host, Interface};
pub use machine::Machine;
pub use measure::{MEASURES, Measure, measure};

use jiff::Zoned;

use crate::policy::Context;
use crate::timeclass;

/// The version of the language that policies may ask for with `cfengine_2_2_10::` and `$(version)`.
pub const LANGUAGE_VERSION: &str = "2.2.10";

/// The context every run starts with: hard classes and special variables of this host at this moment.
pub fn initial_context(host: &Host, now: &Zoned) -> Context {
    let mut context = Context::default();
    for class in host.classes().iter().chain(&timeclass::classes(now)) {
        context.define(class);
    }
    for (name, value) in host.variables() {
        context.set(format!("global.{name}"), value);
    }
    for (name, value) in [("split", ":"), ("repchar", "_"), ("nfstype", "nfs")] {
        context.set(name, value);
    }
    for (name, value) in timeclass::variables(now) {
        context.set(format!("global.{name}"), value);
    }
    context
}
