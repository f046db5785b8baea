//! What all fan-out tools have in common: whom they act on and how they reach them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::diag::{Exit, Fail};
use crate::fan::report::Run;
use crate::fan::{self, Input, Job, Options};
use crate::hosts::{self, Choice, GroupName, GroupText, Groups, Host, HostSet, ListError, Sources};
use crate::remote::{self, Keep, Mark, Ssh};
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
                .help("The hosts: n[1-10,12], a,b, @group, ^FILE, /regex/, '-' for standard input; may be given again"),
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
                .help("Serve this many hosts at once [default: by cores and limits, 32 to 128]"),
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
            Arg::new("ssh-option")
                .long("ssh-option")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Give ssh this option of ssh_config; may be given again"),
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
    // A person at a prompt thinks before the next command.
    let talk = matches!(matches.try_get_one("interactive"), Ok(Some(true)));
    let usual = if talk { 600 } else { 60 };
    let seconds = matches.get_one::<u32>("persist").copied().unwrap_or(usual);
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
    pub ssh: Arc<Ssh>,
    /// Window and time-outs.
    pub options: Options,
    /// True when the list was read from standard input, which then is used up.
    pub stdin_used: bool,
}

impl Targets {
    /// Finds out from the options, else WCOLL, else CFANOUT_HOSTS, else the cluster, else this machine.
    pub fn find(matches: &ArgMatches) -> Result<Self, Fail> {
        let mut source = Outside::default();
        let (set, local) = chosen("hosts", matches, &mut source)?;
        Targets::of(matches, set, local, None, source)
    }

    /// The hosts of an earlier run.
    pub fn again(matches: &ArgMatches, hosts: Vec<Host>, run: &Run) -> Result<Self, Fail> {
        let source = Outside::default();
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
            let away = Choice::read(text, &mut source).map_err(|e| refused(Some("-x"), &e))?;
            set.keep(|host| !away.holds(host));
        }
        if set.is_empty() {
            return Err(Fail::usage("no hosts are left to act on").hint("see hostlist(7)"));
        }
        let user = matches.get_one::<String>("user").cloned().or(user);
        if let Some(user) = user.as_deref().filter(|user| user.is_empty() || user.starts_with('-')) {
            return Err(Fail::usage(format!("'{user}' is not a user name")));
        }
        let window = match number("fanout") {
            Some(n) => (n as usize).min(fan::widest_window()),
            None => fan::default_window(),
        };
        let hosts: Vec<Host> = set.into_iter().collect();
        let options = matches.get_many::<String>("ssh-option").unwrap_or_default();
        let options = options.map(ssh_option).collect::<Result<Vec<String>, Fail>>()?;
        let mut ssh = Ssh {
            connect_seconds: number("connect").filter(|&n| n > 0).unwrap_or(10),
            user,
            options,
            ..Ssh::default()
        };
        if !ssh.has_its_own_session() {
            ssh.keep = keep(matches, hosts.len(), local)?;
        }
        Ok(Targets {
            hosts,
            local,
            ssh: Arc::new(ssh),
            options: Options {
                window,
                command_timeout: number("command")
                    .filter(|&n| n > 0)
                    .map(|n| Duration::from_secs(u64::from(n))),
                mark: Mark::new(),
                ..Options::windowed(window)
            },
            stdin_used: source.stdin_used,
        })
    }

    /// Other hosts from now on.
    pub fn act_on(&mut self, matches: &ArgMatches, set: HostSet) -> Result<(), Fail> {
        self.local = matches.get_flag("local");
        let keep = match self.ssh.has_its_own_session() {
            true => None,
            false => keep(matches, set.len(), self.local)?,
        };
        Arc::make_mut(&mut self.ssh).keep = keep;
        self.hosts = set.into_iter().collect();
        Ok(())
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

    /// A command on one of the hosts.
    pub fn job(&self, host: &Host, command: &Arc<[OsString]>, input: Input) -> Job {
        match self.local {
            true => Job {
                host: host.clone(),
                start: remote::local(command).into(),
                input,
            },
            false => Job::over(&self.ssh, host.clone(), command, input),
        }
    }

    /// How each host is called before its lines: by its name; with user and port where the name alone is not clear.
    pub fn labels(&self) -> Vec<String> {
        labels(&self.hosts)
    }
}

fn labels(hosts: &[Host]) -> Vec<String> {
    let mut count = std::collections::HashMap::new();
    for host in hosts {
        *count.entry(host.name.as_str()).or_insert(0) += 1;
    }
    let label = |host: &Host| match count.get(host.name.as_str()) {
        Some(1) => host.name.clone(),
        _ => host.to_string(),
    };
    hosts.iter().map(label).collect()
}

