//! `cfagent`: Make this machine what its policy says.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use bstr::{BString, ByteSlice};
use clap::{Arg, ArgAction, ArgMatches};
use nix::syslog::Facility;
use serde::Serialize;

use crate::agent::{self, Event, Levels, RunOptions, Servers, Setup, Sink};
use crate::diag::{Exit, Fail, harmless};
use crate::facts::{Host, Machine};
use crate::sys::Paths;
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "cfagent",
    section: 8,
    place: Place::Sbin,
    command,
    main,
};

/// Switches: id, short, long, further long names, help.
type Switch = (&'static str, char, &'static str, &'static [&'static str], &'static str);

static SWITCHES: &[Switch] = &[
    (
        "sysadm",
        'a',
        "sysadm",
        &[],
        "Print the address of the administrator and leave",
    ),
    ("auto", 'A', "auto", &[], "Ignore locks, as --no-lock"),
    (
        "force-net-copy",
        'b',
        "force-net-copy",
        &[],
        "Copy over the network even from this machine",
    ),
    ("update-only", 'B', "update-only", &[], "Run update.conf only"),
    ("no-check-files", 'c', "no-check-files", &[], "Leave out files"),
    (
        "no-check-mounts",
        'C',
        "no-check-mounts",
        &[],
        "Leave out checks of mounted file systems",
    ),
    ("no-edits", 'e', "no-edits", &[], "Leave out editfiles"),
    (
        "enforce-links",
        'E',
        "enforce-links",
        &[],
        "Make links even where files are in the way",
    ),
    (
        "check-contradictions",
        'g',
        "check-contradictions",
        &[],
        "Accepted; contradictions are always looked for",
    ),
    (
        "no-hard-classes",
        'H',
        "no-hard-classes",
        &[],
        "Define none of the classes of this machine",
    ),
    ("no-ifconfig", 'i', "no-ifconfig", &[], "Leave out network interfaces"),
    ("inform", 'I', "inform", &[], "Say what is changed"),
    ("no-copy", 'k', "no-copy", &[], "Leave out copy"),
    ("no-lock", 'K', "no-lock", &[], "Ignore locks: do everything now"),
    (
        "traverse-links",
        'l',
        "traverse-links",
        &[],
        "Refused; use links=traverse in the policy",
    ),
    (
        "delete-stale-links",
        'L',
        "delete-stale-links",
        &[],
        "Remove links that lead nowhere",
    ),
    ("no-mount", 'm', "no-mount", &[], "Leave out mounting and fstab"),
    ("no-modules", 'M', "no-modules", &[], "Run no modules"),
    (
        "dry-run",
        'n',
        "dry-run",
        &["recon", "just-print"],
        "Say what would be done, change nothing",
    ),
    ("parse-only", 'p', "parse-only", &[], "Check the policy and leave"),
    ("no-processes", 'P', "no-processes", &[], "Leave out processes"),
    ("no-splay", 'q', "no-splay", &[], "Do not sleep for SplayTime"),
    ("no-commands", 's', "no-commands", &[], "Leave out shellcommands"),
    (
        "silent",
        'S',
        "silent",
        &[],
        "Print errors and the output of commands only",
    ),
    ("no-tidy", 't', "no-tidy", &[], "Leave out tidy"),
    (
        "use-env",
        'u',
        "use-env",
        &[],
        "Give commands the classes in CFALLCLASSES",
    ),
    (
        "underscore-classes",
        'U',
        "underscore-classes",
        &[],
        "The class of the system begins with an underscore (_linux)",
    ),
    ("verbose", 'v', "verbose", &[], "Say what is looked at and why"),
    ("no-warn", 'w', "no-warn", &["quiet"], "No warnings about the policy"),
    ("csdb", 'W', "csdb", &[], "Accepted for old command lines"),
    ("no-preconf", 'x', "no-preconf", &[], "Do not run cf.preconf"),
    ("no-links", 'X', "no-links", &[], "Leave out links"),
    (
        "secure-input",
        'Y',
        "secure-input",
        &[],
        "Refuse policy files that others may write",
    ),
    (
        "schedule",
        'z',
        "schedule",
        &["zone-info"],
        "Print the schedule and leave",
    ),
];

