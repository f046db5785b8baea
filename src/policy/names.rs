//! The names of the language's own variables (cfengine2.md 10, 12): found in any case, shared by all contexts.

/// Variables of `control:` that hold one value.
pub(super) static SCALARS: &[&str] = &[
    "aixinstallcommand",
    "dpkginstallcommand",
    "dpkgremovecommand",
    "freebsdinstallcommand",
    "freebsdremovecommand",
    "portageinstallcommand",
    "portageremovecommand",
    "rpminstallcommand",
    "rpmremovecommand",
    "suninstallcommand",
    "sunremovecommand",
    "auditing",
    "binarypaddingchar",
    "bindtointerface",
    "cfinputs_version",
    "checksumdatabase",
    "checksumpurge",
    "checksumupdates",
    "childlibpath",
    "compress",
    "compresscommand",
    "defaultcopytype",
    "defaultpkgmgr",
    "deletenonuserfiles",
    "deletenonownerfiles",
    "deletenonusermail",
    "deletenonownermail",
    "warnnonuserfiles",
    "warnnonownerfiles",
    "warnnonusermail",
    "warnnonownermail",
    "domain",
    "dryrun",
    "editbinaryfilesize",
    "editfilesize",
    "emailfrom",
    "emailmaxlines",
    "sysadm",
    "smtpserver",
    "emptyresolvconf",
    "exclamation",
    "expireafter",
    "nonalphanumfiles",
    "fullencryption",
    "hostnamekeys",
    "ifelapsed",
    "ignorefriendregex",
    "ignoreinterfaceregex",
    "inform",
    "verbose",
    "syslog",
    "warnings",
    "showactions",
    "interfacename",
    "netmask",
    "nfstype",
    "lastseen",
    "lastseenexpireafter",
    "logtidyhomefiles",
    "maxcfengines",
    "methodname",
    "moduledirectory",
    "outputprefix",
    "repchar",
    "repository",
    "split",
    "rpmcommand",
    "secureinput",
    "sensiblesize",
    "sensiblecount",
    "site",
    "faculty",
    "skipidentify",
    "splaytime",
    "sync",
    "syslogfacility",
    "timeout",
    "umask",
    "underscoreclasses",
    "cfruncommand",
    "denybadclocks",
    "logallconnections",
    "logencryptedtransfers",
    "maxconnections",
    "checksum_alerts",
    "lockdirectory",
    "logdirectory",
];

/// Variables of `control:` that accumulate over several assignments.
pub(super) static LISTS: &[&str] = &[
    "abortclasses",
    "access",
    "actionsequence",
    "addclasses",
    "addinstallable",
    "allowredefinitionof",
    "autodefine",
    "copylinks",
    "linkcopies",
    "excludecopy",
    "excludelink",
    "singlecopy",
    "emailto",
    "fileextensions",
    "suspiciousnames",
    "homepattern",
    "mountpattern",
    "methodparameters",
    "methodpeers",
    "schedule",
    "spooldirectories",
    "timezone",
    "allowconnectionsfrom",
    "allowmultipleconnectionsfrom",
    "allowusers",
    "denyconnectionsfrom",
    "dynamicaddresses",
    "skipverify",
    "trustkeysfrom",
];

/// Lists whose words stay bound to the class predicate they were written under.
pub(super) static BOUND: &[&str] = &[
    "actionsequence",
    "autodefine",
    "copylinks",
    "linkcopies",
    "excludecopy",
    "excludelink",
    "singlecopy",
];

/// Special variables that facts about the machine fill in.
pub(super) static FACTS: &[&str] = &[
    "arch",
    "ostype",
    "class",
    "binserver",
    "date",
    "year",
    "month",
    "day",
    "hr",
    "min",
    "fqhost",
    "host",
    "ipaddress",
    "version",
    "this",
];

/// The lower-case form of a name of the language, if it is one.
pub(super) fn own(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name.len() > 32 {
        return None;
    }
    let found = [SCALARS, LISTS, FACTS]
        .into_iter()
        .flatten()
        .find(|known| known.as_bytes().eq_ignore_ascii_case(name))
        .copied()?;
    Some(if found == "faculty" { "site" } else { found })
}

/// The name of the language that a long enough name differs from in a letter or two.
pub(super) fn nearly(name: &[u8]) -> Option<&'static str> {
    let most = match name.len() {
        0..6 => return None,
        6..9 => 1,
        _ => 2,
    };
    let name = name.to_ascii_lowercase();
    let all = SCALARS.iter().chain(LISTS).copied();
    all.filter(|own| own.len().abs_diff(name.len()) <= most)
        .map(|own| (super::source::distance(&name, own.as_bytes()), own))
        .filter(|(far, _)| *far <= most)
        .min()
        .map(|(_, own)| own)
}

/// Whether a control variable accumulates.
pub(super) fn is_list(own: &str) -> bool {
    LISTS.contains(&own)
}

/// The character variables.
pub(super) fn character(name: &[u8]) -> Option<&'static [u8]> {
    Some(match name.to_ascii_lowercase().as_slice() {
        b"cr" => b"\r",
        b"lf" | b"n" => b"\n",
        b"tab" => b"\t",
        b"spc" => b" ",
        b"colon" => b":",
        b"quote" => b"'",
        b"dblquote" => b"\"",
        b"dollar" => b"$",
        _ => return None,
    })
}

/// The hard classes: no policy may define them (cfengine2.md 9.2).
pub(super) static HARD: &[&str] = &[
    "any",
    "sun4",
    "ultrix",
    "hpux",
    "aix",
    "linux",
    "solaris",
    "osf",
    "digital",
    "sun3",
    "irix4",
    "irix",
    "irix64",
    "freebsd",
    "solarisx86",
    "bsd4_3",
    "newsos",
    "netbsd",
    "aos",
    "bsdos",
    "nextstep",
    "cray",
    "gnu",
    "nt",
    "unix_sv",
    "openbsd",
    "sco",
    "darwin",
    "ux4800",
    "qnx",
    "dragonfly",
];

/// The words of `actionsequence`, `module:` aside.
pub static ACTIONS: &[&str] = &[
    "copy",
    "files",
    "directories",
    "links",
    "editfiles",
    "shellcommands",
    "tidy",
    "disable",
    "rename",
    "processes",
    "packages",
    "methods",
    "required",
    "disks",
    "resolve",
    "addmounts",
    "mountall",
    "mountinfo",
    "mailcheck",
    "netconfig",
    "unmount",
    "checktimezone",
];
