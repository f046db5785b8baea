//! Asks a command for groups, and keeps its answers for a while in a directory of the user alone.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::conf::Source;
use crate::hosts::ListError;
use crate::sys::process::{self, Argv, Command};

/// The most bytes an answer may have.
const ANSWER: usize = 16 << 20;

/// Answers older than this are removed whenever a new one is kept.
const FORGET: Duration = Duration::from_secs(8 * 24 * 3600);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question<'a> {
    /// The hosts of one group.
    Map(&'a str),
    /// All hosts.
    All,
    /// The names of all groups.
    List,
}

/// The answer of a source to a question: kept or fresh. `line` is the command.
pub(super) fn ask(
    source: &Source,
    question: Question<'_>,
    line: &str,
    config: &Path,
    cache: &Path,
) -> Result<Vec<u8>, ListError> {
    let file = cache.join(key(source, question, line));
    if !source.cache.is_zero()
        && let Some(kept) = kept(cache, &file, source.cache)
    {
        return Ok(kept);
    }
    let answer = run(source, question, line, config)?;
    if !source.cache.is_zero() {
        // An answer that cannot be kept is asked for again.
        let _ = keep(cache, &file, &answer);
    }
    Ok(answer)
}

fn run(source: &Source, question: Question<'_>, line: &str, config: &Path) -> Result<Vec<u8>, ListError> {
    let what = match question {
        Question::Map(group) => format!("the command of source '{}' for the group '{group}'", source.name),
        Question::All => format!("the command of source '{}' for all hosts", source.name),
        Question::List => format!("the command of source '{}' for its groups", source.name),
    };
    let mut command = Command::new(Argv::Shell(line.into()));
    command.timeout = Some(source.timeout);
    command.errors_apart = true;
    command.line_limit = ANSWER + 1;
    command.env.push(("SOURCE".into(), OsString::from(&source.name)));
    command.env.push(("CFGDIR".into(), config.as_os_str().to_owned()));
    if let Question::Map(group) = question {
        command.env.push(("GROUP".into(), OsString::from(group)));
    }
    let mut answer = Vec::new();
    let mut too_much = false;
    let outcome = process::run_until(&command, &mut |text| {
        if answer.len() + text.len() >= ANSWER {
            too_much = true;
            return ControlFlow::Break(());
        }
        answer.extend_from_slice(text);
        answer.push(b'\n');
        ControlFlow::Continue(())
    });
    match outcome {
        Err(error) => Err(ListError::new(format!("{what} cannot be started: {error}"))),
        Ok(_) if too_much => Err(ListError::new(format!("{what} prints more than 16 MiB"))),
        Ok(outcome) if outcome.timed_out => {
            let seconds = source.timeout.as_secs();
            Err(ListError::new(format!("{what} takes longer than {seconds} seconds")))
        }
        Ok(outcome) if outcome.status != 0 => {
            let status = outcome.status;
            Err(ListError::new(format!("{what} ends with status {status}")))
        }
        Ok(_) => Ok(answer),
    }
}