/// An option for ssh, `Key=value`. Those that would take away what this side relies on are refused.
fn ssh_option(text: &String) -> Result<String, Fail> {
    let fail = |why: &str| Err(Fail::usage(format!("--ssh-option {text}")).because(why));
    let Some((key, value)) = text.split_once('=') else {
        return fail("it must read KEY=VALUE, as in ssh_config(5)");
    };
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) || value.contains(['\n', '\0']) {
        return fail("it must read KEY=VALUE, as in ssh_config(5)");
    }
    let own = [
        ("ControlMaster", "--mux and --no-mux say whether connections are kept"),
        ("ControlPath", "--mux and --no-mux say whether connections are kept"),
        ("ControlPersist", "--persist says how long connections are kept"),
        (
            "LogLevel",
            "what ssh says is how its failures are told from those of the command",
        ),
        (
            "RequestTTY",
            "a terminal would mix the two outputs; commands end with the connection without one",
        ),
        ("RemoteCommand", "the command stands on the command line"),
        ("ConnectTimeout", "-t says how long to wait for a connection"),
        ("BatchMode", "nothing can be asked while many hosts are served"),
    ];
    match own.iter().find(|(own, _)| own.eq_ignore_ascii_case(key)) {
        Some((_, why)) => fail(why),
        None => Ok(text.clone()),
    }
}

/// The hosts and their labels without the domain, if it is the same for all that have one, as pdsh shows them; an
/// address has none.
pub fn without_domain(hosts: &[Host]) -> (Vec<Host>, Vec<String>) {
    let domain = |host: &Host| match host.name.parse::<std::net::IpAddr>() {
        Ok(_) => None,
        Err(_) => host.name.split_once('.').map(|(_, domain)| domain.to_string()),
    };
    let domains: std::collections::HashSet<String> = hosts.iter().filter_map(domain).collect();
    let address = hosts.iter().any(|host| host.name.parse::<std::net::IpAddr>().is_ok());
    let mut hosts = hosts.to_vec();
    if domains.len() == 1 && !address {
        for host in &mut hosts {
            host.name.truncate(host.name.find('.').unwrap_or(host.name.len()));
        }
    }
    let labels = labels(&hosts);
    (hosts, labels)
}

/// The list as asked for in the argument `name`, and whether it is this machine for want of any. A list that only says
/// what to keep or to leave out is about the hosts that are taken without it.
pub fn chosen(name: &str, matches: &ArgMatches, source: &mut Outside) -> Result<(HostSet, bool), Fail> {
    let Some(texts) = matches.get_many::<String>(name) else {
        return usual(source);
    };
    let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
    let fail = |e: ListError| match name {
        "hosts" => refused(Some("-w"), &e),
        _ => refused(None, &e),
    };
    if hosts::only_filters(&text).map_err(fail)? {
        let (set, local) = usual(source)?;
        if local {
            let what = format!("'{text}' only says which hosts to keep or leave out, and no hosts are named elsewhere");
            return Err(Fail::usage(what).hint("see hostlist(7)"));
        }
        return Ok((hosts::filter_with(&text, set, source).map_err(fail)?, false));
    }
    Ok((hosts::expand_with(&text, source).map_err(fail)?, false))
}

/// The hosts that are taken when no list is given, and whether that is this machine for want of any.
pub fn usual(source: &mut Outside) -> Result<(HostSet, bool), Fail> {
    for variable in ["WCOLL", "CFANOUT_HOSTS"] {
        if let Some(file) = std::env::var_os(variable).filter(|file| !file.is_empty()) {
            let name = file.to_string_lossy();
            let fail = |e: &dyn std::fmt::Display| Fail::new(Exit::Usage, variable).because(e);
            let bytes = hosts::read_file(Path::new(&file)).map_err(|e| fail(&e))?;
            let set = hosts::expand_lines(&bytes, &name, source).map_err(|e| refused(Some(variable), &e))?;
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

/// A list that cannot be used: where it was given, why, and the place in it.
pub fn refused(option: Option<&str>, error: &ListError) -> Fail {
    let fail = match option {
        Some(option) => Fail::usage(option).because(error),
        None => Fail::usage(error),
    };
    match error.pointer() {
        Some(pointer) => fail.show(pointer),
        None => fail,
    }
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

/// What the cluster says of its members, for groups: of `all`, `up` or `down`.
fn cluster_group(paths: &Paths, which: &str) -> Result<Vec<String>, ListError> {
    let cluster = crate::cluster::here(paths).map_err(ListError::new)?;
    let members = cluster.members().to_vec();
    if members.is_empty() {
        return Err(ListError::new("this machine is in no cluster"));
    }
    if which == "all" {
        return Ok(members);
    }
    let up = cluster.up();
    let up = up.ok_or_else(|| ListError::new("which members of the cluster are up cannot be told from here"))?;
    Ok(members
        .into_iter()
        .filter(|member| up.contains(member) == (which == "up"))
        .collect())
}

/// Files, standard input and groups, for real.
pub struct Outside {
    /// True when standard input has been read.
    pub stdin_used: bool,
    /// The groups of this machine.
    pub groups: Groups,
}

impl Default for Outside {
    /// Nothing is read yet.
    fn default() -> Self {
        Outside {
            stdin_used: false,
            groups: Groups::new(Paths::from_env(), cluster_group),
        }
    }
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

    fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        self.groups.group(group)
    }

    fn names(&mut self, source: Option<&str>) -> Result<Vec<String>, ListError> {
        self.groups.names(source)
    }

    fn all(&mut self, source: Option<&str>) -> Result<Option<GroupText>, ListError> {
        self.groups.all(source)
    }
}
