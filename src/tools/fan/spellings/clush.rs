//! `clush` (of ClusterShell 1.9): `cexec` and `ccp` with its options.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, poll};

use super::options::{Item, Opt, To, flag, value};
use super::{About, Parts, Spelling, ssh_args};
use crate::diag::{Exit, Fail, stderr_line};
use crate::tools::fan::look::Heads;
use crate::tools::fan::manner::{Counts, Manner};
use crate::tools::fan::{ccp, cexec};

pub static CLUSH: Spelling = Spelling {
    name: "clush",
    ours: "cexec(1)",
    table: TABLE,
    // What is to be copied may stand before options.
    mixed: |items| items.iter().any(|item| item.is("-c") || item.is("--rcopy")),
    about: About {
        help: "-h",
        version: "--version",
    },
    run,
};

static TABLE: &[Opt] = &[
    flag(&["-h", "--help"], To::Own),
    flag(&["--version"], To::Own),
    value(&["-s", "--groupsource"], To::Own),
    flag(&["-n", "--nostdin"], To::Own),
    flag(&["--sudo"], To::Own),
    value(
        &["--groupsconf"],
        To::No("groups are read from files of their own", "hostlist(7) says which"),
    ),
    value(
        &["--conf"],
        To::No("there is no file of options", "an alias of the shell can hold them"),
    ),
    value(&["-O", "--option"], To::Own),
    value(&["-w"], To::Own),
    value(&["-x"], To::Own),
    flag(&["-a", "--all"], To::Own),
    value(&["-g", "--group"], To::Own),
    value(&["-X"], To::Own),
    value(&["--hostfile", "--machinefile"], To::With("--hosts", "^")),
    value(
        &["--topology"],
        To::No(
            "gateways are named in a list, not in a file",
            "cexec --gateway LIST shares the hosts out among them",
        ),
    ),
    value(&["--pick"], To::Own),
    flag(&["-q", "--quiet"], To::Own),
    flag(&["-v", "--verbose"], To::Always),
    flag(&["-d", "--debug"], To::Always),
    flag(&["-G", "--groupbase"], To::Always),
    flag(&["-L"], To::Own),
    flag(&["-N"], To::Own),
    // On a terminal it is shown anyway.
    flag(&["-P", "--progress"], To::Always),
    flag(&["-b", "--dshbak"], To::Own),
    flag(&["-B"], To::Own),
    flag(&["-r", "--regroup"], To::Own),
    flag(&["-S", "--maxrc"], To::Own),
    value(&["--color"], To::Own),
    flag(&["--diff"], To::Own),
    value(&["--outdir"], To::Own),
    value(&["--errdir"], To::Own),
    flag(&["-c", "--copy"], To::Own),
    flag(&["--rcopy"], To::Own),
    value(&["--dest"], To::Own),
    flag(&["-p"], To::Own),
    value(&["-f", "--fanout"], To::Is("--fanout")),
    value(&["-l", "--user"], To::Is("--user")),
    value(&["-o", "--options"], To::Own),
    value(
        &["-t", "--connect_timeout", "--connect-timeout"],
        To::Is("--connect-timeout"),
    ),
    value(
        &["-u", "--command_timeout", "--command-timeout"],
        To::Is("--command-timeout"),
    ),
    value(&["-m", "--mode"], To::Own),
    value(&["-R", "--worker"], To::Own),
    value(&["--remote"], To::Always),
];

/// Options that only say how output looks; for copies they say nothing.
const LOOKS: &[(&str, &str)] = &[
    ("-L", "--lines"),
    ("-N", "--no-prefix"),
    ("-b", "--gather"),
    ("-B", "--gather"),
    ("-r", "--regroup"),
    ("--diff", "--diff"),
];

/// How long to wait for standard input before that is said, in milliseconds.
const PATIENCE: u16 = 3000;

