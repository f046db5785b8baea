//! Running one thing on one host over the system's own ssh: the command line of ssh, and what its failures mean.
//!
//! Builds argument vectors, never a shell string on this side. Starting and watching the processes is [`crate::fan`]'s.

mod cause;
mod config;
pub mod keep;
pub mod known;
pub mod mark;
pub mod mux;
mod quote;

pub use cause::{Cause, Trouble, explain};
pub use keep::{Hold, Keep, Kept};
pub use mark::Mark;
pub use quote::{encode, quote};

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::hosts::Host;

/// How ssh is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// The program: `ssh` from the PATH unless `DSAU_SSH` names another.
    pub program: PathBuf,
    /// Seconds until a host that does not answer is given up (`ConnectTimeout`); covers the handshake too.
    pub connect_seconds: u32,
    /// The login name for hosts that do not bring their own.
    pub user: Option<String>,
    /// True: never ask anything (`BatchMode`).
    pub batch: bool,
    /// More `-o` options, `Key=value`.
    pub options: Vec<String>,
    /// Which ciphers are preferred (`Ciphers`); see [`Ssh::for_much`].
    pub ciphers: Option<&'static str>,
    /// How connections are kept for the next command; none: each command has its own.
    pub keep: Option<Keep>,
}

impl Default for Ssh {
    fn default() -> Self {
        Ssh {
            program: program("DSAU_SSH", "ssh"),
            connect_seconds: 10,
            user: None,
            batch: true,
            options: Vec::new(),
            ciphers: None,
            keep: None,
        }
    }
}

/// Whether the processor has instructions for AES in Galois counter mode.
fn computes_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// A program of the ssh family: the path in the environment variable, else its name.
pub fn program(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(name),
    }
}

/// The version of ssh, `(9, 2)`; none when it does not tell.
pub fn version(program: &std::path::Path) -> Option<(u32, u32)> {
    let told = std::process::Command::new(program).arg("-V").output().ok()?;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    let (_, rest) = text.split_once("OpenSSH_")?;
    let (major, rest) = rest.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A process to start for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// True: an ssh, whose own messages can be sent elsewhere with `-E` (see [`Launch::log_to`]); false: it runs on
    /// this machine and its status is its own.
    pub ssh: bool,
    /// A connection that may be there already, or may be kept after this.
    pub kept: Option<Kept>,
    /// What its environment has besides that of this process. Nothing secret: others can read it.
    pub env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// Where ssh writes its own messages, apart from what the remote command says on its standard error: only so can
    /// a failure of ssh be told from a remote command that exits with 255.
    pub fn log_to(&self, path: &OsStr) -> Vec<OsString> {
        let mut argv = self.argv.clone();
        if self.ssh && !argv.is_empty() {
            argv.splice(1..1, [OsString::from("-E"), path.to_os_string()]);
        }
        argv
    }

    /// The same, with a connection that stays when the command has ended.
    pub fn keeping(&self) -> Launch {
        let mut launch = self.clone();
        if let Some(kept) = &self.kept
            && !launch.argv.is_empty()
        {
            launch.argv.splice(1..1, kept.options.iter().cloned());
        }
        launch
    }
}

/// The cipher that the processor computes, to be tried first. It is as strong as the one that OpenSSH tries first, and takes
/// half the time of a processor that has instructions for it.
const FAST: &str = "^aes256-gcm@openssh.com";

/// The first version of ssh that knows `^`.
const FIRST: (u32, u32) = (8, 0);

impl Ssh {
    /// Has connections that carry much use the fastest cipher, where that is nobody's choice yet, neither in the options
    /// nor in the configuration of ssh, and this machine is better at it. All other ciphers stay possible.
    pub fn for_much(&mut self) {
        let system = self.program.as_os_str() == "ssh";
        if system && !self.says("Ciphers") && computes_aes() && !config::look().ciphers {
            self.ciphers = version(&self.program).filter(|&version| version >= FIRST).map(|_| FAST);
        }
    }

