//! Power cuts and kills in the middle of a sync.