fn run(spelling: &Spelling, items: Vec<Item>) -> Result<Exit, Fail> {
    let copies = ["-c", "--rcopy"]
        .iter()
        .any(|&name| items.iter().any(|item| item.is(name)));
    let mut parts = Parts::of(if copies { "ccp" } else { "cexec" }, items)?;
    let mut worst = parts.has("-S");
    let mut heads = Heads {
        dashes: 15,
        ended: false,
        bare_diff: true,
        ..Heads::default()
    };
    for text in parts.values("-O") {
        setting(&mut parts, &text, &mut worst, &mut heads)?;
    }
    for text in parts.values("-o") {
        for option in ssh_args::translate("-o", &text)? {
            parts.push(option);
        }
    }
    targets(&mut parts)?;
    if copies {
        return copy(parts);
    }
    for (theirs, ours) in LOOKS {
        if parts.has(theirs) && !parts.says(ours) {
            parts.push(*ours);
        }
    }
    for (theirs, ours) in [
        ("--color", "--color"),
        ("--pick", "--pick"),
        ("--outdir", "--outdir"),
        ("--errdir", "--errdir"),
    ] {
        let Some(value) = parts.value(theirs) else { continue };
        if theirs.ends_with("dir") {
            std::fs::create_dir_all(&value)
                .map_err(|e| Fail::new(Exit::Failed, format!("cannot make the directory {value}")).because(e))?;
        }
        parts.push_value(ours, value);
    }
    if worst && parts.has("-q") {
        parts.push("--quiet");
    }
    let sudo = parts.has("--sudo") || mode(&parts)?;
    if sudo {
        parts.push("--sudo");
    }
    let local = worker(&parts)?;
    if local {
        parts.push("--local");
        parts.push("--subst");
        parts.words = parts.words.iter().map(parameters).collect();
    }
    if parts.words.is_empty() {
        parts.push(super::asking()?);
    } else if !parts.has("-n") && !sudo && !std::io::stdin().is_terminal() {
        wait_for_input(spelling.name);
        parts.push("--stdin");
    }
    let counts = match worst {
        true => Counts::Instead {
            unreachable: 255,
            late: 255,
        },
        false => Counts::Nothing,
    };
    let manner = Manner {
        prog: spelling.name,
        counts,
        heads,
    };
    cexec::run(&parts.line(), &manner)
}

/// One setting of clush.conf (`-O`).
fn setting(parts: &mut Parts, text: &str, worst: &mut bool, heads: &mut Heads) -> Result<(), Fail> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let yes = matches!(value.to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1");
    match key {
        "fanout" => parts.push_value("--fanout", value),
        "connect_timeout" => parts.push_value("--connect-timeout", value),
        "command_timeout" => parts.push_value("--command-timeout", value),
        "ssh_user" => parts.push_value("--user", value),
        "color" => parts.own.push(("--color", value.into())),
        "maxrc" => *worst = yes,
        "node_count" => heads.count = yes,
        "ssh_options" => parts.own.push(("-o", value.into())),
        "verbosity" | "fd_max" | "history_size" | "confdir" => {}
        _ => {
            return Err(Fail::usage(format!("-O {key} is not to be had")).hint(
                "fanout, connect_timeout, command_timeout, ssh_user, ssh_options, color, maxrc and node_count are",
            ));
        }
    }
    Ok(())
}

/// The options that choose hosts; without any nothing is done.
fn targets(parts: &mut Parts) -> Result<(), Fail> {
    let source = parts.value("-s");
    let group = |names: &str| match &source {
        Some(source) => format!("@{source}:{names}"),
        None => format!("@{names}"),
    };
    let all = |names: &str| {
        let names = names.split(',').filter(|name| !name.is_empty());
        names.map(group).collect::<Vec<_>>().join(",")
    };
    for (name, ours) in [("-w", "--hosts"), ("-x", "--exclude")] {
        for list in parts.values(name) {
            parts.push_value(ours, of_source(&list, source.as_deref()));
        }
    }
    for (name, ours) in [("-g", "--hosts"), ("-X", "--exclude")] {
        for names in parts.values(name) {
            parts.push_value(ours, all(&names));
        }
    }
    if parts.has("-a") {
        parts.push_value("--hosts", group("*"));
    }
    if !parts.says("--hosts") {
        return Err(Fail::usage("no hosts are named").hint("-w, -g or -a names them"));
    }
    Ok(())
}

/// A list in which groups without a source have this one.
fn of_source(list: &str, source: Option<&str>) -> String {
    let Some(source) = source else {
        return list.to_string();
    };
    let mut out = String::new();
    let mut rest = list;
    while let Some(at) = rest.find('@') {
        let begins = rest[..at]
            .chars()
            .next_back()
            .map_or(out.is_empty(), |c| c.is_whitespace() || ",!&^".contains(c));
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let name = rest.split([',', '!', '&', '^', ' ']).next().unwrap_or_default();
        if begins && !name.contains(':') && !name.starts_with('@') {
            out.push_str(source);
            out.push(':');
        }
    }
    out + rest
}

