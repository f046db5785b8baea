//! cfexecd: wraps an agent run, stores its output, mails it.
