//! Strangers, wrong keys and paths outside are refused.
