//! The operating system: the only folder with `unsafe` or raw system calls. Paths, directory-relative opens, processes,
//! signals, privileges.

pub mod at;
mod attributes;
pub mod clock;
pub mod code;
pub mod confine;
mod hold;
pub mod identity;
#[allow(unsafe_code)]
pub mod names;
pub mod pass;
pub mod paths;
pub mod process;
mod replace;
pub mod tie;
pub mod trip;

pub use hold::Hold;
pub use paths::Paths;
pub use replace::replace;
