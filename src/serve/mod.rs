//! The server: access rules and the session as a pure state machine; the runner beside it.
