//! What `cexec` starts on each host, from its options.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::secret;
use super::targets::Targets;
use crate::diag::{Exit, Fail};
use crate::fan::report::Run;
use crate::fan::{Bond, Input, Job, SCRIPT_LIMIT, Spool, Wrap};
use crate::hosts::Host;
use crate::remote;

/// The options that say what surrounds the command.
pub fn arguments(command: clap::Command) -> clap::Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let value = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    command
        .arg(flag("stdin", "Give standard input to the command on every host"))
        .arg(flag(
            "detach",
            "Leave remote processes alone when the connection ends; run the command without any wrapping",
        ))
        .arg(
            value("script", "FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Run this script of this machine on every host; the words are its arguments"),
        )
        .arg(
            value("env", "NAME[=VALUE]")
                .action(ArgAction::Append)
                .help("Give the command this variable; without a value the one that is set here"),
        )
        .arg(
            value("chdir", "DIR")
                .value_parser(value_parser!(OsString))
                .help("Run the command in this directory of the host"),
        )
        .arg(
            flag(
                "sudo",
                "Run the command as root; the password of sudo is asked for once",
            )
            .conflicts_with("stdin"),
        )
        .arg(
            flag(
                "subst",
                "Replace %h, %u, %n and %% in the command by host, user, number and %",
            )
            .conflicts_with_all(["script", "env", "chdir", "sudo"]),
        )
}

/// Takes over from an earlier run what surrounds its command, where the options say nothing.
pub fn wrap(matches: &ArgMatches, again: Option<&Run>) -> Result<(Wrap, Option<PathBuf>), Fail> {
    let path = matches.get_one::<PathBuf>("script").cloned();
    let path = path.or_else(|| again?.script.as_ref().map(PathBuf::from));
    let script = path.as_ref().map(read).transpose()?;
    let dir = matches.get_one::<OsString>("chdir").cloned();
    let env = matches.get_many::<String>("env").unwrap_or_default();
    let env = env.map(|text| variable(text)).collect::<Result<_, Fail>>()?;
    let sudo = matches.get_flag("sudo") || again.is_some_and(|run| run.sudo);
    let password = match sudo && !matches.get_flag("dry-run") {
        true => Some(ask()?),
        false => None,
    };
    let wrap = Wrap {
        script,
        env,
        dir: dir.or_else(|| again?.chdir.as_ref().map(OsString::from)),
        sudo: password,
    };
    Ok((wrap, path))
}

fn ask() -> Result<Vec<u8>, Fail> {
    match secret::ask("password for sudo: ") {
        Ok(answer) => Ok(answer.unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Fail::silent(Exit::Code(130))),
        Err(error) => Err(Fail::new(Exit::Internal, "cannot ask for the password").because(error)),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Fail> {
    let fail = |e: &dyn std::fmt::Display| Fail::usage(format!("cannot use the script {}", path.display())).because(e);
    let mut script = Vec::new();
    let file = File::open(path).map_err(|e| fail(&e))?;
    file.take(SCRIPT_LIMIT + 1)
        .read_to_end(&mut script)
        .map_err(|e| fail(&e))?;
    if script.len() as u64 > SCRIPT_LIMIT {
        return Err(fail(&"it is larger than 64 MiB"));
    }
    if script.starts_with(b"\x7fELF") {
        return Err(fail(&"it is a program and no script").hint("copy it with ccp(1) and run it then"));
    }
    Ok(script)
}

fn variable(text: &str) -> Result<(OsString, OsString), Fail> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(OsString::from(value))),
        None => (text, std::env::var_os(text)),
    };
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Fail::usage(format!("--env: '{name}' cannot be the name of a variable")));
    }
    let value = value.ok_or_else(|| Fail::usage(format!("--env: the variable {name} is not set here")))?;
    Ok((name.into(), value))
}

/// The jobs of a run, in the order of its hosts.
pub fn jobs(matches: &ArgMatches, targets: &Targets, words: &[OsString], wrap: &Wrap) -> Result<Vec<Job>, Fail> {
    let flag = |name| matches.get_flag(name);
    let stdin = flag("stdin");
    if stdin && targets.stdin_used {
        return Err(Fail::usage(
            "standard input cannot be both the list of hosts and the input of the command",
        ));
    }
    let keep = |e: io::Error| Fail::new(Exit::Internal, "cannot keep standard input").because(e);
    let bond = match () {
        () if stdin => Bond::Input,
        () if flag("detach") => Bond::Free,
        () if targets.local => Bond::Group,
        () => Bond::Tied,
    };
    let mark = targets.options.mark.as_ref();
    let hosts = targets.hosts.iter();
    if !wrap.is_empty() {
        let mut spool = if stdin { Spool::new() } else { Spool::in_memory() }.map_err(keep)?;
        let sizes = wrap.payload(words, &mut spool).map_err(keep)?;
        let input = match stdin {
            true => {
                io::copy(&mut io::stdin().lock(), &mut spool).map_err(keep)?;
                Input::Spool(Arc::new(spool))
            }
            false => Input::Fed(Arc::new(spool)),
        };
        let command = |rank, host: &Host| wrap.receive(&sizes, &host.name, rank, bond, mark);
        return Ok(hosts
            .enumerate()
            .map(|(rank, host)| targets.job(host, &command(rank, host).into(), input.clone()))
            .collect());
    }
    let input = match bond {
        Bond::Input => Input::Spool(Arc::new(Spool::fill(&mut io::stdin().lock()).map_err(keep)?)),
        Bond::Tied => Input::Held,
        Bond::Free | Bond::Group => Input::Nothing,
    };
    let tie = |words: &[OsString]| match bond {
        Bond::Tied => remote::tied(words, mark),
        _ => words.to_vec(),
    };
    if !flag("subst") {
        let command = tie(words).into();
        return Ok(hosts.map(|host| targets.job(host, &command, input.clone())).collect());
    }
    let own = |(rank, host): (usize, &Host)| {
        let user = host.user.as_ref().or(targets.ssh.user.as_ref()).cloned();
        let user = user.unwrap_or_else(|| std::env::var("USER").unwrap_or_default());
        let words: Vec<OsString> = words.iter().map(|word| filled(word, &host.name, &user, rank)).collect();
        targets.job(host, &tie(&words).into(), input.clone())
    };
    Ok(hosts.enumerate().map(own).collect())
}

/// A word with what stands for the host replaced; any other `%` stays as it is.
fn filled(word: &OsStr, host: &str, user: &str, rank: usize) -> OsString {
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'h') => out.extend(remote::quote(host.as_bytes())),
            Some(b'u') => out.extend(remote::quote(user.as_bytes())),
            Some(b'n') => out.extend(rank.to_string().into_bytes()),
            Some(b'%') => out.push(b'%'),
            Some(&other) => out.extend([b'%', other]),
            None => out.push(b'%'),
        }
    }
    OsString::from_vec(out)
}
