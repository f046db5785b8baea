//! What all fan-out tools have in common: whom they act on and how they reach them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::diag::{Exit, Fail};
use crate::fan::report::Run;
use crate::fan::{self, Options};
use crate::hosts::{self, Host, HostSet, ListError, Sources};
use crate::remote::{self, Keep, Launch, Ssh};
use crate::sys::Paths;

/// Connections of so many hosts are kept unasked: each takes a process of 1.4 MiB as long as it is there.
const KEPT_HOSTS: usize = 64;

/// Adds the options that choose hosts and say how they are reached.
pub fn arguments(command: Command) -> Command {
    let seconds = |name: &'static str, letter, long| {
        Arg::new(name)
            .short(letter)
            .long(long)
            .value_name("SECONDS")
            .value_parser(value_parser!(u32))
    };
    command
        .arg(
            Arg::new("hosts")
                .short('w')
                .long("hosts")
                .value_name("LIST")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help("The hosts: n[1-10,12], a,b, ^FILE, @cluster, '-' for standard input; may be given again"),
        )
        .arg(
            Arg::new("exclude")
                .short('x')
                .long("exclude")
                .value_name("LIST")
                .action(ArgAction::Append)
                .help("Leave these hosts out"),
        )
        .arg(
            Arg::new("fanout")
                .short('f')
                .long("fanout")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Serve this many hosts at once [default: by cores and open-file limit, 32 to 128]"),
        )
        .arg(seconds("connect", 't', "connect-timeout").help("Give up a host that does not answer [default: 10]"))
        .arg(seconds("command", 'u', "command-timeout").help("End a command that takes longer [default: no limit]"))
        .arg(
            Arg::new("user")
                .short('l')
                .long("user")
                .value_name("USER")
                .help("Log in as this user where the list names none"),
        )
        .arg(
            Arg::new("dry-run")
                .short('q')
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only print the hosts, one a line"),
        )
        .arg(
            Arg::new("mux")
                .long("mux")
                .action(ArgAction::SetTrue)
                .overrides_with("no-mux")
                .help("Keep the connections for the next command, however many, whatever ssh_config says about it"),
        )
        .arg(
            Arg::new("no-mux")
                .long("no-mux")
                .action(ArgAction::SetTrue)
                .overrides_with("mux")
                .help("Use no connection that was kept, and keep none [default: keep those of up to 64 hosts]"),
        )
        .arg(
            Arg::new("persist")
                .long("persist")
                .value_name("SECONDS")
                .value_parser(value_parser!(u32).range(1..=86400))
                .help("Close a kept connection after this many idle seconds [default: 60]"),
        )
}

/// How connections are kept: not for this machine alone, and unasked only where it is worth it.
fn keep(matches: &ArgMatches, hosts: usize, local: bool) -> Result<Option<Keep>, Fail> {
    let forced = matches.get_flag("mux");
    if local || matches.get_flag("no-mux") || !(forced || hosts <= KEPT_HOSTS) {
        return Ok(None);
    }
    let seconds = matches.get_one::<u32>("persist").copied().unwrap_or(60);
    match Keep::prepare(&Paths::from_env(), seconds, forced) {
        Ok(keep) => Ok(Some(keep)),
        Err(why) if forced => Err(Fail::usage("connections cannot be kept").because(why)),
        Err(_) => Ok(None),
    }
}

/// The hosts of a run and the way to them.
pub struct Targets {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// True: nothing named any host, so the command runs on this machine, without ssh (dsau.md 2.7).
    pub local: bool,
    /// How ssh is called.
    pub ssh: Ssh,
    /// Window and time-outs.
    pub options: Options,
    /// True when the list was read from standard input, which then is used up.
    pub stdin_used: bool,
}

impl Targets {
    /// Finds out from the options, else WCOLL, else CFANOUT_HOSTS, else the cluster, else this machine.
    pub fn find(matches: &ArgMatches) -> Result<Self, Fail> {
        let mut source = Outside { stdin_used: false };
        let (set, local) = chosen("hosts", matches, &mut source)?;
        Targets::of(matches, set, local, None, source)
    }

    /// The hosts of an earlier run.
    pub fn again(matches: &ArgMatches, hosts: Vec<Host>, run: &Run) -> Result<Self, Fail> {
        let source = Outside { stdin_used: false };
        Targets::of(matches, HostSet::from_iter(hosts), run.local, run.user.clone(), source)
    }

