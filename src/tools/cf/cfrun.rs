//! `cfrun`: asks many cfservds to run their agent now (cfengine2.md 20; CMD-09, MS-13).

mod again;
mod calls;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bstr::BString;
use clap::{Arg, ArgAction, ArgMatches};

use crate::diag::{Exit, Fail, stderr_line};
use crate::hosts::{CfrunHost, CfrunHosts};
use crate::keys::Store;
use crate::sync;
use crate::sys::Paths;
use crate::tools::{Place, Tool};
use calls::{AT_ONCE, MOST_AT_ONCE, Run};

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
            Arg::new("output-dir")
                .short('o')
                .long("output-dir")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Put the output of each host into a file of this directory"),
        )
        .arg(
            Arg::new("parallel")
                .long("parallel")
                .value_name("N")
                .value_parser(clap::value_parser!(u16).range(1..=i64::from(MOST_AT_ONCE)))
                .help("Call so many hosts at once, in place of maxchild="),
        )
        .arg(
            Arg::new("retry")
                .long("retry")
                .action(ArgAction::SetTrue)
                .conflicts_with("host")
                .help("Call only the hosts whose last call failed"),
        )
        .arg(
            Arg::new("summary")
                .long("summary")
                .action(ArgAction::SetTrue)
                .help("Say in the end how many hosts are done, failed, could not be reached"),
        )
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
    let output_dir = output_dir(&matches, &list)?;
    let (mut hosts, missing) = choose(&matches, &list, &file)?;
    if matches.get_flag("retry") {
        let failed = again::failed(&paths.state())?;
        hosts.retain(|host| failed.contains(&again::key(host)));
        if hosts.is_empty() {
            stderr_line("cfrun: no host of the file is to be called again");
            return Ok(Exit::Done);
        }
    }
    let at_once = matches.get_one::<u16>("parallel").copied();
    let at_once = at_once
        .or_else(|| u16::try_from(list.max_child?).ok())
        .unwrap_or(AT_ONCE);
    let run = Run {
        trusted: trusted(&hosts, matches.get_flag("trust"), &paths),
        options,
        classes,
        silent: matches.get_flag("silent"),
        paths,
        list: &list,
        output_dir,
        at_once: usize::from(at_once.min(MOST_AT_ONCE)),
    };
    let total = hosts.len() + missing.len();
    let tally = run.all(&hosts);
    // Who may not write there has no call to repeat.
    if let Err(error) = again::note(&run.paths.state(), &hosts, &tally.failed) {
        ::log::info!("--retry will not know of this run: {error}");
    }
    if matches.get_flag("summary") || (total > 1 && io::stderr().is_terminal()) {
        stderr_line(&format!("cfrun: {}", tally.summary(missing.len())));
        if let Some(policies) = tally.policies(&hosts) {
            stderr_line(&format!("cfrun: {policies}"));
        }
    }
    let mut failed = missing;
    failed.extend(tally.failed.iter().map(|number| hosts[*number].name.clone()));
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

/// Where the output of each host goes: `-o`, which is made where it is not there, or `outputdir=`, which must be.
fn output_dir(matches: &ArgMatches, list: &CfrunHosts) -> Result<Option<PathBuf>, Fail> {
    if let Some(dir) = matches.get_one::<PathBuf>("output-dir") {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        return match made {
            Ok(()) => Ok(Some(dir.clone())),
            Err(error) => Err(Fail::new(Exit::Failed, format!("cannot make {}", dir.display())).because(error)),
        };
    }
    match &list.output_dir {
        Some(dir) if !dir.is_dir() => Err(Fail::new(
            Exit::Failed,
            format!("outputdir {} is not a directory", dir.display()),
        )),
        dir => Ok(dir.clone()),
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
