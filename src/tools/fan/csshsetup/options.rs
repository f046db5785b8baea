//! The options of csshsetup.

use std::path::PathBuf;

use clap::{Arg, ArgAction, value_parser};

use crate::fan::trust::TYPES;

pub(super) fn command() -> clap::Command {
    crate::tools::base("csshsetup", "Set up ssh trust with hosts")
        .arg(
            Arg::new("round")
                .short('r')
                .long("round-robin")
                .action(ArgAction::SetTrue)
                .help("Set up the trust of every host with every other, not only of this machine with each"),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Read the hosts from FILE, one a line"),
        )
        .arg(
            Arg::new("user")
                .short('l')
                .long("user")
                .value_name("USER")
                .help("Log in as this user where the list names none"),
        )
        .arg(
            Arg::new("connect")
                .short('t')
                .long("connect-timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u32).range(1..))
                .help("Give up a host that does not answer [default: 10]"),
        )
        .arg(
            Arg::new("fingerprint")
                .long("fingerprint")
                .value_name("SHA256:FP")
                .value_parser(fingerprint)
                .action(ArgAction::Append)
                .help("Pin a host key that has this fingerprint without asking; may be given again"),
        )
        .arg(
            Arg::new("yes-host-keys")
                .long("yes-host-keys")
                .action(ArgAction::SetTrue)
                .help("Pin whatever keys unknown hosts present, without asking; for networks that can be trusted"),
        )
        .arg(
            Arg::new("key-type")
                .short('T')
                .long("key-type")
                .value_name("TYPE")
                .value_parser(TYPES)
                .help("Use the user's key of this type; one is made where there is none [default: the key there is]"),
        )
        .arg(
            Arg::new("group")
                .short('g')
                .long("group")
                .value_name("NAME")
                .value_parser(group)
                .help("The file for the host keys of hosts that are new [default: hosts; with -r: members]"),
        )
        .arg(
            Arg::new("no-include")
                .long("no-include")
                .action(ArgAction::SetTrue)
                .help("Pin host keys in known_hosts, and leave the configuration of ssh alone"),
        )
        .arg(
            Arg::new("kex")
                .long("kex")
                .value_name("ALGORITHM")
                .value_parser(algorithm)
                .help("Prefer this key exchange for the group, one that ssh may use already; 'default': none"),
        )
        .arg(
            Arg::new("prune")
                .long("prune")
                .action(ArgAction::SetTrue)
                .requires("round")
                .help("With -r: take away on all members what members had that are not listed any more"),
        )
        .arg(
            Arg::new("undo")
                .long("undo")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["prune", "kex", "key-type", "no-include", "fingerprint", "yes-host-keys"])
                .help("Take away what was added, on the hosts and here"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .conflicts_with_all([
                    "undo",
                    "round",
                    "kex",
                    "key-type",
                    "no-include",
                    "fingerprint",
                    "yes-host-keys",
                ])
                .help("Tell for each host why it does or does not work, and what a connection costs; change nothing"),
        )
        .arg(
            Arg::new("ask-password")
                .long("ask-password")
                .action(ArgAction::SetTrue)
                .requires("check")
                .help("With --check: look for the reason on hosts that refuse our key, with a password"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .requires("check")
                .help("With --check: one JSON object per host, and one per key exchange"),
        )
        .arg(
            Arg::new("forget")
                .long("forget")
                .action(ArgAction::SetTrue)
                .requires("undo")
                .help("With --undo: take away what is here of hosts that cannot be reached, too"),
        )
        .arg(
            Arg::new("list")
                .value_name("HOST")
                .num_args(0..)
                .help("The hosts, as lists: n[1-4]"),
        )
}

/// One that can be compared: with any other form no key would ever be found to match.
fn fingerprint(text: &str) -> Result<String, String> {
    match text.strip_prefix("SHA256:") {
        Some(rest) if !rest.is_empty() => Ok(text.trim_end_matches('=').to_string()),
        _ => Err("a fingerprint is SHA256:... as 'ssh-keygen -l' prints it".into()),
    }
}

/// The name of a file.
fn group(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_string()),
        false => Err("a group is a word of letters, digits and . _ -".into()),
    }
}

/// The name of a key exchange.
fn algorithm(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._-".contains(c);
    match !text.is_empty() && text.len() <= 128 && text.chars().all(plain) {
        true => Ok(text.to_string()),
        false => Err("'ssh -Q kex' lists the key exchanges".into()),
    }
}
