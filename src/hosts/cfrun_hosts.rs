//! `cfrun.hosts`: whom cfrun calls, and how (cfengine2.md 20; MS-08, VAR-07). A reader with line numbers, and an editor
//! that adds and removes hosts and leaves every other byte as it was (CC-05, CC-08, CW-24).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::{FileError, read_file};

/// How deep `include=` may go.
const INCLUDE_DEPTH: usize = 16;

/// Gives the content of an included file.
pub type Load<'a> = dyn FnMut(&Path, usize) -> Result<Vec<u8>, FileError> + 'a;

/// What cfrun asks the agents to tell (`outputlevel=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputLevel {
    /// What the agent says of itself.
    #[default]
    Normal,
    /// Everything that was changed.
    Inform,
    /// Errors only.
    Error,
}

/// One host line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CfrunHost {
    /// The name or address as written, without port and brackets.
    pub written: String,
    /// The name to call: an unqualified name has `.domain` added (VAR-07).
    pub name: String,
    /// The port, when the line gives one.
    pub port: Option<u16>,
    /// The rest of the line: options sent to this host's agent, after those of the command line. May be empty.
    pub options: BString,
    /// The file the line stands in (`include=`).
    pub file: PathBuf,
    /// Its line, counted from 1.
    pub line: usize,
}

/// A `cfrun.hosts` file with everything it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CfrunHosts {
    /// `domain=`, without a leading dot.
    pub domain: Option<String>,
    /// `access=`: the users who may run cfrun. Empty: everyone.
    pub access: Vec<String>,
    /// `maxchild=`: how many hosts are called at once (1 when not set).
    pub max_child: Option<u32>,
    /// `outputdir=`: one file per host instead of standard output. Not checked here.
    pub output_dir: Option<PathBuf>,
    /// `outputlevel=`
    pub output_level: OutputLevel,
    /// `hostnamekeys=`: key files are named after hosts, not addresses.
    pub host_name_keys: bool,
    /// `bindtointerface=`: the local address calls are made from.
    pub bind_to: Option<IpAddr>,
    /// The hosts in the order of the file; a host listed twice is there twice.
    pub hosts: Vec<CfrunHost>,
}

impl CfrunHosts {
    /// Reads a file and what it includes. A relative `include=` is looked up beside the file that names it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = read_file(path)?;
        Self::parse(path, &bytes, &mut |name, _| read_file(name))
    }

    /// Parses the content of a file; `load` gives the content of an included one.
    pub fn parse(path: &Path, bytes: &[u8], load: &mut Load<'_>) -> Result<Self, FileError> {
        let mut reader = Reader {
            list: CfrunHosts::default(),
            domain_at: None,
            open: Vec::new(),
            load,
        };
        reader.file(path, bytes)?;
        let mut list = reader.list;
        for host in &mut list.hosts {
            host.name = qualify(&host.written, list.domain.as_deref());
        }
        Ok(list)
    }
}

/// VAR-07: an unqualified name gets the domain; an address or a name with a dot stays.
fn qualify(name: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) if !name.contains(['.', ':']) => format!("{name}.{domain}"),
        _ => name.to_string(),
    }
}

struct Reader<'a> {
    list: CfrunHosts,
    domain_at: Option<(PathBuf, usize)>,
    open: Vec<PathBuf>,
    load: &'a mut Load<'a>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.open.push(path.to_path_buf());
        for (index, text) in bytes.lines().enumerate() {
            let number = index + 1;
            let at = |why: String| FileError::new(path, number, why);
            match line(text).map_err(at)? {
                Line::Blank => {}
                Line::Host { name, port, options } => self.list.hosts.push(CfrunHost {
                    name: String::new(),
                    written: name,
                    port,
                    options: options.into(),
                    file: path.to_path_buf(),
                    line: number,
                }),
                Line::Setting { key: "include", value } => self.include(path, number, value)?,
                Line::Setting { key, value } => self.setting(path, number, key, value)?,
            }
        }
        self.open.pop();
        Ok(())
    }

    fn include(&mut self, path: &Path, number: usize, value: &str) -> Result<(), FileError> {
        let at = |why: String| FileError::new(path, number, why);
        if value.is_empty() {
            return Err(at("include= names no file".into()));
        }
        let name = path.parent().unwrap_or(Path::new("")).join(value);
        if self.open.contains(&name) {
            return Err(at(format!("{} includes itself", name.display())));
        }
        if self.open.len() >= INCLUDE_DEPTH {
            return Err(at(format!("include= goes deeper than {INCLUDE_DEPTH} files")));
        }
        let bytes = (self.load)(&name, number).map_err(|e| at(format!("cannot include {e}")))?;
        self.file(&name, &bytes)
    }

    fn setting(&mut self, path: &Path, number: usize, key: &str, value: &str) -> Result<(), FileError> {
        let at = |why: String| FileError::new(path, number, why);
        if value.contains("<%") {
            return Err(at(format!("{key}= still holds the template token {value}")));
        }
        let list = &mut self.list;
        match key {
            "domain" => {
                let domain = value.trim_start_matches('.');
                if !is_name(domain) {
                    return Err(at(format!("'{value}' is not a domain name")));
                }
                if let Some((file, line)) = &self.domain_at {
                    return Err(at(format!(
                        "domain= is set a second time (first at {}:{line})",
                        file.display()
                    )));
                }
                self.domain_at = Some((path.to_path_buf(), number));
                list.domain = Some(domain.to_string());
            }
            "access" => list.access.extend(
                value
                    .split([',', ' ', '\t'])
                    .filter(|user| !user.is_empty())
                    .map(str::to_string),
            ),
            "maxchild" => match value.parse() {
                Ok(n @ 1..) => list.max_child = Some(n),
                _ => return Err(at(format!("maxchild= needs a number of at least 1, not '{value}'"))),
            },
            "outputdir" if value.starts_with('/') => list.output_dir = Some(PathBuf::from(value)),
            "outputdir" => return Err(at(format!("outputdir= needs an absolute path, not '{value}'"))),
            "outputlevel" => {
                list.output_level = match value {
                    "normal" => OutputLevel::Normal,
                    "inform" => OutputLevel::Inform,
                    "error" => OutputLevel::Error,
                    _ => return Err(at(format!("outputlevel= is normal, inform or error, not '{value}'"))),
                }
            }
            "hostnamekeys" => {
                list.host_name_keys = match value.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => true,
                    "false" | "no" | "off" => false,
                    _ => return Err(at(format!("hostnamekeys= is true or false, not '{value}'"))),
                }
            }
            "bindtointerface" => match value.parse() {
                Ok(address) => list.bind_to = Some(address),
                Err(_) => return Err(at(format!("bindtointerface= needs an IP address, not '{value}'"))),
            },
            _ => return Err(at(format!("there is no setting '{key}'"))),
        }
        Ok(())
    }
}