/// The name of the file an answer is kept in: another command is another question.
fn key(source: &Source, question: Question<'_>, line: &str) -> String {
    let mut hash = blake3::Hasher::new();
    for part in [&source.name, line, &format!("{question:?}")] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

/// What was kept, when it is young enough and nobody else can have written it.
fn kept(dir: &Path, file: &Path, most: Duration) -> Option<Vec<u8>> {
    if !is_private(dir) {
        return None;
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let open = OpenOptions::new().read(true).custom_flags(flags).open(file).ok()?;
    let meta = open.metadata().ok()?;
    let age = SystemTime::now().duration_since(meta.modified().ok()?).ok()?;
    if !meta.is_file() || !owned(&meta) || age >= most {
        return None;
    }
    let mut bytes = Vec::new();
    open.take(ANSWER as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= ANSWER).then_some(bytes)
}

fn keep(dir: &Path, file: &Path, answer: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !is_private(dir) {
        return Err(io::Error::other("others can write there"));
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let old = entry.metadata().and_then(|meta| meta.modified()).ok();
        if old.is_some_and(|old| old.elapsed().is_ok_and(|age| age > FORGET)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    crate::sys::replace(file, answer, 0o600)
}

fn is_private(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && owned(&meta))
}

/// Ours, and nobody else's to read or write.
fn owned(meta: &fs::Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o077 == 0
}

/// The hosts of a netgroup, as `getent` tells them: the first fields of its triples.
pub(super) fn netgroup(name: &str) -> Result<Vec<u8>, ListError> {
    let words = ["getent", "netgroup", "--", name];
    let mut command = Command::new(Argv::Direct(words.iter().map(|&word| word.into()).collect()));
    command.search_path = true;
    command.timeout = Some(Duration::from_secs(30));
    command.errors_apart = true;
    command.line_limit = ANSWER;
    let mut text = Vec::new();
    let outcome = process::run_until(&command, &mut |line| {
        text.extend_from_slice(line);
        text.push(b'\n');
        match text.len() > ANSWER {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match outcome {
        Err(error) => Err(ListError::new(format!("netgroups need the program getent: {error}"))),
        Ok(outcome) if outcome.status == 2 => Err(ListError::new(format!("there is no netgroup '{name}'"))),
        Ok(outcome) if !outcome.success() => {
            let status = outcome.status;
            Err(ListError::new(format!(
                "getent netgroup {name} ends with status {status}"
            )))
        }
        Ok(_) => triples(name, &text),
    }
}

fn triples(name: &str, text: &[u8]) -> Result<Vec<u8>, ListError> {
    let text = String::from_utf8_lossy(text);
    let mut hosts = String::new();
    for triple in text.split('(').skip(1) {
        let host = triple.split([',', ')']).next().unwrap_or_default().trim();
        match host {
            "" => {
                let why = format!("the netgroup '{name}' holds every host: it names none");
                return Err(ListError::new(why));
            }
            "-" => {}
            host => {
                hosts.push_str(host);
                hosts.push('\n');
            }
        }
    }
    Ok(hosts.into_bytes())
}

/// Where answers are kept: beside the reports of this user.
pub(super) fn cache_dir(paths: &crate::sys::Paths) -> PathBuf {
    let elsewhere = paths.at("/") != Path::new("/");
    match std::env::var_os("HOME") {
        Some(home) if !elsewhere && !nix::unistd::geteuid().is_root() => PathBuf::from(home).join(".dsau/groups"),
        _ => paths.at("/var/opt/dsau/fanout/groups"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn source(map: &str) -> Source {
        Source {
            name: "s".into(),
            map: map.into(),
            all: None,
            list: None,
            cache: Duration::from_secs(100),
            timeout: Duration::from_secs(10),
        }
    }

    fn map(source: &Source, group: &str, cache: &Path) -> Result<String, String> {
        let answer = ask(source, Question::Map(group), &source.map, Path::new("/c"), cache);
        answer
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_name_of_a_group_is_data_for_the_command_and_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let source = source("printf '%s|' \"$GROUP\" \"$SOURCE\" \"$CFGDIR\"");
        assert_eq!(map(&source, "x; echo y", &cache).unwrap(), "x; echo y|s|/c|\n");
        assert_eq!(map(&source, "$(id)", &cache).unwrap(), "$(id)|s|/c|\n");
    }

    #[test]
    fn an_answer_is_kept_privately_and_used_while_it_is_young() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let counter = dir.path().join("n");
        let line = format!("echo x >>{0}; wc -l <{0}", counter.display());
        let mut source = source(&line);
        assert_eq!(map(&source, "g", &cache).unwrap(), "1\n");
        assert_eq!(map(&source, "g", &cache).unwrap(), "1\n");
        assert_eq!(map(&source, "other", &cache).unwrap(), "2\n");
        for entry in fs::read_dir(&cache).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
        let old = SystemTime::now() - Duration::from_secs(101);
        for entry in fs::read_dir(&cache).unwrap() {
            let file = OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(old).unwrap();
        }
        assert_eq!(map(&source, "g", &cache).unwrap(), "3\n");
        // What others could have written is not believed.
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(map(&source, "g", &cache).unwrap(), "4\n");
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
        source.cache = Duration::ZERO;
        assert_eq!(map(&source, "g", &cache).unwrap(), "5\n");
    }

    #[test]
    fn a_command_that_fails_hangs_or_floods_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let of = "the command of source 's' for the group 'g'";
        assert_eq!(
            map(&source("exit 3"), "g", &cache).unwrap_err(),
            format!("{of} ends with status 3")
        );
        assert_eq!(
            map(&source("head -c 17000000 /dev/zero | tr '\\0' x"), "g", &cache).unwrap_err(),
            format!("{of} prints more than 16 MiB")
        );
        let mut slow = source("sleep 30");
        slow.timeout = Duration::from_secs(1);
        assert_eq!(
            map(&slow, "g", &cache).unwrap_err(),
            format!("{of} takes longer than 1 seconds")
        );
        assert!(!cache.exists(), "a failure was kept");
    }

    #[test]
    fn the_hosts_of_a_netgroup_are_the_first_fields_of_its_triples() {
        let hosts = |text: &str| triples("g", text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(hosts("g   ( n1, , ) (n2,joe,x.org)(-,joe,)\n").unwrap(), "n1\nn2\n");
        assert_eq!(
            hosts("g (,joe,)").unwrap_err().to_string(),
            "the netgroup 'g' holds every host: it names none"
        );
    }
}
