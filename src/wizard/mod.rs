//! csync_wizard: questions as data, answers, plan, commit with backup and rollback.