/// What one line says.
enum Line<'a> {
    Blank,
    Setting {
        key: &'a str,
        value: &'a str,
    },
    Host {
        name: String,
        port: Option<u16>,
        options: &'a [u8],
    },
}

fn line(text: &[u8]) -> Result<Line<'_>, String> {
    let text = without_comment(text).trim();
    if text.is_empty() {
        return Ok(Line::Blank);
    }
    let end = text.find_byteset(b" \t=").unwrap_or(text.len());
    let (first, rest) = text.split_at(end);
    if let Some(value) = rest.trim_start().strip_prefix(b"=") {
        let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| "a setting must be UTF-8 text".to_string());
        return Ok(Line::Setting {
            key: utf8(first)?,
            value: utf8(value.trim())?,
        });
    }
    let (name, port) = host(first)?;
    Ok(Line::Host {
        name,
        port,
        options: rest.trim(),
    })
}

/// A comment begins with `#` at the start of a line or after a blank.
fn without_comment(text: &[u8]) -> &[u8] {
    let end = (0..text.len()).find(|&i| text[i] == b'#' && (i == 0 || text[i - 1].is_ascii_whitespace()));
    &text[..end.unwrap_or(text.len())]
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
fn host(text: &[u8]) -> Result<(String, Option<u16>), String> {
    let shown = || text.as_bstr().to_string();
    let bad = || format!("'{}' is not a host name or address", shown());
    let utf8 = std::str::from_utf8(text).map_err(|_| bad())?;
    if utf8.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((utf8.to_string(), None));
    }
    let (name, port) = if let Some(inside) = utf8.strip_prefix('[') {
        let (address, after) = inside.split_once(']').ok_or_else(bad)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or_else(bad)?),
        };
        (address, port)
    } else {
        match utf8.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (utf8, None),
        }
    };
    if !name.contains(':') && !is_name(name) {
        return Err(bad());
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err(format!("'{}' has no port from 1 to 65535 after the colon", shown())),
    };
    Ok((name.to_string(), port))
}

/// A host or domain name: labels of letters, digits, `-` and `_`, which neither begin nor end with `-`.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// The text of a `cfrun.hosts`, to add and remove hosts in. Comments, order and all other lines stay byte for byte.
/// Included files are not looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CfrunHostsFile {
    lines: Vec<BString>,
}

impl CfrunHostsFile {
    /// Takes a file apart. Never fails: a line that is not understood is kept.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        CfrunHostsFile {
            lines: bytes.lines_with_terminator().map(BString::from).collect(),
        }
    }

    /// The file as it is to be written.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// True if a line names this host, by the name as written or with the file's domain added. Case does not matter,
    /// nor does the port.
    pub fn contains(&self, name: &str) -> bool {
        self.lines.iter().any(|line| self.names(line, name))
    }

    /// Adds a host line at the end, unless the host is listed already. Gives whether something changed. An unusable
    /// name is refused with a sentence.
    pub fn add(&mut self, name: &str) -> Result<bool, String> {
        host(name.as_bytes())?;
        if self.contains(name) {
            return Ok(false);
        }
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with(b"\n")
        {
            last.push(b'\n');
        }
        self.lines.push(format!("{name}\n").into());
        Ok(true)
    }

    /// Removes every line of this host. Gives whether something changed.
    pub fn remove(&mut self, name: &str) -> bool {
        let gone: Vec<bool> = self.lines.iter().map(|line| self.names(line, name)).collect();
        let mut gone = gone.into_iter();
        let before = self.lines.len();
        self.lines.retain(|_| !gone.next().unwrap_or(false));
        self.lines.len() != before
    }

    fn domain(&self) -> Option<&str> {
        self.lines.iter().find_map(|text| match line(text) {
            Ok(Line::Setting { key: "domain", value }) => Some(value.trim_start_matches('.')),
            _ => None,
        })
    }

    fn names(&self, text: &[u8], name: &str) -> bool {
        let (wanted, _) = host(name.as_bytes()).unwrap_or_else(|_| (name.to_string(), None));
        let wanted = qualify(&wanted, self.domain());
        match line(text) {
            Ok(Line::Host { name, .. }) => qualify(&name, self.domain()).eq_ignore_ascii_case(&wanted),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
