//! Host keys: what a host presents, how it is shown to a person, and how it is pinned in known_hosts.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use crate::digest::{base64, sha256};

/// A public key of a host, or of a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// Its type as ssh writes it: `ssh-ed25519`.
    pub kind: String,
    /// The key, base64 as ssh writes it.
    pub blob: String,
}

impl PublicKey {
    /// Takes `TYPE BLOB [comment]`. None when it is not a public key: the type must be repeated inside the blob.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (kind, blob) = (words.next()?, words.next()?);
        let bytes = decode(blob)?;
        let size = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        (bytes.get(4..4 + size)? == kind.as_bytes()).then(|| PublicKey {
            kind: kind.to_string(),
            blob: blob.to_string(),
        })
    }

    /// The fingerprint as `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        let bytes = decode(&self.blob).unwrap_or_default();
        format!("SHA256:{}", base64(&sha256(&bytes), false))
    }

    /// The type as people call it: `ED25519`.
    pub fn short_kind(&self) -> String {
        let kind = self.kind.trim_start_matches("ssh-");
        kind.split('-').next().unwrap_or(kind).to_ascii_uppercase()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.blob)
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut bits) = (0u32, 0);
    for b in text.bytes() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// How a host is called in known_hosts: `[name]:port` unless the port is 22.
pub fn known_name(name: &str, port: u16) -> String {
    match port {
        22 => name.to_ascii_lowercase(),
        _ => format!("[{}]:{port}", name.to_ascii_lowercase()),
    }
}

/// The keys in the output of ssh-keyscan, each once.
pub fn scanned(output: &str) -> Vec<PublicKey> {
    let mut keys = Vec::new();
    for line in output.lines().filter(|line| !line.starts_with('#')) {
        let key = line
            .split_once(char::is_whitespace)
            .and_then(|(_, key)| PublicKey::parse(key));
        if let Some(key) = key.filter(|key| !keys.contains(key)) {
            keys.push(key);
        }
    }
    keys
}

/// Makes `.ssh` as ssh wants it (0700) when it is missing; what is there stays as it is.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(dir)
}

/// Names that host keys are pinned under, as far as the files say so in plain words: hashed names and patterns do not
/// count. Good for a guess what ssh is best told first, never for trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinned(HashSet<Vec<u8>>);

impl Pinned {
    /// Looks into the files of the user with this home, those that csshsetup wrote among them, and into those of the machine.
    pub fn look(home: &Path) -> Self {
        let own = home.join(".ssh");
        let groups = fs::read_dir(own.join("dsau/known_hosts.d"));
        let groups = groups.into_iter().flatten().flatten().map(|entry| entry.path());
        let files = ["known_hosts", "known_hosts2"].map(|name| own.join(name));
        let system = ["ssh_known_hosts", "ssh_known_hosts2"].map(|name| Path::new("/etc/ssh").join(name));
        let mut pinned = Pinned::default();
        for file in files.into_iter().chain(system).chain(groups) {
            pinned.read(&fs::read(file).unwrap_or_default());
        }
        pinned
    }

    fn read(&mut self, text: &[u8]) {
        for line in text.lines() {
            // '@' stands before keys that are revoked, and before those of authorities.
            let names = line.fields().next().filter(|word| !word.starts_with_str("@"));
            let names = names.into_iter().flat_map(|names| names.split_str(","));
            let plain = names.filter(|name| name.find_byteset(b"#|*?!").is_none());
            self.0.extend(plain.map(<[u8]>::to_ascii_lowercase));
        }
    }

    /// Whether a key stands there for a host, at the usual port.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name.to_ascii_lowercase().as_bytes())
    }
}

/// What ssh's own configuration says about a host (`ssh -G`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The address that is connected to.
    pub hostname: String,
    /// The port.
    pub port: u16,
    /// The login name, when it was told.
    pub user: Option<String>,
    /// The name for host keys that the configuration gives instead (`HostKeyAlias`).
    pub alias: Option<String>,
    /// The name in known_hosts.
    pub known_as: String,
    /// Where host keys of this user are kept; the first one is written to.
    pub known_files: Vec<PathBuf>,
    /// The keys that are tried.
    pub identities: Vec<PathBuf>,
    /// Whether the address is looked up in known_hosts too (`CheckHostIP`).
    pub check_address: bool,
    /// The key exchanges that may be used, the first one that the host has too is taken.
    pub exchanges: Vec<String>,
    /// Whether the way to it is not a plain connection (`ProxyCommand`, `ProxyJump`).
    pub proxied: bool,
}

