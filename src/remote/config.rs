//! What the user's own configuration of ssh says about keeping connections, without asking ssh for each host.

use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

/// The longest configuration file that is looked at, in bytes.
const LIMIT: u64 = 1 << 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first line that decides for itself how connections are kept, or makes a session other than a plain one on
    /// some hosts only: `FILE:LINE: keyword`. Such a configuration is left to ssh.
    pub own: Option<String>,
    /// Patterns of the environment variables that go with every session (`SendEnv`).
    pub send: Vec<String>,
    /// Patterns of the hosts that are reached in a special way: under another name, by a jump, from a certain address.
    /// `*`: it cannot be told for any.
    pub special: Vec<String>,
    /// It chooses ciphers, or may do so.
    pub ciphers: bool,
}

impl Found {
    /// Whether a host is reached by connecting to its name and nothing else.
    pub fn direct(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        !self.special.iter().any(|pattern| fits(&pattern.to_lowercase(), &host))
    }
}

/// Keywords that change where and how a connection is made, or need to know its address, or run something that writes to
/// the standard output of ssh.
const SPECIAL: &[&str] = &[
    "addressfamily",
    "bindaddress",
    "bindinterface",
    "canonicaldomains",
    "canonicalizehostname",
    "checkhostip",
    "gssapitrustdns",
    "hostname",
    "localcommand",
    "permitlocalcommand",
    "port",
    "proxycommand",
    "proxyjump",
    "proxyusefdpass",
    "tcpkeepalive",
    "verifyhostkeydns",
];

const UNREADABLE: &str = "cannot be read";

/// Reads the configuration of this user and of this machine, and what they include.
pub fn look() -> Found {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let home = user.map(|user| user.dir.join(".ssh"));
    let mut found = Found::default();
    let system = Path::new("/etc/ssh");
    for (dir, file) in [(home.as_deref(), "config"), (Some(system), "ssh_config")] {
        if let Some(dir) = dir {
            read(&dir.join(file), dir, Scope::all(), 0, &mut found);
        }
    }
    found
}

/// Which hosts a line is about.
#[derive(Clone)]
struct Scope {
    /// Surely every host.
    general: bool,
    /// Patterns that all of them fit.
    about: Vec<String>,
}

impl Scope {
    fn all() -> Self {
        Scope {
            general: true,
            about: vec!["*".into()],
        }
    }
}

fn read(path: &Path, base: &Path, scope: Scope, depth: u32, found: &mut Found) {
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    match opened {
        Ok(_) => scan(&text, path, base, scope, depth, found),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => note(found, path, 0, UNREADABLE),
    }
}

fn note(found: &mut Found, path: &Path, line: usize, what: &str) {
    found.ciphers |= matches!(what, "include" | UNREADABLE);
    let text = || format!("{}:{line}: {what}", path.display());
    found.own.get_or_insert_with(text);
}

/// Looks at one file. `scope`: what its lines are about, until a Host or Match line.
fn scan(text: &[u8], path: &Path, base: &Path, mut scope: Scope, depth: u32, found: &mut Found) {
    let outer = scope.general;
    for (number, line) in (1..).zip(text.lines()) {
        let words = words(line);
        let Some((keyword, rest)) = words.split_first() else {
            continue;
        };
        let keyword = keyword.to_ascii_lowercase();
        match keyword.as_str() {
            "host" => {
                scope.general = outer && rest == ["*"];
                let named = rest.iter().filter(|word| !word.starts_with('!'));
                scope.about = named.cloned().collect();
            }
            "match" => {
                // `final all` is about every host too, when ssh reads its files for the second time.
                let words = rest.join(" ").to_ascii_lowercase();
                scope = Scope::all();
                scope.general = outer && (words == "all" || words == "final all");
            }
            special if SPECIAL.contains(&special) => found.special.extend(scope.about.iter().cloned()),
            "controlmaster" | "controlpath" | "controlpersist" | "setenv" | "remotecommand" | "sessiontype"
            | "requesttty" => note(found, path, number, &keyword),
            "sendenv" if scope.general && !rest.iter().any(|word| word.starts_with('-')) => {
                found.send.extend(rest.iter().cloned());
            }
            "sendenv" => note(found, path, number, &keyword),
            "ciphers" => found.ciphers = true,
            "include" if depth >= 16 => note(found, path, number, &keyword),
            "include" => {
                for word in rest {
                    match included(word, base) {
                        Some(files) => files
                            .iter()
                            .for_each(|file| read(file, base, scope.clone(), depth + 1, found)),
                        None => note(found, path, number, &keyword),
                    }
                }
            }
            _ => {}
        }
    }
}

