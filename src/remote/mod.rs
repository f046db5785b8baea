//! Running one thing on one host over the system's own ssh.
