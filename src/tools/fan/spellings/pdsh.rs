//! `pdsh`, `pdcp` and `rpdcp`: `cexec` and `ccp` with the options and variables of pdsh 2.34.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::options::{Item, Opt, To, flag, value};
use super::{About, Parts, Spelling, ssh_args, variable};
use crate::diag::{Exit, Fail, Out};
use crate::remote;
use crate::tools::fan::manner::{Counts, Manner};
use crate::tools::fan::targets::Targets;
use crate::tools::fan::{ccp, cexec};

pub static PDSH: Spelling = Spelling {
    name: "pdsh",
    ours: "cexec(1)",
    table: &[
        value(&["-w"], To::Own),
        value(&["-x"], To::Is("--exclude")),
        flag(&["-S"], To::Own),
        flag(&["-h"], To::Own),
        flag(&["-s"], To::Always),
        flag(&["-q"], To::Own),
        flag(&["-b"], To::Always),
        value(&["-l"], To::Is("--user")),
        value(&["-t"], To::Own),
        value(&["-u"], To::Own),
        value(&["-f"], To::Own),
        value(&["-R"], To::Own),
        value(&["-M"], To::Always),
        flag(&["-L"], To::Own),
        flag(&["-N"], To::Is("--no-prefix")),
        flag(&["-d"], To::Always),
        flag(&["-V"], To::Own),
        flag(&["-k"], To::Is("--halt=1")),
        flag(&["-a"], To::Own),
        flag(&["-A"], To::Own),
        value(&["-g"], To::Own),
        value(&["-X"], To::Own),
        flag(&["-v"], To::Is("--exclude=@down")),
        flag(&["-i"], GENDERS),
        value(&["-F"], GENDERS),
        value(&["-j"], JOBS),
        value(&["-P"], JOBS),
    ],
    mixed: |_| false,
    about: ABOUT,
    run: pdsh,
};

pub static PDCP: Spelling = Spelling {
    name: "pdcp",
    ours: "ccp(1)",
    table: COPY,
    mixed: |_| false,
    about: ABOUT,
    run: |_, items| copy(items, &[]),
};

pub static RPDCP: Spelling = Spelling {
    name: "rpdcp",
    ours: "ccp(1)",
    table: COPY,
    mixed: |_| false,
    about: ABOUT,
    run: |_, items| copy(items, &["--rcopy"]),
};

static COPY: &[Opt] = &[
    value(&["-w"], To::Own),
    value(&["-x"], To::Is("--exclude")),
    flag(&["-h"], To::Own),
    flag(&["-q"], To::Own),
    flag(&["-b"], To::Always),
    flag(&["-r"], To::Is("--recursive")),
    flag(&["-p"], To::Is("--preserve")),
    value(&["-e"], To::Always),
    value(&["-l"], To::Is("--user")),
    value(&["-t"], To::Own),
    value(&["-u"], To::Own),
    value(&["-f"], To::Own),
    value(&["-R"], To::Own),
    value(&["-M"], To::Always),
    flag(&["-L"], To::Own),
    flag(&["-N"], To::Always),
    flag(&["-d"], To::Always),
    flag(&["-V"], To::Own),
    flag(&["-a"], To::Own),
    flag(&["-A"], To::Own),
    value(&["-g"], To::Own),
    value(&["-X"], To::Own),
    flag(&["-v"], To::Is("--exclude=@down")),
    flag(&["-i"], GENDERS),
    value(&["-F"], GENDERS),
    value(&["-j"], JOBS),
    value(&["-P"], JOBS),
];

const ABOUT: About = About {
    help: "-h",
    version: "-V",
};

const GENDERS: To = To::No(
    "genders is not read",
    "make it a group source with nodeattr(1): hostlist(7) shows how",
);

const JOBS: To = To::No(
    "batch systems are not asked by an option",
    "make jobs a group source, and name one with -g: hostlist(7) shows how",
);

