//! What this machine is: names, addresses, distribution, kernel, as hard classes and variables (cfengine2.md 9.2),
//! and the real [`crate::policy::World`].