/// Which words of the action sequence a switch turns off.
static OFF: &[(&str, &[&str])] = &[
    ("no-check-files", &["files"]),
    ("no-check-mounts", &["mountinfo", "required", "disks"]),
    ("no-edits", &["editfiles"]),
    ("no-ifconfig", &["netconfig", "interfaces"]),
    ("no-copy", &["copy"]),
    ("no-mount", &["mountall", "addmounts", "unmount"]),
    ("no-processes", &["processes"]),
    ("no-commands", &["shellcommands"]),
    ("no-tidy", &["tidy"]),
    ("no-links", &["links"]),
];

fn command() -> clap::Command {
    let switch = |(id, short, long, more, help): &Switch| {
        Arg::new(*id)
            .short(*short)
            .long(*long)
            .visible_aliases(more.to_vec())
            .action(ArgAction::SetTrue)
            .help(*help)
    };
    let value = |id: &'static str, short: char, name: &'static str, help: &'static str| {
        Arg::new(id)
            .short(short)
            .long(id)
            .value_name(name)
            .value_parser(clap::value_parser!(OsString))
            .action(ArgAction::Append)
            .help(help)
    };
    crate::tools::base("cfagent", "Make this machine what its policy says")
        .args(SWITCHES.iter().map(switch))
        .arg(value(
            "file",
            'f',
            "FILE",
            "Run this policy instead of cfagent.conf, without update.conf",
        ))
        .arg(value(
            "define",
            'D',
            "CLASSES",
            "Define these classes (separated by '.', ':' or ',')",
        ))
        .arg(value("negate", 'N', "CLASSES", "These classes are false, whatever sets them").visible_alias("undefine"))
        .arg(value(
            "just",
            'j',
            "ACTIONS",
            "Run only these entries of the action sequence (separated by ',')",
        ))
        .arg(value(
            "avoid",
            'o',
            "ACTIONS",
            "Leave out these entries of the action sequence",
        ))
        .arg(value(
            "query",
            'Q',
            "VARIABLES",
            "Print these variables as name=value and leave",
        ))
        .arg(value(
            "method",
            'Z',
            "DIGEST",
            "Carry out this call of a method; cfagent starts itself so",
        ))
        .arg(
            Arg::new("debug")
                .short('d')
                .long("debug")
                .value_name("LEVEL")
                .num_args(0..=1)
                .default_missing_value("1")
                .value_parser(clap::value_parser!(u8).range(0..=4))
                .help("As --verbose, and define opt_debug"),
        )
        .arg(
            Arg::new("diff")
                .long("diff")
                .action(ArgAction::SetTrue)
                .help("Show changes of content as unified diffs; with -n, what would change"),
        )
        .args(super::past::args())
        .arg(super::judge::lint_arg())
        .arg(super::judge::explain_arg())
        .arg(
            Arg::new("exit-status")
                .long("exit-status")
                .action(ArgAction::SetTrue)
                .help("End with 1 when a promise could not be kept"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["query", "sysadm", "schedule"])
                .help("Print one JSON object per promise; messages go to standard error"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = match crate::tools::parse(&TOOL, &interpreter_args(args)) {
        Ok(matches) => matches,
        // The original's status for wrong usage.
        Err(fail) if fail.exit() == Exit::Usage => {
            fail.report(TOOL.name);
            return Err(Fail::silent(Exit::Code(1)));
        }
        Err(fail) => return Err(fail),
    };
    if matches.get_flag("traverse-links") {
        let fail = Fail::new(Exit::Code(1), "-l is refused: it made every sweep follow links");
        return Err(fail.hint("write links=traverse into the rules that need it"));
    }
    if let Some(answered) = super::past::answer(&matches) {
        return answered;
    }
    let debug = matches.get_one::<u8>("debug").is_some_and(|level| *level > 0);
    let levels = Levels {
        silent: matches.get_flag("silent"),
        inform: matches.get_flag("inform"),
        verbose: matches.get_flag("verbose") || debug,
        no_warnings: matches.get_flag("no-warn"),
        syslog: false,
        excerpts: std::io::stderr().is_terminal(),
    };
    let ask = super::judge::Ask::from_matches(&matches);
    let mut options = options(&matches);
    if ask.is_some() {
        options.parse_only = true;
        options.keep_text = true;
    }
    if debug {
        options.define.push("opt_debug".into());
    }
    let paths = Paths::from_env();
    let host = Host::detect();
    let mut machine = Machine::new(&paths, host.clone());
    let own = host.interfaces.iter().map(|interface| interface.address).collect();
    let mut servers = Servers::new(&paths, own, options.force_net_copy);
    let terminal = Terminal {
        json: matches.get_flag("json"),
        doing: Arc::new(Mutex::new(String::from("cfagent"))),
        whole: Arc::new(Mutex::new(())),
        facility: Facility::LOG_USER,
        debugging: Arc::default(),
    };
    let prefix = format!("cfengine:{}", host.short);
    watch_signals(terminal.clone(), prefix)?;
    let setup = Setup {
        options: &options,
        paths: &paths,
        host: &host,
        machine: &mut machine,
        sources: &mut servers,
        sink: &mut terminal.clone(),
        levels,
        now: crate::facts::now(),
        env: std::env::vars_os()
            .map(|(name, value)| (name.into_vec().into(), value.into_vec().into()))
            .collect(),
    };
    if let Some(ask) = ask {
        let (ending, programs) = agent::look(setup);
        return match ending.status {
            0 => ask.answer(&programs),
            status => Ok(Exit::Code(status)),
        };
    }
    let ending = agent::run(setup);
    Ok(Exit::Code(ending.status))
}

/// A policy that begins with `#!/opt/dsau/sbin/cfagent -v -f` gives us `-v -f` as one argument: it is split at blanks.
fn interpreter_args(args: &[OsString]) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len() + 1);
    for (at, arg) in args.iter().enumerate() {
        let bytes = arg.as_bytes();
        if at == 1 && bytes.starts_with(b"-") && bytes.contains(&b' ') && !bytes.contains(&b'=') {
            out.extend(bytes.fields().map(|word| OsStr::from_bytes(word).to_os_string()));
        } else {
            out.push(arg.clone());
        }
    }
    out
}