impl Effective {
    /// Reads the output of `ssh -G`. `home` stands for a leading `~`.
    pub fn parse(output: &str, home: &Path) -> Self {
        let mut found = Effective {
            port: 22,
            ..Effective::default()
        };
        let place = |text: &str| match text.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(text),
        };
        for line in output.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "hostname" => found.hostname = value.to_string(),
                "port" => found.port = value.parse().unwrap_or(22),
                "user" => found.user = Some(value.to_string()),
                "hostkeyalias" if value != "none" => found.alias = Some(value.to_ascii_lowercase()),
                "checkhostip" => found.check_address = value == "yes" || value == "true",
                "kexalgorithms" => found.exchanges = value.split(',').map(str::to_string).collect(),
                "proxycommand" | "proxyjump" => found.proxied |= value != "none",
                "userknownhostsfile" => found.known_files = value.split_whitespace().map(place).collect(),
                "identityfile" => found.identities.push(place(value)),
                _ => {}
            }
        }
        found.known_as = found
            .alias
            .clone()
            .unwrap_or_else(|| known_name(&found.hostname, found.port));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_public_key_must_hold_its_own_type() {
        let key = PublicKey::parse(&format!("{KEY} root@h")).unwrap();
        assert_eq!((key.to_string().as_str(), key.short_kind().as_str()), (KEY, "ED25519"));
        assert_eq!(PublicKey::parse(&KEY.replace("ssh-ed25519", "ssh-rsa")), None);
        assert_eq!(PublicKey::parse("ssh-ed25519 AAAA"), None);
        assert_eq!(PublicKey::parse("ssh-ed25519 !!!!"), None);
    }

    #[test]
    fn a_fingerprint_is_the_one_ssh_keygen_shows() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k.pub");
        fs::write(&file, format!("{KEY}\n")).unwrap();
        let Ok(out) = std::process::Command::new("ssh-keygen").arg("-lf").arg(&file).output() else {
            assert!(std::env::var_os("CI").is_none(), "ssh-keygen is missing");
            eprintln!("skipped: no ssh-keygen");
            return;
        };
        let shown = String::from_utf8_lossy(&out.stdout).into_owned();
        let fingerprint = PublicKey::parse(KEY).unwrap().fingerprint();
        assert_eq!(shown.split_whitespace().nth(1), Some(fingerprint.as_str()));
    }

    #[test]
    fn the_output_of_ssh_keyscan_is_read() {
        let text = format!("# h:22 SSH-2.0-OpenSSH_9.2p1\nh {KEY}\nh {KEY}\n[h]:2222 garbage x\n");
        assert_eq!(scanned(&text).len(), 1);
    }

    #[test]
    fn names_in_plain_words_are_found_in_all_files_of_the_user() {
        let home = tempfile::tempdir().unwrap();
        let groups = home.path().join(".ssh/dsau/known_hosts.d");
        fs::create_dir_all(&groups).unwrap();
        let text = format!(
            "# h0 {KEY}\n|1|c2FsdA==|aGFzaA== {KEY}\nH1,10.0.0.1 {KEY}\n@revoked h2 {KEY}\n*.net,!h3.net {KEY}\n\n"
        );
        fs::write(home.path().join(".ssh/known_hosts"), text).unwrap();
        fs::write(groups.join("web"), format!("h4 {KEY}\n")).unwrap();
        let pinned = Pinned::look(home.path());
        for name in ["h1", "H1", "10.0.0.1", "h4"] {
            assert!(pinned.has(name), "{name}");
        }
        for name in ["h0", "#", "h2", "h3.net", "@revoked"] {
            assert!(!pinned.has(name), "{name}");
        }
        assert_eq!(Pinned::look(&groups), Pinned::look(Path::new("/nowhere")));
    }

    #[test]
    fn the_effective_configuration_is_read() {
        let text = "user root\nhostname 10.0.0.1\nport 2222\nidentityfile ~/.ssh/id_rsa\nidentityfile /k\n\
                    userknownhostsfile /root/.ssh/known_hosts /root/.ssh/known_hosts2\n";
        let found = Effective::parse(text, Path::new("/home/x"));
        assert_eq!(found.known_as, "[10.0.0.1]:2222");
        assert_eq!(found.identities, [Path::new("/home/x/.ssh/id_rsa"), Path::new("/k")]);
        assert_eq!(found.known_files[0], Path::new("/root/.ssh/known_hosts"));
    }
}
