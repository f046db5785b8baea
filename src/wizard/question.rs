//! The questions, as data.

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is shown, without the blank that follows it.
    pub prompt: &'static str,
    /// What an empty answer means.
    pub default: &'static str,
    /// Shown when `?` is answered.
    pub help: &'static str,
}

/// CW-11.
pub const CHOICE: Question = Question {
    prompt: "Enter choice:",
    default: "",
    help: "Answer with the number of a line of the menu. 5 changes nothing, 9 ends the wizard.",
};

/// CM-02.
pub const CLIENTS: Question = Question {
    prompt: "Would you like to manage clients? [N]:",
    default: "N",
    help: "Answer y to name systems that this master will keep in line, n to name none now: option 2 of the menu adds \
           clients at any time. Root must be able to run commands on each of them by ssh without a password; csshsetup \
           arranges that.",
};

/// CC-03; also used for each client of option 1, until an empty answer.
pub const ADD: Question = Question {
    prompt: "Enter the name of the client to add:",
    default: "",
    help: "Answer with the host name of the system, best fully qualified. An empty answer names no more clients.",
};

/// Option 3.
pub const REMOVE: Question = Question {
    prompt: "Enter the name of the client to remove:",
    default: "",
    help: "Answer with the name of a managed client; option 5 of the menu lists them. An empty answer removes none.",
};

/// Option 3, when the client does not answer.
pub const REMOVE_HERE: Question = Question {
    prompt: "Remove it from the master only? [N]:",
    default: "N",
    help: "Answer y when the system is gone for good. Its key is forgotten here, and it gets nothing from this master \
           any more. If it comes back it still has its last policy and goes on applying it.",
};

/// Option 4.
pub const NEW_KEYS: Question = Question {
    prompt: "Create new keys for all systems? [N]:",
    default: "N",
    help: "Answer y when a private key may have become known to somebody, or when keys and systems no longer match.",
};

/// CW-21.
pub const STOP: Question = Question {
    prompt: "cfservd is running on this system. Stop it and reconfigure? [Y]:",
    default: "Y",
    help: "A system must not serve files while its configuration is being changed. cfservd is started again at the end. If \
           cron or cfexecd starts cfagent here, disable that for the time being.",
};

/// After a run that was interrupted.
pub const FINISH: Question = Question {
    prompt: "Finish it now? [N]:",
    default: "N",
    help: "Answer y to do again, from its beginning, what the last run was asked to do. Answer n to take it back: this system and \
           the clients are then as they were before it.",
};

/// Yes, no, or something else.
pub fn yes(answer: &str) -> Option<bool> {
    match answer.to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}
