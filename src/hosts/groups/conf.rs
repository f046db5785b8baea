//! `/etc/dsau/groups.conf`: group sources that are commands.
//!
//! ```text
//! [main]
//! default: slurm
//!
//! [slurm]
//! map: sinfo -h -o %N -p "$GROUP"
//! all: sinfo -h -o %N
//! list: sinfo -h -o %R
//! cache_time: 300
//! timeout: 10
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::{BUILT_IN, check_name};
use crate::hosts::{FileError, read_file};

/// How long a command may take where the file does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer is kept where the file does not say.
const CACHE: Duration = Duration::from_secs(60);

/// The longest time that may be set, in seconds: a week.
const LONGEST: u64 = 7 * 24 * 3600;

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conf {
    /// `default:` of `[main]`.
    pub default: Option<String>,
    /// The other sections, in the order of the file.
    pub sources: Vec<Source>,
}

/// One source. The commands are lines for `/bin/sh`; what is asked for is in their environment, never in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The name of the section.
    pub name: String,
    /// Prints the hosts of the group `$GROUP`.
    pub map: String,
    /// Prints all hosts.
    pub all: Option<String>,
    /// Prints the names of all groups.
    pub list: Option<String>,
    /// How long an answer may be used again; zero: not at all.
    pub cache: Duration,
    /// How long a command may take.
    pub timeout: Duration,
}

/// Reads the file; one that is not there says nothing. What somebody else could have written is refused: its lines are
/// run.
pub(super) fn read(path: &Path) -> Result<Conf, FileError> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Conf::default()),
        Err(e) => return Err(FileError::new(path, 0, super::super::plain(&e))),
    };
    let me = nix::unistd::geteuid().as_raw();
    if meta.mode() & 0o002 != 0 || (meta.uid() != 0 && meta.uid() != me) {
        let why = "its commands are not run: it belongs to another user, or everyone may write to it";
        return Err(FileError::new(path, 0, why));
    }
    parse(path, &read_file(path)?)
}

/// A section while it is read: its name, its line, and its keys.
struct Section {
    name: String,
    line: usize,
    keys: Vec<(String, String)>,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Conf, FileError> {
    let mut conf = Conf::default();
    let mut section: Option<Section> = None;
    let mut default_at = 0;
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let at = |why: &str| FileError::new(path, index + 1, why);
        let line = std::str::from_utf8(line).map_err(|_| at("not UTF-8 text"))?.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| at("'[' without ']'"))?.trim();
            finish(path, section.take(), &mut conf)?;
            check_name(name).map_err(|why| at(&why))?;
            if BUILT_IN.contains(&name) {
                return Err(at(&format!(
                    "the source '{name}' is there already; choose another name"
                )));
            }
            if conf.sources.iter().any(|source| source.name == name) {
                return Err(at(&format!("the source '{name}' is there already")));
            }
            section = Some(Section {
                name: name.to_string(),
                line: index + 1,
                keys: Vec::new(),
            });
            continue;
        }
        let Some((key, value)) = line.split_once([':', '=']) else {
            return Err(at(&format!("'{line}' is not of the form 'key: value'")));
        };
        let (key, value) = (key.trim(), value.trim());
        let section = section.as_mut().ok_or_else(|| at("a key before the first [section]"))?;
        let known: &[&str] = match section.name.to_ascii_lowercase().as_str() {
            "main" => &["default"],
            _ => &["map", "all", "list", "cache_time", "timeout"],
        };
        if !known.contains(&key) {
            return Err(at(&format!(
                "there is no key '{key}' here; there is {}",
                known.join(", ")
            )));
        }
        if section.keys.iter().any(|(there, _)| there == key) {
            return Err(at(&format!("'{key}' is set a second time")));
        }
        if value.is_empty() {
            return Err(at(&format!("'{key}' has no value")));
        }
        if matches!(key, "cache_time" | "timeout") {
            seconds(key, value).map_err(|why| at(&why))?;
        }
        if key == "default" {
            default_at = index + 1;
        }
        section.keys.push((key.to_string(), value.to_string()));
    }
    finish(path, section, &mut conf)?;
    if let Some(name) = &conf.default
        && !BUILT_IN.contains(&name.as_str())
        && !conf.sources.iter().any(|source| &source.name == name)
    {
        return Err(FileError::new(path, default_at, format!("there is no source '{name}'")));
    }
    Ok(conf)
}

fn seconds(key: &str, value: &str) -> Result<Duration, String> {
    match value.parse::<u64>() {
        Ok(n) if n <= LONGEST && (n > 0 || key == "cache_time") => Ok(Duration::from_secs(n)),
        _ => Err(format!("'{key}' is a number of seconds up to {LONGEST}, not '{value}'")),
    }
}

fn finish(path: &Path, section: Option<Section>, conf: &mut Conf) -> Result<(), FileError> {
    let Some(section) = section else { return Ok(()) };
    let at = |why: String| FileError::new(path, section.line, why);
    let get = |name: &str| {
        section
            .keys
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    if section.name.eq_ignore_ascii_case("main") {
        conf.default = get("default");
        return Ok(());
    }
    let time = |key: &str, otherwise| match get(key) {
        Some(value) => seconds(key, &value).map_err(&at),
        None => Ok(otherwise),
    };
    conf.sources.push(Source {
        map: get("map").ok_or_else(|| at(format!("the source '{}' has no 'map:'", section.name)))?,
        all: get("all"),
        list: get("list"),
        cache: time("cache_time", CACHE)?,
        timeout: time("timeout", TIMEOUT)?,
        name: section.name,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        parse(Path::new("g"), text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn sections_are_sources_and_main_names_the_default() {
        let text = "# x\n[Main]\ndefault: s\n[s]\nmap: a | b \"$GROUP\"\nlist=c\ncache_time: 0\n";
        let conf = parse(Path::new("g"), text.as_bytes()).unwrap();
        assert_eq!(conf.default.as_deref(), Some("s"));
        let source = &conf.sources[0];
        assert_eq!(source.map, "a | b \"$GROUP\"");
        assert_eq!((source.list.as_deref(), &source.all), (Some("c"), &None));
        assert_eq!((source.cache, source.timeout), (Duration::ZERO, TIMEOUT));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert_eq!(why("map: x\n"), "g:1: a key before the first [section]");
        assert_eq!(why("[s]\nlist: x\n"), "g:1: the source 's' has no 'map:'");
        assert_eq!(why("[s]\nmap: x\nmap: y\n"), "g:3: 'map' is set a second time");
        assert_eq!(
            why("[files]\n"),
            "g:1: the source 'files' is there already; choose another name"
        );
        assert_eq!(why("[main]\ndefault: x\n"), "g:2: there is no source 'x'");
        assert_eq!(why("[s]\nmap x\n"), "g:2: 'map x' is not of the form 'key: value'");
        assert_eq!(
            why("[s]\nreverse: x\n"),
            "g:2: there is no key 'reverse' here; there is map, all, list, cache_time, timeout"
        );
        assert_eq!(
            why("[s]\nmap: x\ntimeout: 0\n"),
            "g:3: 'timeout' is a number of seconds up to 604800, not '0'"
        );
    }
}