    /// Whether an option is among [`Ssh::options`].
    fn says(&self, key: &str) -> bool {
        let is = |option: &String| {
            option
                .split_once('=')
                .is_some_and(|(own, _)| own.eq_ignore_ascii_case(key))
        };
        self.options.iter().any(is)
    }

    /// Whether the options make a session something that one on a kept connection is not.
    pub fn has_its_own_session(&self) -> bool {
        let keys = [
            "ForwardAgent",
            "ForwardX11",
            "ForwardX11Trusted",
            "SendEnv",
            "SetEnv",
            "RequestTTY",
            "LocalForward",
            "RemoteForward",
            "DynamicForward",
            "LocalCommand",
        ];
        keys.iter().any(|key| self.says(key))
    }

    /// The program and its options, up to the name of the host.
    fn options(&self, host: &Host) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec![self.program.clone().into()];
        let mut option = |text: String| argv.extend([OsString::from("-o"), text.into()]);
        option(format!("BatchMode={}", if self.batch { "yes" } else { "no" }));
        option(format!("ConnectTimeout={}", self.connect_seconds.max(1)));
        option("LogLevel=ERROR".into());
        // Of two values ssh takes the first.
        for more in &self.options {
            option(more.clone());
        }
        if let Some(ciphers) = self.ciphers {
            option(format!("Ciphers={ciphers}"));
        }
        // A peer that dies later is noticed within a minute.
        option("ServerAliveInterval=15".into());
        option("ServerAliveCountMax=3".into());
        let flags = [("-T", "RequestTTY"), ("-a", "ForwardAgent"), ("-x", "ForwardX11")];
        let flags = flags.iter().filter(|(_, key)| !self.says(key));
        argv.extend(flags.map(|(flag, _)| OsString::from(flag)));
        if let Some(port) = host.port {
            argv.extend([OsString::from("-p"), port.to_string().into()]);
        }
        if let Some(user) = host.user.as_ref().or(self.user.as_ref()) {
            argv.extend([OsString::from("-l"), user.into()]);
        }
        argv
    }

    /// The command line for a host. The command's words are joined with blanks by ssh and read by the remote user's
    /// shell, as with ssh itself; no word: a login.
    pub fn launch(&self, host: &Host, command: &[OsString]) -> Launch {
        let mut argv = self.options(host);
        argv.extend([OsString::from("--"), OsString::from(&host.name)]);
        argv.extend_from_slice(command);
        let kept = self.keep.as_ref().and_then(|keep| keep.launch(self, host, command));
        Launch {
            argv,
            ssh: true,
            kept,
            env: Vec::new(),
        }
    }
}

/// The same command on this machine, without ssh: the words joined with blanks and read by the user's shell, as sshd
/// would do it.
pub fn local(command: &[OsString]) -> Launch {
    let shell = match nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        Ok(Some(user)) if !user.shell.as_os_str().is_empty() => user.shell,
        _ => PathBuf::from("/bin/sh"),
    };
    let text = command.join(OsStr::new(" "));
    Launch {
        argv: vec![shell.into(), "-c".into(), text],
        ssh: false,
        kept: None,
        env: Vec::new(),
    }
}

/// A fixed program of the suite to be run by `/bin/sh` on the other side, with arguments that may hold any byte.
///
/// The script must be one line without `'`, `!` and newline, so that any login shell (sh, csh, fish) hands it on
/// unchanged; it gets the arguments encoded (see [`encode`]) and decodes them with `printf %b`.
pub fn script(program: &str, arguments: &[&[u8]]) -> Vec<OsString> {
    let mut text = format!("exec /bin/sh -c '{program}' dsau").into_bytes();
    for argument in arguments {
        text.extend_from_slice(b" '");
        text.extend_from_slice(&encode(argument));
        text.push(b'\'');
    }
    vec![OsString::from_vec(text)]
}