fn options(matches: &ArgMatches) -> RunOptions {
    let flag = |name: &str| matches.get_flag(name);
    let values = |name: &str| -> Vec<BString> {
        let values = matches.get_many::<OsString>(name).unwrap_or_default();
        values.map(|value| BString::from(value.as_bytes())).collect()
    };
    let words = |name: &str| -> Vec<BString> {
        let all = values(name);
        all.iter()
            .flat_map(|value| value.split(|byte| matches!(byte, b',' | b':')))
            .filter(|word| !word.is_empty())
            .map(BString::from)
            .collect()
    };
    RunOptions {
        file: values("file").pop(),
        dry_run: flag("dry-run"),
        diff: flag("diff"),
        exit_status: flag("exit-status"),
        no_locks: flag("no-lock") || flag("auto"),
        no_splay: flag("no-splay"),
        update_only: flag("update-only"),
        parse_only: flag("parse-only"),
        keep_text: false,
        define: values("define"),
        negate: values("negate"),
        no_hard_classes: flag("no-hard-classes"),
        underscore_classes: flag("underscore-classes"),
        no_preconf: flag("no-preconf"),
        just: words("just"),
        avoid: words("avoid"),
        query: matches.contains_id("query").then(|| words("query")),
        print_sysadm: flag("sysadm"),
        print_schedule: flag("schedule"),
        force_net_copy: flag("force-net-copy"),
        delete_stale_links: flag("delete-stale-links"),
        enforce_links: flag("enforce-links"),
        no_modules: flag("no-modules"),
        use_env: flag("use-env"),
        secure_input: flag("secure-input"),
        method: values("method").pop(),
        program: program(),
        off: OFF
            .iter()
            .filter(|(name, _)| flag(name))
            .flat_map(|(_, off)| off.iter().copied())
            .collect(),
    }
}

/// What `SyslogFacility` may say.
static FACILITIES: &[(&str, Facility)] = &[
    ("LOG_USER", Facility::LOG_USER),
    ("LOG_DAEMON", Facility::LOG_DAEMON),
    ("LOG_LOCAL0", Facility::LOG_LOCAL0),
    ("LOG_LOCAL1", Facility::LOG_LOCAL1),
    ("LOG_LOCAL2", Facility::LOG_LOCAL2),
    ("LOG_LOCAL3", Facility::LOG_LOCAL3),
    ("LOG_LOCAL4", Facility::LOG_LOCAL4),
    ("LOG_LOCAL5", Facility::LOG_LOCAL5),
    ("LOG_LOCAL6", Facility::LOG_LOCAL6),
    ("LOG_LOCAL7", Facility::LOG_LOCAL7),
];
/// How this very program is started once more, whatever its file is called by now.
fn program() -> Vec<BString> {
    let mut argv = vec![BString::from("/proc/self/exe")];
    let name = std::env::current_exe().ok();
    let name = name.as_deref().and_then(|path| path.file_name());
    // The multi-call file takes the tool as its first argument.
    if name.is_some_and(|name| name.as_bytes().starts_with(b"dsau")) {
        argv.push(TOOL.name.into());
    }
    argv
}

