//! Reads and edits `KEY=VALUE` rc files and answer files, keeping comments and order.
