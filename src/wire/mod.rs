//! Frames and verbs of the csync protocol (`share/doc/protocol.md`). Pure: bytes in, messages out; no sockets.