/// What pdsh can start commands with; before a host it says with what.
const KINDS: &[&str] = &["ssh", "rsh", "exec", "mrsh", "mqshell", "krb4", "qsh", "xcpu"];

fn pdsh(spelling: &Spelling, items: Vec<Item>) -> Result<Exit, Fail> {
    let mut parts = Parts::of("cexec", items)?;
    if parts.has("-L") {
        return modules();
    }
    let local = common(&mut parts, true)?;
    if parts.has("-q") {
        return shown(parts);
    }
    parts.push("--short");
    if local {
        // Started without a shell there: each word comes as it is.
        parts.push("--local");
        parts.push("--subst");
        let quoted = |word: &OsString| OsString::from_vec(remote::quote(word.as_bytes()));
        parts.words = parts.words.iter().map(quoted).collect();
    } else if let Some(path) = variable("DSHPATH") {
        parts.push_value("--env", format!("PATH={path}"));
    }
    let counts = match parts.has("-S") {
        true => Counts::Instead {
            unreachable: 255,
            late: 254,
        },
        false => Counts::Nothing,
    };
    let manner = Manner {
        prog: spelling.name,
        counts,
        ..Manner::own(spelling.name)
    };
    if parts.words.is_empty() {
        parts.push(super::asking()?);
    }
    cexec::run(&parts.line(), &manner)
}

fn copy(items: Vec<Item>, more: &[&str]) -> Result<Exit, Fail> {
    let mut parts = Parts::of("ccp", items)?;
    if parts.has("-L") {
        return modules();
    }
    if common(&mut parts, false)? {
        return Err(Fail::usage("-R exec cannot copy files").hint("ssh does it, without -R"));
    }
    if parts.has("-q") {
        return shown(parts);
    }
    for option in more {
        parts.push(option);
    }
    (ccp::TOOL.main)(&parts.line())
}

/// Hosts, numbers, the way to the hosts and their variables. True: commands run on this machine.
fn common(parts: &mut Parts, commands: bool) -> Result<bool, Fail> {
    for (name, ours, from) in [
        ("-f", "--fanout", "FANOUT"),
        ("-t", "--connect-timeout", "PDSH_CONNECT_TIMEOUT"),
        ("-u", "--command-timeout", "PDSH_COMMAND_TIMEOUT"),
    ] {
        // The time-out of a command is none for copies.
        let from = Some(from).filter(|_| commands || name != "-u");
        if let Some(number) = parts.value(name).or_else(|| from.and_then(variable)) {
            parts.push_value(ours, number);
        }
    }
    let way = parts.value("-R").or_else(|| variable("PDSH_RCMD_TYPE"));
    let local = match way.as_deref() {
        None | Some("ssh") => false,
        Some("exec") => true,
        Some(other) => {
            return Err(
                Fail::usage(format!("-R {other} is not to be had: hosts are reached by ssh"))
                    .hint("leave it out, and PDSH_RCMD_TYPE unset"),
            );
        }
    };
    for name in ["PDSH_SSH_ARGS_APPEND", "PDSH_SSH_ARGS"] {
        if let Some(text) = variable(name).filter(|_| !local) {
            for option in ssh_args::translate(name, &text)? {
                parts.push(option);
            }
        }
    }
    targets(parts)?;
    Ok(local)
}

/// The options that choose hosts. Without any, and without WCOLL, nothing is done: not even here.
fn targets(parts: &mut Parts) -> Result<(), Fail> {
    let lists = parts.values("-w");
    let groups = parts.values("-g");
    let all = parts.has("-a") || parts.has("-A");
    if !groups.is_empty() && (all || !lists.is_empty()) {
        return Err(
            Fail::usage("-g with -w or -a: whether hosts must be in both depends on the module of pdsh")
                .hint("say it in one list: -w 'n[1-9]&@web' is what is in both, -w 'n[1-9],@web' what is in one"),
        );
    }
    for list in &lists {
        let list = without_kind(list)?;
        parts.push_value("--hosts", list);
    }
    for group in &groups {
        parts.push_value("--hosts", named("@", group)?);
    }
    for group in parts.values("-X") {
        parts.push_value("--exclude", named("@", &group)?);
    }
    if all {
        parts.push("--hosts=@*");
    }
    if !parts.says("--hosts") && variable("WCOLL").is_none() {
        return Err(Fail::new(Exit::Failed, "no hosts are named").hint("name them with -w or -g, or in WCOLL"));
    }
    Ok(())
}

