//! Attribute names (cfengine2.md 13): the order that resolves abbreviations, and which section takes which.

use super::Section;
use super::source::did_you_mean;

/// Section 13 order: a prefix stands for the first name it begins.
pub(super) static NAMES: &[&str] = &[
    "findertype",
    "recurse",
    "mode",
    "owner",
    "group",
    "age",
    "action",
    "pattern",
    "links",
    "type",
    "destination",
    "force",
    "forcedirs",
    "forceipv4",
    "forcereplyto",
    "backup",
    "rotate",
    "size",
    "matches",
    "signal",
    "exclude",
    "copy",
    "symlink",
    "copytype",
    "linktype",
    "include",
    "dirlinks",
    "rmdirs",
    "server",
    "define",
    "elsedefine",
    "failover",
    "timeout",
    "freespace",
    "nofile",
    "acl",
    "purge",
    "useshell",
    "syslog",
    "inform",
    "ipv4",
    "netmask",
    "broadcast",
    "ignore",
    "deletedir",
    "deletefstab",
    "stealth",
    "checksum",
    "flags",
    "encrypt",
    "verify",
    "root",
    "typecheck",
    "umask",
    "compress",
    "filter",
    "background",
    "chdir",
    "chroot",
    "preview",
    "repository",
    "timestamps",
    "trustkey",
    "oldserver",
    "mountoptions",
    "readonly",
    "version",
    "cmp",
    "pkgmgr",
    "xdev",
    "rxdirs",
    "returnvars",
    "returnclasses",
    "sendclasses",
    "ifelapsed",
    "expireafter",
    "scanarrivals",
    "noabspath",
    "checkroot",
    "audit",
];

static COMMON: &[&str] = &[
    "define",
    "elsedefine",
    "syslog",
    "inform",
    "audit",
    "ifelapsed",
    "expireafter",
];

/// The attributes of a section, the common ones left out; `None` where no option may stand.
pub(super) fn allowed(section: Section) -> Option<&'static [&'static str]> {
    Some(match section {
        Section::Copy => &[
            "destination",
            "mode",
            "owner",
            "group",
            "acl",
            "flags",
            "action",
            "backup",
            "repository",
            "recurse",
            "type",
            "force",
            "forcedirs",
            "forceipv4",
            "purge",
            "stealth",
            "verify",
            "encrypt",
            "trustkey",
            "xdev",
            "checkroot",
            "typecheck",
            "oldserver",
            "timestamps",
            "include",
            "exclude",
            "ignore",
            "filter",
            "symlink",
            "linktype",
            "size",
            "server",
            "failover",
            "rxdirs",
            "findertype",
        ],
        Section::Files => &[
            "mode",
            "owner",
            "group",
            "action",
            "recurse",
            "links",
            "ignore",
            "include",
            "exclude",
            "filter",
            "xdev",
            "acl",
            "flags",
            "rxdirs",
            "checksum",
            "findertype",
        ],
        Section::Directories => &["mode", "owner", "group", "rxdirs", "acl", "flags", "action"],
        Section::Tidy => &[
            "pattern", "include", "age", "recurse", "size", "type", "rmdirs", "dirlinks", "links", "compress",
            "ignore", "exclude", "filter", "xdev",
        ],
        Section::Links => &[
            "type", "copy", "include", "exclude", "ignore", "filter", "copytype", "recurse", "nofile", "action",
        ],
        Section::Disable => &["destination", "type", "rotate", "size", "repository", "action"],
        Section::Processes => &[
            "signal", "matches", "action", "useshell", "owner", "group", "chdir", "chroot", "umask", "include",
            "exclude", "filter",
        ],
        Section::ShellCommands => &[
            "timeout",
            "useshell",
            "umask",
            "owner",
            "group",
            "background",
            "chdir",
            "chroot",
            "preview",
            "noabspath",
        ],
        Section::Packages => &["pkgmgr", "cmp", "version", "action"],
        Section::Disks => &["freespace", "force", "scanarrivals"],
        Section::Mountables => &["readonly", "mountoptions"],
        Section::Unmount => &["deletedir", "deletefstab", "force"],
        Section::MiscMounts => &["mode"],
        Section::Interfaces => &["netmask", "broadcast"],
        Section::Methods => &[
            "action",
            "server",
            "returnvars",
            "returnclasses",
            "sendclasses",
            "forcereplyto",
            "owner",
            "group",
            "chdir",
            "chroot",
        ],
        Section::Admit | Section::Deny => &["root", "encrypt"],
        Section::Alerts | Section::Resolve | Section::Scli => &[],
        _ => return None,
    })
}

/// What a written attribute name stands for in a section.
pub(super) enum Found {
    Name(&'static str),
    /// The attribute exists, but this section has no such.
    NotHere(&'static str),
    /// No attribute begins so.
    Unknown,
}

/// Resolves an abbreviation (any case, quirk Q2).
pub(super) fn find(section: Section, written: &[u8]) -> Found {
    let begins =
        |name: &&str| name.len() >= written.len() && name.as_bytes()[..written.len()].eq_ignore_ascii_case(written);
    let exact = NAMES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(written));
    match exact.or_else(|| NAMES.iter().find(|name| begins(name))) {
        None => Found::Unknown,
        Some(name) if is_allowed(section, name) => Found::Name(name),
        Some(name) => Found::NotHere(name),
    }
}

fn is_allowed(section: Section, name: &str) -> bool {
    allowed(section).is_some_and(|names| names.contains(&name) || (common(section) && COMMON.contains(&name)))
}

fn common(section: Section) -> bool {
    !matches!(section, Section::Admit | Section::Deny)
}

/// The attributes a section takes, for messages and the manual.
pub(super) fn names(section: Section) -> Vec<&'static str> {
    let mut names = allowed(section).unwrap_or_default().to_vec();
    if common(section) && !names.is_empty() {
        names.extend(COMMON);
    }
    names
}

/// A hint for a name that is wrong in a section.
pub(super) fn hint(section: Section, written: &[u8]) -> Option<String> {
    match written.to_ascii_lowercase().as_slice() {
        b"deadlinks" => return Some("the program knows 'nofile=' for this".into()),
        b"log" => return Some("the program knows 'syslog=' for this".into()),
        b"secure" => return Some("there is no such attribute; 'encrypt=' is the nearest".into()),
        _ => {}
    }
    let names = names(section);
    did_you_mean(written, names.iter().copied())
        .or_else(|| (!names.is_empty()).then(|| format!("{}: takes {}", section.name(), names.join(" "))))
}