/// As [`script`] for a script of many lines with any characters in it; its arguments come to it encoded.
pub fn carry(text: &str, arguments: &[&[u8]]) -> Vec<OsString> {
    const UNWRAP: &str = "C=$(printf %b. \"$1\"); shift; exec /bin/sh -c \"${C%.}\" dsau \"$@\"";
    let mut all = vec![text.as_bytes()];
    all.extend_from_slice(arguments);
    script(UNWRAP, &all)
}

/// A function of the shell, `late`: ends this shell when standard input, held as descriptor 3, has ended before anything
/// was begun. Only asked where the login shell took seconds to start (a home directory that hangs), for then the user may
/// have given up long ago, and nothing shall be begun that nobody waits for. Its argument is what stands in
/// `/proc/$$/stat` after five words, or nothing where there is none.
pub const LATE: &str = concat!(
    "late() { [ \"$1\" ] && read -r t x </proc/uptime || return 0; set -- $1; ",
    "[ $((${t%%.*} - ${17} / 100)) -ge 2 ] || return 0; ",
    "(while read -r x <&3; do :; done; kill -s KILL $$) & r=$!; sleep 1; kill $r; wait $r; }; ",
);

/// Ties a command to its connection: when the connection ends, however it does (Ctrl-C, a time-out, this process
/// killed), the command and all it started get SIGTERM and two seconds later SIGKILL. The user's own shell reads the
/// command, as with ssh itself; its status comes back unchanged. Its standard input is empty, and the one of the
/// connection must be held open (`fan::Input::Held`), for its end is the sign.
///
/// sshd makes each command the leader of a process group, which is ended as it is; elsewhere the command gets one.
/// `SHLVL` says that this shell is not the outermost: bash would read its `.bashrc` once more.
///
/// With a mark the end is told on both outputs too, for something may be left running that holds them.
pub fn tied(command: &[OsString], mark: Option<&Mark>) -> Vec<OsString> {
    const TIE: &str = concat!(
        "exec 3<&0 4>&1 5>&2; q=$$; g=; s=; S=; trap : TERM; [ -r /proc/$$/stat ] && read -r x x x x g s </proc/$$/stat; ",
        "[ \"$g\" = $$ ] || S=setsid; late \"$s\" 2>/dev/null; ",
        "SHLVL=1 $S \"${SHELL:-/bin/sh}\" -c \"$C\" </dev/null 3<&- 4>&- 5>&- & p=$!; [ -z \"$S\" ] || q=$p; exec >/dev/null 2>&1; ",
        "(trap \"\" TERM; while read -r x <&3; do :; done; ",
        "kill -s TERM -- -$q; sleep 2; kill -s KILL -- -$q) 4>&- 5>&- & w=$!; ",
        "wait $p; s=$?; while [ $s -gt 128 ] && kill -s 0 $p; do wait $p; s=$?; done; kill -s KILL $w; ",
        "[ -z \"$2\" ] || { trap \"\" PIPE; printf %s \"$3$2$s.\" >&4; printf %s \"$3$2$s.\" >&5; }; exit $s",
    );
    let tie = [LATE, TIE].concat();
    let text = command.join(OsStr::new(" "));
    let bytes = text.as_bytes();
    // Most commands need no decoding, which takes a process: in these quotes every shell leaves them as they are.
    if bytes.iter().all(|b| (b' '..=b'~').contains(b) && !b"'!\\".contains(b)) {
        let mut line = OsString::from(format!("exec /bin/sh -c 'C=$1; {tie}' dsau '"));
        line.push(text);
        line.push("'");
        for word in mark.iter().flat_map(|mark| mark.arguments()) {
            line.push(" ");
            line.push(word);
        }
        return vec![line];
    }
    let mut arguments = vec![bytes];
    arguments.extend(mark.iter().flat_map(|mark| mark.arguments()).map(str::as_bytes));
    script(&format!("C=$(printf %b. \"$1\"); C=${{C%.}}; {tie}"), &arguments)
}

#[cfg(test)]
mod tests;
