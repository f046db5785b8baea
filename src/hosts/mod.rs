//! Host lists: the grammar `n[1-10,12]`, readers of `cfrun.hosts` and WCOLL files, and address ranges.
//!
//! Pure but for reading a named file. Does not resolve names (see `dns`).