/// Standard output and standard error. Each line is written by itself: whoever reads sees it when it happens, and a
/// reader that went away is no reason to stop half way.
#[derive(Clone)]
struct Terminal {
    /// Standard output is for events, and messages go to standard error.
    json: bool,
    doing: Arc<Mutex<String>>,
    /// Held while an event is written: a signal does not end the run in the middle of one.
    whole: Arc<Mutex<()>>,
    facility: Facility,
    /// The last of SIGUSR1, which asks for debugging, and SIGUSR2, which ends it; 0 before either.
    debugging: Arc<AtomicI32>,
}

impl Terminal {
    /// Names of files stay the bytes they are, but do not steer the terminal that shows them.
    fn line(out: &mut (impl Write + IsTerminal), line: &[u8]) {
        let mut whole = match out.is_terminal() {
            true => bstr::join("\n", line.split(|byte| *byte == b'\n').map(harmless)),
            false => line.to_vec(),
        };
        whole.push(b'\n');
        let _ = out.write_all(&whole).and_then(|()| out.flush());
    }

    /// An event, one line of JSON.
    fn json(&self, event: &impl Serialize) {
        let Ok(line) = serde_json::to_vec(event) else { return };
        let whole = self.whole.lock();
        Terminal::line(&mut std::io::stdout(), &line);
        drop(whole);
    }
}

impl Sink for Terminal {
    fn out(&mut self, line: &[u8]) {
        match self.json {
            true => Terminal::line(&mut std::io::stderr(), line),
            false => Terminal::line(&mut std::io::stdout(), line),
        }
    }
    fn err(&mut self, line: &[u8]) {
        Terminal::line(&mut std::io::stderr(), line);
    }
    fn syslog(&mut self, priority: &str, line: &str) {
        use nix::syslog::{Priority, Severity};
        let severity = match priority {
            "LOG_EMERG" => Severity::LOG_EMERG,
            "LOG_ALERT" => Severity::LOG_ALERT,
            "LOG_CRIT" => Severity::LOG_CRIT,
            "LOG_WARNING" => Severity::LOG_WARNING,
            "LOG_NOTICE" => Severity::LOG_NOTICE,
            "LOG_INFO" => Severity::LOG_INFO,
            _ => Severity::LOG_ERR,
        };
        let _ = nix::syslog::syslog(Priority::new(severity, self.facility), line);
    }
    fn debugging(&self) -> Option<bool> {
        match self.debugging.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal == signal_hook::consts::SIGUSR1),
        }
    }
    fn facility(&mut self, name: &str) -> bool {
        let known = FACILITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((_, facility)) = known {
            self.facility = *facility;
        }
        known.is_some()
    }
    fn doing(&mut self, what: &str) {
        if let Ok(mut doing) = self.doing.lock() {
            what.clone_into(&mut doing);
        }
    }
    fn listens(&self) -> bool {
        self.json
    }
    fn event(&mut self, event: &Event) {
        self.json(event);
    }
}

/// On a signal that ends: says what was being done and leaves with 0, as the original does. Unfinished files are removed
/// by the next run.
fn watch_signals(mut terminal: Terminal, prefix: String) -> Result<(), Fail> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    let cannot = |error| Fail::new(Exit::Internal, "cannot watch for signals").because(error);
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2]).map_err(cannot)?;
    let began = crate::facts::now();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if let SIGUSR1 | SIGUSR2 = signal {
                terminal.debugging.store(signal, Ordering::Relaxed);
                continue;
            }
            let name = match signal {
                SIGINT => "SIGINT",
                SIGHUP => "SIGHUP",
                _ => "SIGTERM",
            };
            let what = terminal.doing.lock().map(|doing| doing.clone()).unwrap_or_default();
            let began = began.strftime("%a %b %e %H:%M:%S %Y");
            for line in [
                format!("{prefix}: Received signal {signal} ({name}) while doing [{what}]"),
                format!("{prefix}: Logical start time {began}"),
                format!("{prefix}: This sub-task started really at {began}"),
            ] {
                terminal.out(line.as_bytes());
            }
            if terminal.json {
                terminal.json(&serde_json::json!({ "event": "signal", "signal": name, "doing": what }));
            }
            let _whole = terminal.whole.lock();
            std::process::exit(0);
        }
    });
    Ok(())
}
