//! `cfrun`: asks many cfservds to run their agent now (cfengine2.md 20; CMD-09, MS-13).

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bstr::BString;
use clap::{Arg, ArgAction, ArgMatches};

use crate::diag::{Exit, Fail, Out, harmless, stderr_line};
use crate::fsx::SourceError;
use crate::hosts::{CfrunHost, CfrunHosts, OutputLevel};
use crate::keys::Store;
use crate::sync::{self, Options};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// How long a host may be silent. cfservd gives a sign of life every two seconds while the agent works.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most bytes of output kept of one host.
const MAX_OUTPUT: usize = 16 << 20;
/// How long connecting to each address of a host may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Hosts called at once where the file has no `maxchild=`.
const AT_ONCE: usize = 16;

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfrun",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

fn command() -> clap::Command {
    let flag = |id: &'static str, short: char, help: &'static str| {
        Arg::new(id).short(short).long(id).action(ArgAction::SetTrue).help(help)
    };
    crate::tools::base("cfrun", "Ask hosts to run their agent now")
        .override_usage("cfrun [OPTIONS] [HOST]... [-- AGENT-OPTIONS [-- CLASSES]]")
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Read the hosts from this file instead of cfrun.hosts"),
        )
        .arg(flag(
            "trust",
            'T',
            "Accept the keys of hosts that are not known yet, without asking",
        ))
        .arg(flag(
            "silent",
            'S',
            "Print the output of the agents and nothing around it",
        ))
        .arg(flag("verbose", 'v', "Say what is done"))
        .arg(flag("debug", 'd', "Say more"))
        .arg(
            Arg::new("exit-status")
                .long("exit-status")
                .action(ArgAction::SetTrue)
                .help("End with status 1 when a host failed or refused; without it the status is 0"),
        )
        .arg(
            Arg::new("host")
                .value_name("HOST")
                .action(ArgAction::Append)
                .help("Call only these hosts of the file"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    // Only the word `--` itself separates (Q6).
    let mut parts = args.split(|arg| arg == "--");
    let matches = crate::tools::parse(&TOOL, parts.next().unwrap_or_default())?;
    let words = |part: Option<&[OsString]>| -> Vec<BString> {
        let bytes = |word: &OsString| BString::from(word.clone().into_encoded_bytes());
        part.unwrap_or_default().iter().map(bytes).collect()
    };
    let (options, classes) = (words(parts.next()), words(parts.next()));
    if parts.next().is_some() {
        return Err(Fail::usage("there are more than two '--'"));
    }
    let level = match (matches.get_flag("debug"), matches.get_flag("verbose")) {
        (true, _) => log::LevelFilter::Debug,
        (_, true) => log::LevelFilter::Info,
        _ => log::LevelFilter::Warn,
    };
    crate::log::init(c"cfrun", level);
    let paths = Paths::from_env();
    let file = hosts_file(&matches, &paths)?;
    let list = CfrunHosts::read(&file).map_err(|e| Fail::new(Exit::Policy, e))?;
    permitted(&list)?;
    if let Some(dir) = &list.output_dir
        && !dir.is_dir()
    {
        return Err(Fail::new(
            Exit::Failed,
            format!("outputdir {} is not a directory", dir.display()),
        ));
    }
    let (hosts, missing) = choose(&matches, &list, &file)?;
    let run = Run {
        trusted: trusted(&hosts, matches.get_flag("trust"), &paths),
        options,
        classes,
        silent: matches.get_flag("silent"),
        paths,
        list: &list,
    };
    let total = hosts.len() + missing.len();
    let mut failed = missing;
    failed.extend(run.all(&hosts));
    if failed.is_empty() {
        return Ok(Exit::Done);
    }
    stderr_line(&format!(
        "cfrun: {} of {total} hosts failed: {}",
        failed.len(),
        failed.join(" ")
    ));
    Ok(match matches.get_flag("exit-status") {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

/// The file of `-f` (a relative name is looked up in the inputs directory), or the first of the usual ones.
fn hosts_file(matches: &ArgMatches, paths: &Paths) -> Result<PathBuf, Fail> {
    if let Some(file) = matches.get_one::<PathBuf>("file") {
        let here = file.starts_with(".") || file.starts_with("..");
        return Ok(if here { file.clone() } else { paths.inputs().join(file) });
    }
    let usual = [
        paths.inputs().join("cfrun.hosts"),
        paths.master().join("inputs/cfrun.hosts"),
    ];
    match usual.iter().find(|file| file.exists()) {
        Some(file) => Ok(file.clone()),
        None => Err(
            Fail::new(Exit::Policy, format!("Unable to open {}", usual[0].display()))
                .because("there is no such file")
                .hint(format!("nor is there {}; -f names another file", usual[1].display())),
        ),
    }
}

/// `access=`
fn permitted(list: &CfrunHosts) -> Result<(), Fail> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let name = user.map(|user| user.name).unwrap_or_default();
    if list.access.is_empty() || list.access.contains(&name) {
        return Ok(());
    }
    Err(
        Fail::new(Exit::Failed, "you have not been granted permission to run cfrun")
            .hint("access= in cfrun.hosts names the users who may"),
    )
}

/// The hosts to call: all, or those named. Others are never contacted.
fn choose<'a>(
    matches: &ArgMatches,
    list: &'a CfrunHosts,
    file: &Path,
) -> Result<(Vec<&'a CfrunHost>, Vec<String>), Fail> {
    let mut hosts: Vec<&CfrunHost> = Vec::new();
    for host in &list.hosts {
        if !hosts
            .iter()
            .any(|known| (&known.name, known.port) == (&host.name, host.port))
        {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        return Err(Fail::new(Exit::Policy, format!("{} lists no host", file.display())));
    }
    let Some(named) = matches.get_many::<String>("host") else {
        return Ok((hosts, Vec::new()));
    };
    let named: Vec<&String> = named.collect();
    let is =
        |host: &CfrunHost, name: &str| host.name.eq_ignore_ascii_case(name) || host.written.eq_ignore_ascii_case(name);
    let unknown: Vec<String> = named
        .iter()
        .filter(|name| !hosts.iter().any(|host| is(host, name)))
        .map(|name| name.to_string())
        .collect();
    for name in &unknown {
        stderr_line(&format!("cfrun: {name} is not in {}: it is not called", file.display()));
        let longer = |host: &&&CfrunHost| {
            host.name
                .split('.')
                .next()
                .is_some_and(|first| first.eq_ignore_ascii_case(name))
        };
        if let Some(host) = hosts.iter().find(longer) {
            stderr_line(&format!("  hint: give the name as it stands there: {}", host.name));
        }
    }
    hosts.retain(|host| named.iter().any(|name| is(host, name)));
    Ok((hosts, unknown))
}

/// Which hosts without a known key are accepted on trust: all with `-T`, on a terminal those a person says yes to.
fn trusted(hosts: &[&CfrunHost], all: bool, paths: &Paths) -> Vec<bool> {
    let ask = !all && io::stdin().is_terminal();
    let store = Store::at(paths.ppkeys());
    let one = |host: &&CfrunHost| {
        if !ask {
            return all;
        }
        let Ok(addresses) = sync::resolve(&host.name, 0) else {
            return false;
        };
        let known = |address: &std::net::SocketAddr| !matches!(store.trusted("root", address.ip()), Ok(None));
        match addresses.first() {
            Some(address) if !addresses.iter().any(known) => {
                stderr_line(&format!(
                    "WARNING - You do not have a public key from host {} = {}",
                    host.name,
                    address.ip()
                ));
                yes("Do you want to accept one on trust? (yes/no)")
            }
            _ => false,
        }
    };
    hosts.iter().map(one).collect()
}

/// Asks until the answer is yes or no; the end of input is no.
fn yes(question: &str) -> bool {
    stderr_line(question);
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.trim() {
            "yes" => return true,
            "no" => return false,
            _ => stderr_line(question),
        }
    }
    false
}

struct Run<'a> {
    trusted: Vec<bool>,
    options: Vec<BString>,
    classes: Vec<BString>,
    silent: bool,
    paths: Paths,
    list: &'a CfrunHosts,
}

/// How the call of one host went.
struct Report {
    lines: Vec<BString>,
    failure: Option<String>,
}

impl Run<'_> {
    /// Calls all hosts, some at a time. The output of a host comes in one piece, when it is done. Gives those that failed.
    fn all(&self, hosts: &[&CfrunHost]) -> Vec<String> {
        let at_once = self
            .list
            .max_child
            .map_or(AT_ONCE, |n| usize::try_from(n).unwrap_or(AT_ONCE));
        let next = AtomicUsize::new(0);
        let (sender, reports) = mpsc::channel();
        let mut failed = Vec::new();
        thread::scope(|scope| {
            for _ in 0..at_once.min(hosts.len()).min(256) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(host) = hosts.get(number) else { return };
                        if sender.send((number, *host, self.call(number, host))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut out = Out::stdout();
            for (number, host, report) in reports {
                if let Some(failure) = self.tell(&mut out, number, host, report) {
                    stderr_line(&format!("cfrun: {failure}"));
                    failed.push(host.name.clone());
                }
            }
        });
        failed
    }

    fn call(&self, number: usize, host: &CfrunHost) -> Report {
        let options = Options {
            paths: self.paths.clone(),
            port: host.port.unwrap_or_else(sync::port),
            trustkey: self.trusted.get(number).copied().unwrap_or(false),
            connect: CONNECT,
            timeout: PATIENCE,
            bind: self.list.bind_to,
            ipv4_only: false,
            program: concat!("cfrun ", env!("CARGO_PKG_VERSION")).to_string(),
        };
        let mut args = self.options.clone();
        // The words of the file come after those of the command line.
        args.extend(crate::sys::process::split(&host.options));
        if self.list.output_level == OutputLevel::Error {
            args.push("--silent".into());
        }
        let (mut lines, mut size, mut dropped) = (Vec::new(), 0, 0u64);
        let done = sync::connect(&host.name, &options).and_then(|mut remote| {
            for note in remote.take_notes() {
                stderr_line(&format!("cfrun:{}: {note}", host.name));
            }
            let status = remote.exec(&args, &self.classes, &mut |line| {
                size += line.len() + 32;
                match size <= MAX_OUTPUT {
                    true => lines.push(line.to_owned()),
                    false => dropped += 1,
                }
            })?;
            Ok(status)
        });
        if dropped > 0 {
            lines.push(format!("... {dropped} more lines are left out").into());
        }
        let failure = match done {
            Ok(0) => None,
            Ok(status) => Some(format!("the agent of {} ended with status {status}", host.name)),
            Err(error) => Some(failure(&host.name, &error)),
        };
        Report { lines, failure }
    }

    /// Prints one host's report, or puts it into its file. Gives what failed.
    fn tell(&self, out: &mut Out, number: usize, host: &CfrunHost, report: Report) -> Option<String> {
        let mut text = Vec::new();
        let rule = "- ".repeat(40);
        if !self.silent {
            text.extend_from_slice(
                format!(
                    "cfrun({number}):         .......... [ Hailing {} ] ..........\n\n",
                    host.name
                )
                .as_bytes(),
            );
        }
        if !report.lines.is_empty() {
            if !self.silent {
                text.extend_from_slice(format!("{}\n\n", rule.trim_end()).as_bytes());
            }
            for line in &report.lines {
                text.extend(harmless(line));
                text.push(b'\n');
            }
            if !self.silent {
                text.extend_from_slice(format!("{}\n", rule.trim_end()).as_bytes());
            }
        }
        let written = match &self.list.output_dir {
            Some(dir) => fs::write(dir.join(host.name.replace('/', "_")), &text),
            None => out.write_all(&text).and_then(|()| out.flush()),
        };
        match written {
            Ok(()) => report.failure,
            Err(error) => Some(format!("the output of {} cannot be written: {error}", host.name)),
        }
    }
}

/// The original's words for what went wrong, and the cause.
fn failure(host: &str, error: &SourceError) -> String {
    let said = match error {
        SourceError::Unreachable(_) => format!("No response hailing {host}"),
        SourceError::Authentication(_) => format!("Key-authentication for {host} failed"),
        SourceError::Protocol(_) => format!("Hail succeeded, but unable to open channel to {host}"),
        _ => format!("{host} refused"),
    };
    let cause = error.to_string();
    let cause = cause.strip_prefix(&format!("{host}: ")).unwrap_or(&cause);
    format!("{said}: {cause}")
}
