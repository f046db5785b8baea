//! One logging backend for the `log` crate: stderr, journal priorities when `JOURNAL_STREAM` is set, syslog(3) for daemons.