    fn of(
        matches: &ArgMatches,
        mut set: HostSet,
        local: bool,
        user: Option<String>,
        mut source: Outside,
    ) -> Result<Self, Fail> {
        let number = |name: &str| matches.get_one::<u32>(name).copied();
        for text in matches.get_many::<String>("exclude").unwrap_or_default() {
            let away = hosts::expand_with(text, &mut source).map_err(|e| Fail::usage("-x").because(e))?;
            set.minus(&away);
        }
        if set.is_empty() {
            return Err(Fail::usage("no hosts are left to act on").hint("see hostlist(7)"));
        }
        let user = matches.get_one::<String>("user").cloned().or(user);
        if let Some(user) = user.as_deref().filter(|user| user.is_empty() || user.starts_with('-')) {
            return Err(Fail::usage(format!("'{user}' is not a user name")));
        }
        let widest = fan::widest_window();
        let window = number("fanout").map_or_else(fan::default_window, |n| (n as usize).min(widest));
        let hosts: Vec<Host> = set.into_iter().collect();
        let keep = keep(matches, hosts.len(), local)?;
        Ok(Targets {
            hosts,
            local,
            ssh: Ssh {
                connect_seconds: number("connect").filter(|&n| n > 0).unwrap_or(10),
                user,
                keep,
                ..Ssh::default()
            },
            options: Options {
                window,
                command_timeout: number("command")
                    .filter(|&n| n > 0)
                    .map(|n| Duration::from_secs(u64::from(n))),
                ..Options::default()
            },
            stdin_used: source.stdin_used,
        })
    }

    /// With `--dry-run`: prints the hosts, and is true.
    pub fn only_shown(&self, matches: &ArgMatches) -> bool {
        let dry = matches.get_flag("dry-run");
        if dry {
            let mut out = crate::diag::Out::stdout();
            for label in self.labels() {
                let _ = out.line(label);
            }
        }
        dry
    }

    /// What to start for a host to run a command there.
    pub fn launch(&self, host: &Host, command: &[OsString]) -> Launch {
        match self.local {
            true => remote::local(command),
            false => self.ssh.launch(host, command),
        }
    }

    /// How each host is called before its lines: by its name; with user and port where the name alone is not clear.
    pub fn labels(&self) -> Vec<String> {
        let mut count = std::collections::HashMap::new();
        for host in &self.hosts {
            *count.entry(host.name.as_str()).or_insert(0) += 1;
        }
        let label = |host: &Host| match count.get(host.name.as_str()) {
            Some(1) => host.name.clone(),
            _ => host.to_string(),
        };
        self.hosts.iter().map(label).collect()
    }
}

/// The list as asked for in the argument `name`, and whether it is this machine for want of any.
pub fn chosen(name: &str, matches: &ArgMatches, source: &mut Outside) -> Result<(HostSet, bool), Fail> {
    if let Some(texts) = matches.get_many::<String>(name) {
        let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
        let set = hosts::expand_with(&text, source).map_err(|e| match name {
            "hosts" => Fail::usage("-w").because(e),
            _ => Fail::usage(e),
        })?;
        return Ok((set, false));
    }
    for variable in ["WCOLL", "CFANOUT_HOSTS"] {
        if let Some(file) = std::env::var_os(variable).filter(|file| !file.is_empty()) {
            let name = file.to_string_lossy();
            let fail = |e: &dyn std::fmt::Display| Fail::new(Exit::Usage, variable).because(e);
            let bytes = hosts::read_file(Path::new(&file)).map_err(|e| fail(&e))?;
            let set = hosts::expand_lines(&bytes, &name, source).map_err(|e| fail(&e))?;
            if set.is_empty() {
                return Err(fail(&format!("{name} names no host")));
            }
            return Ok((set, false));
        }
    }
    let members = members()?;
    if !members.is_empty() {
        return Ok((members, false));
    }
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let host = name.and_then(|name| Host::named(&name).ok());
    let host = host.unwrap_or(Host {
        name: "localhost".into(),
        user: None,
        port: None,
    });
    Ok((HostSet::from_iter([host]), true))
}

/// The members of the cluster this machine is in; empty outside one.
fn members() -> Result<HostSet, Fail> {
    let cluster = crate::cluster::here(&Paths::from_env())
        .map_err(|e| Fail::new(Exit::Policy, "cannot read the members of the cluster").because(e))?;
    let named = cluster.members().iter().map(|name| Host::named(name));
    named
        .collect::<Result<HostSet, _>>()
        .map_err(|e| Fail::new(Exit::Policy, "the cluster has a member that cannot be called").because(e))
}

/// Files, standard input and groups, for real.
pub struct Outside {
    /// True when standard input has been read.
    pub stdin_used: bool,
}

impl Sources for Outside {
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        hosts::read_file(&PathBuf::from(name)).map_err(ListError::new)
    }

    fn stdin(&mut self) -> Result<Vec<u8>, ListError> {
        use std::io::Read;
        if self.stdin_used {
            return Err(ListError::new("standard input can be read only once"));
        }
        self.stdin_used = true;
        let mut bytes = Vec::new();
        let read = std::io::stdin()
            .lock()
            .take(hosts::FILE_LIMIT + 1)
            .read_to_end(&mut bytes);
        match read {
            Ok(size) if size as u64 > hosts::FILE_LIMIT => Err(ListError::new("standard input is larger than 64 MiB")),
            Ok(_) => Ok(bytes),
            Err(error) => Err(ListError::new(format!("standard input: {error}"))),
        }
    }

    fn group(&mut self, name: &str) -> Result<String, ListError> {
        if name != "cluster" {
            return Err(ListError::new(format!("there is no group '@{name}'")));
        }
        let set = members().map_err(ListError::new)?;
        match set.is_empty() {
            true => Err(ListError::new("'@cluster': this machine is in no cluster")),
            false => Ok(hosts::fold(set.iter())),
        }
    }
}