/// Groups of a list with commas, as our lists have them.
fn named(before: &str, list: &str) -> Result<String, Fail> {
    if list.contains(['=', '|', '~', '(']) || list.contains("&&") || list.contains("--") {
        return Err(Fail::usage(format!("'{list}' asks genders, which is not read"))
            .hint("make it a group source with nodeattr(1): hostlist(7) shows how"));
    }
    let words = list.split(',').filter(|word| !word.is_empty());
    Ok(words
        .map(|word| format!("{before}{word}"))
        .collect::<Vec<_>>()
        .join(","))
}

/// A list without the `ssh:` that may stand before a host.
fn without_kind(list: &str) -> Result<String, Fail> {
    let mut words = Vec::new();
    for word in list.split(',') {
        let (sign, rest) = match word.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", word),
        };
        let kind = rest.split_once(':').filter(|(kind, _)| KINDS.contains(kind));
        match kind {
            Some(("ssh", rest)) => words.push(format!("{sign}{rest}")),
            Some((kind, _)) => {
                return Err(Fail::usage(format!(
                    "'{word}': {kind} is not to be had: hosts are reached by ssh"
                )));
            }
            None => words.push(word.to_string()),
        }
    }
    Ok(words.join(","))
}

/// The options and the hosts, the hosts on the last line as a list (`-q`).
fn shown(parts: Parts) -> Result<Exit, Fail> {
    let targets_alone = |arg: &OsString| {
        !["--recursive", "--preserve", "--no-prefix"]
            .iter()
            .any(|own| *arg == **own)
    };
    let line: Vec<OsString> = parts.ours.into_iter().filter(targets_alone).collect();
    let matches = crate::tools::parse(&cexec::TOOL, &line)?;
    let targets = Targets::find(&matches)?;
    let user = targets
        .ssh
        .user
        .clone()
        .unwrap_or_else(|| "as ssh_config has it".into());
    let limit = targets.options.command_timeout.map_or(0, |limit| limit.as_secs());
    let names: Vec<String> = targets.labels();
    let lines = [
        format!("Remote username\t\t{user}"),
        format!("Connect timeout (secs)\t{}", targets.ssh.connect_seconds),
        format!("Command timeout (secs)\t{limit}"),
        format!("Fanout\t\t\t{}", targets.options.window),
        String::new(),
        "-- Target nodes --".to_string(),
        names.join(","),
    ];
    print(&lines)
}

fn modules() -> Result<Exit, Fail> {
    print(&["rcmd modules: ssh,exec (default: ssh)".to_string()])
}

fn print(lines: &[String]) -> Result<Exit, Fail> {
    let mut out = Out::stdout();
    for line in lines {
        out.line(line)
            .map_err(|e| Fail::new(Exit::Failed, "cannot write the output").because(e))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_connection_before_a_host_is_taken_off_or_refused() {
        assert_eq!(without_kind("ssh:u@a[1,2],b,-ssh:c").unwrap(), "u@a[1,2],b,-c");
        assert_eq!(without_kind("a:22,[fe80::1]:22,ssh").unwrap(), "a:22,[fe80::1]:22,ssh");
        assert!(without_kind("a,rsh:b").is_err());
    }

    #[test]
    fn groups_are_named_as_our_lists_have_them_and_queries_are_refused() {
        assert_eq!(named("@", "web,db").unwrap(), "@web,@db");
        for query in ["a=b", "a||b", "~a", "a--b"] {
            assert!(named("@", query).is_err(), "{query}");
        }
    }
}