/// Whether the mode that is asked for is the one with sudo.
fn mode(parts: &Parts) -> Result<bool, Fail> {
    match parts.value("-m").as_deref() {
        None => Ok(false),
        Some("sudo") => Ok(true),
        Some("sshpass" | "password") => {
            Err(Fail::usage("passwords for ssh are not passed on").hint("csshsetup(1) asks once and installs a key"))
        }
        Some(other) => Err(Fail::usage(format!("there is no mode '{other}'")).hint("sudo is there")),
    }
}

/// Whether commands run on this machine.
fn worker(parts: &Parts) -> Result<bool, Fail> {
    match parts.value("-R").as_deref() {
        None | Some("ssh") => Ok(false),
        Some("exec") => Ok(true),
        Some(other) => Err(
            Fail::usage(format!("-R {other} is not to be had: hosts are reached by ssh"))
                .hint("-R exec runs the command here"),
        ),
    }
}

/// Parameters of a command that runs here, as `--subst` has them.
fn parameters(word: &OsString) -> OsString {
    let mut out = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let known: [(&[u8], &[u8]); 6] = [
            (b"hosts", b"%h"),
            (b"host", b"%h"),
            (b"h", b"%h"),
            (b"rank", b"%n"),
            (b"n", b"%n"),
            (b"%", b"%%"),
        ];
        match known.iter().find(|(theirs, _)| rest.starts_with(theirs)) {
            Some((theirs, ours)) => {
                out.extend_from_slice(ours);
                rest = &rest[theirs.len()..];
            }
            None => out.extend_from_slice(b"%%"),
        }
    }
    OsString::from_vec(out)
}

/// Says that standard input is waited for, where a pipe that nobody closes would look like a command that hangs.
fn wait_for_input(prog: &str) {
    let input = std::io::stdin();
    let mut watched = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    if matches!(poll(&mut watched, PATIENCE), Ok(0)) {
        stderr_line(&format!(
            "{prog}: waiting for the end of standard input; -n does without it"
        ));
    }
}

/// Copies files there, or back from there.
fn copy(mut parts: Parts) -> Result<Exit, Fail> {
    let back = parts.has("--rcopy");
    if parts.has("-c") && back {
        return Err(Fail::usage("files can be copied there or back, not both"));
    }
    let Some(first) = parts.words.first() else {
        return Err(Fail::usage("what is to be copied is not named"));
    };
    if worker(&parts)? || mode(&parts)? || parts.has("--sudo") {
        return Err(Fail::usage("files are copied by ssh, as the user who logs in").hint("-l names another user"));
    }
    // Without a place: beside the first of them, whose directory is the same on both sides.
    let dest = match parts.value("--dest") {
        Some(dest) => dest.into(),
        None => {
            let whole = std::path::absolute(first)
                .map_err(|e| Fail::usage("the place of the copy cannot be told").because(e))?;
            let mut dir = whole.parent().unwrap_or(Path::new("/")).as_os_str().to_os_string();
            if !dir.as_bytes().ends_with(b"/") {
                dir.push("/");
            }
            dir
        }
    };
    parts.words.push(dest);
    parts.push("--recursive");
    if parts.has("-p") {
        parts.push("--preserve");
    }
    if back {
        parts.push("--rcopy");
    }
    (ccp::TOOL.main)(&parts.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_a_source_get_the_one_that_is_asked_for() {
        let of = |list: &str| of_source(list, Some("rack"));
        assert_eq!(of("@a,n1,u@n2!@b:c&@*,@@"), "@rack:a,n1,u@n2!@b:c&@rack:*,@@");
        assert_eq!(of("n[1-3]"), "n[1-3]");
        assert_eq!(of_source("@a", None), "@a");
    }

    #[test]
    fn parameters_of_local_commands_are_those_of_subst() {
        let of = |text: &str| parameters(&OsString::from(text)).into_string().unwrap();
        assert_eq!(of("%host-%rank %h%n %% %u 5%"), "%h-%n %h%n %% %%u 5%%");
    }
}
