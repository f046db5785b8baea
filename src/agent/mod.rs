//! The agent: rules become changes. Look, plan, apply, record; one file per action type.
pub mod editfiles;
