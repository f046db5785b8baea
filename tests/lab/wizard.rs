//! csync_wizard through a terminal.