/// `keyword value`, `keyword=value`, words in double quotes.
fn words(line: &[u8]) -> Vec<String> {
    let line = line.to_str_lossy();
    let line = line.trim();
    if line.starts_with('#') {
        return Vec::new();
    }
    let (keyword, rest) = line
        .split_once(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or((line, ""));
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    let mut words: Vec<String> = [keyword]
        .iter()
        .filter(|word| !word.is_empty())
        .map(ToString::to_string)
        .collect();
    let rest = rest.split_whitespace().map(|word| word.trim_matches('"').to_string());
    words.extend(rest.filter(|word| !word.is_empty()));
    words
}

/// The files an Include word means. None: it cannot be told here.
fn included(word: &str, base: &Path) -> Option<Vec<PathBuf>> {
    if word.starts_with('~') || word.contains(['%', '$', '[', '\\']) {
        return None;
    }
    let path = base.join(word);
    let (dir, name) = (path.parent()?, path.file_name()?.to_str()?);
    if dir.to_str()?.contains(['*', '?']) {
        return None;
    }
    if !name.contains(['*', '?']) {
        return Some(vec![path]);
    }
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Some(Vec::new());
    };
    let fits = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|found| fits(name, &found.to_string_lossy()))
    };
    Some(entries.flatten().map(|entry| entry.path()).filter(fits).collect())
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&b) if b == b'?' || b == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, n) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// The variables of this process that fit any of the patterns, as `NAME=value`.
pub fn environment(patterns: &[String]) -> Vec<BString> {
    use std::os::unix::ffi::OsStringExt;
    let wanted = |name: &std::ffi::OsStr| patterns.iter().any(|pattern| fits(pattern, &name.to_string_lossy()));
    std::env::vars_os()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            BString::from(entry)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Found {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), text).unwrap();
        std::fs::create_dir(dir.path().join("more.d")).unwrap();
        std::fs::write(dir.path().join("more.d/a.conf"), "Host x\n  SendEnv A_*\n").unwrap();
        std::fs::write(dir.path().join("more.d/b.txt"), "ControlPath none\n").unwrap();
        std::fs::write(dir.path().join("plain"), "SendEnv Q\n").unwrap();
        std::fs::write(dir.path().join("special"), "BindAddress 10.0.0.1\n").unwrap();
        let mut found = Found::default();
        read(&dir.path().join("config"), dir.path(), Scope::all(), 0, &mut found);
        found.own = found
            .own
            .map(|own| own.rsplit('/').next().unwrap_or_default().to_string());
        found
    }

    #[test]
    fn a_user_who_keeps_connections_himself_is_noticed_anywhere() {
        assert_eq!(
            of("Host a\n  controlpath=/x\n").own.as_deref(),
            Some("config:2: controlpath")
        );
        assert_eq!(
            of("Host a\nControlMaster auto").own.as_deref(),
            Some("config:2: controlmaster")
        );
        assert_eq!(of("Include more.d/*.conf").own.as_deref(), Some("a.conf:2: sendenv"));
        assert!(of("Include more.d/*").own.is_some());
        assert_eq!(of("Include ~/x").own.as_deref(), Some("config:1: include"));
        assert_eq!(of("Include config").own.as_deref(), Some("config:1: include"));
        assert_eq!(of("#ControlPath x\nHost a\n User b\n").own, None);
        assert_eq!(of("Include missing gone.d/*\n").own, None);
    }

    #[test]
    fn variables_that_go_to_every_host_go_with_a_kept_session_too() {
        let found = of("SendEnv LANG \"LC_*\"\nHost *\nSendEnv B\nInclude plain\n");
        assert_eq!(
            (found.own, found.send),
            (None, ["LANG", "LC_*", "B", "Q"].map(String::from).to_vec())
        );
        assert_eq!(of("Host a\n SendEnv X\n").own.as_deref(), Some("config:2: sendenv"));
        assert_eq!(of("Match all\n SendEnv X\n").own, None);
        assert_eq!(of("Match final all\n SendEnv X\n").own, None);
        let got = environment(&["PAT?".into(), "CARGO_PKG_NA*".into()]);
        assert!(got.iter().any(|entry| entry.starts_with(b"PATH=")), "{got:?}");
        assert!(got.contains(&BString::from("CARGO_PKG_NAME=dsau")));
    }

    #[test]
    fn hosts_that_are_reached_in_a_special_way_are_told_from_others() {
        let text = "User x\nHost a* !ab\n HostName b\nHost C\n User y\nHost D\n proxyjump=g\n";
        let found = of(text);
        let direct = ["a1", "ab", "c", "d", "D", "e"].map(|host| found.direct(host));
        assert_eq!(direct, [false, false, true, false, false, true]);
        assert!(!of("Port 23\n").direct("a"));
        assert!(!of("Host a\nMatch exec false\n ProxyCommand x\n").direct("b"));
        assert!(of("Host a\n Include special\n").direct("b"));
        assert!(!of("Host a\n Include special\n").direct("a"));
        assert!(!of("Include special\n").direct("b"));
        assert!(!of("Match user x\n Include special\n").direct("b"));
    }

    #[test]
    fn a_choice_of_ciphers_is_noticed_anywhere_and_where_it_may_hide() {
        for text in [
            "Host a\n Ciphers=aes128-ctr\n",
            "ciphers +x\n",
            "Include ~/x\n",
            "Include config\n",
        ] {
            assert!(of(text).ciphers, "{text}");
        }
        assert!(!of("#Ciphers x\nHost a\n MACs y\n SendEnv Z\nInclude plain\n").ciphers);
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, name, yes) in [
            ("LC_*", "LC_ALL", true),
            ("LC_*", "LANG", false),
            ("*a*b", "xaybzb", true),
            ("*a*b", "xaybz", false),
            ("?", "", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), yes, "{pattern} {name}");
        }
    }
}
