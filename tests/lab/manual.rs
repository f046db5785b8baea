//! The manual's procedures, typed line by line.
