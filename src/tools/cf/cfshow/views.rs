//! The views: a state file as lines of text and as JSON objects. A new view is one function and one row of [`VIEWS`].

use std::io;
use std::path::PathBuf;

use jiff::{Timestamp, Zoned};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::forget::Forget;
use crate::state::{self, Audit, Classes, Digests, History, Hosts, Promises, Runs, Single, Store};

/// Characters of an object that stand in a lock's name.
const LONGEST_OBJECT: usize = 100;

/// One kind of records.
pub(super) struct View {
    pub option: &'static str,
    pub short: char,
    pub help: &'static str,
    /// Its state file.
    pub file: &'static str,
    pub lines: fn(&Look) -> io::Result<Vec<Line>>,
    /// What `--purge` does to it.
    pub forget: Option<Forget>,
}

/// Every view, in the order of `--help`.
pub(super) static VIEWS: &[View] = &[
    View {
        option: "locks",
        short: 'l',
        help: "When each promise was looked after last",
        file: Promises::FILE,
        lines: locks,
        forget: Some(Forget::Locks),
    },
    View {
        option: "checksums",
        short: 'c',
        help: "Checksums of the files that are watched",
        file: Digests::FILE,
        lines: checksums,
        forget: Some(Forget::Checksums),
    },
    View {
        option: "classes",
        short: 'C',
        help: "How often runs had each class, and when last",
        file: History::FILE,
        lines: classes,
        forget: Some(Forget::Classes),
    },
    View {
        option: "performance",
        short: 'p',
        help: "How long promises take",
        file: History::FILE,
        lines: performance,
        forget: Some(Forget::Performance),
    },
    View {
        option: "last-seen",
        short: 's',
        help: "Which hosts were in touch with this one, and when",
        file: Hosts::FILE,
        lines: last_seen,
        forget: Some(Forget::Hosts),
    },
    View {
        option: "active",
        short: 'a',
        help: "Which runs are going on",
        file: "agent.lock",
        lines: active,
        forget: None,
    },
    View {
        option: "audit",
        short: 'A',
        help: "What was done, where the policy says Auditing = ( on )",
        file: Audit::FILE,
        lines: audit,
        forget: Some(Forget::Audit),
    },
];

/// `--last`, which takes a number.
pub(super) static LAST: View = View {
    option: "last",
    short: ' ',
    help: "How the last run ended, or the last N",
    file: Runs::FILE,
    lines: last,
    forget: None,
};

/// Where to look, and when.
pub(super) struct Look {
    /// The state directory.
    pub dir: PathBuf,
    /// The file of `-f`.
    pub file: Option<PathBuf>,
    /// How many runs `--last` shows.
    pub runs: usize,
    now: Zoned,
    host: String,
}

/// One record.
pub(super) struct Line {
    /// What `-r` looks at.
    pub name: String,
    pub text: String,
    pub json: Value,
}

impl Look {
    pub fn new(dir: PathBuf, file: Option<PathBuf>) -> Look {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let host = host.to_string_lossy();
        Look {
            dir,
            file,
            runs: 1,
            now: Zoned::now(),
            host: host.split('.').next().unwrap_or_default().to_string(),
        }
    }

    /// Seconds since the epoch.
    pub fn now(&self) -> i64 {
        self.now.timestamp().as_second()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.dir.join(name))
    }

    /// A state file; empty where there is none. One that was named must be there.
    fn read<T: DeserializeOwned + Default>(&self, name: &str) -> io::Result<T> {
        match (Store::peek(&self.path(name))?, &self.file) {
            (None, Some(_)) => Err(io::ErrorKind::NotFound.into()),
            (found, _) => Ok(found.unwrap_or_default()),
        }
    }

    /// `Sat Nov 21 20:49:25 2026`
    fn ctime(&self, at: i64) -> String {
        let moment = Timestamp::from_second(at).unwrap_or_default();
        let moment = moment.to_zoned(self.now.time_zone().clone());
        moment.strftime("%a %b %e %H:%M:%S %Y").to_string()
    }

    /// `Sat Nov 21 20:49`
    fn minute(&self, at: i64) -> String {
        self.ctime(at).chars().take(16).collect()
    }

    /// A moment in JSON: RFC 3339, UTC.
    fn iso(at: i64) -> String {
        Timestamp::from_second(at).unwrap_or_default().to_string()
    }
}

/// A name as it is in the file; one that is no text stays escaped.
fn plain(key: &str) -> String {
    String::from_utf8(<Vec<u8> as bstr::ByteVec>::unescape_bytes(key)).unwrap_or_else(|_| key.to_string())
}

fn canonical(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    text.chars().take(LONGEST_OBJECT).map(clean).collect()
}

/// `last._x3_cf.orc.shellcommand._bin_echo_lk_4439 = Sat Nov 21 20:49:25 2026`; ours has the phase where the original
/// has the policy file: a promise that moves to another file is the same promise.
fn locks(look: &Look) -> io::Result<Vec<Line>> {
    let promises: Promises = look.read(Promises::FILE)?;
    let line = |(key, at): (&String, &i64)| {
        let key = &plain(key);
        let (phase, rest) = key.split_once('.').unwrap_or(("", key));
        let (operator, rest) = rest.split_once('.').unwrap_or(("", rest));
        let (object, digest) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let object = object.trim_end_matches('.');
        let name = format!(
            "last.{phase}.{}.{operator}.{}_{digest}",
            canonical(&look.host),
            canonical(object)
        );
        Line {
            text: format!("{name} = {}", look.ctime(*at)),
            json: json!({"view": "lock", "phase": phase, "promise": operator, "object": object, "digest": digest,
                "last": Look::iso(*at)}),
            name: key.clone(),
        }
    };
    Ok(promises.last.iter().map(line).collect())
}

/// `/etc/sum = BLAKE3=f4d5…`: the algorithm is the one that was used, whatever `checksum=` named.
fn checksums(look: &Look) -> io::Result<Vec<Line>> {
    let digests: Digests = look.read(Digests::FILE)?;
    let lines = digests.files.iter().flat_map(|(file, digests)| {
        let file = plain(file);
        digests.iter().map(move |(checksum, digest)| Line {
            name: file.clone(),
            text: format!("{file} = BLAKE3={digest}"),
            json: json!({"view": "checksum", "file": file, "checksum": checksum, "algorithm": "blake3", "digest": digest}),
        })
    });
    let mut lines: Vec<Line> = lines.collect();
    lines.dedup_by(|a, b| a.text == b.text && a.json == b.json);
    Ok(lines)
}

/// `( 1.0000 @ Sat Nov 21 20:44) linux`
fn classes(look: &Look) -> io::Result<Vec<Line>> {
    let history: History = look.read(History::FILE)?;
    let persistent: Classes = match look.file {
        Some(_) => Classes::default(),
        None => look.read(Classes::FILE)?,
    };
    let until = |class: &str| persistent.until.get(class).filter(|until| **until > look.now());
    let line = |(class, seen): (&String, &state::ClassSeen)| {
        let until = until(class);
        let class = &plain(class);
        let holds = until.map_or(String::new(), |until| {
            format!(" (persistent until {})", look.ctime(*until))
        });
        Line {
            name: class.clone(),
            text: format!("( {:.4} @ {}) {class}{holds}", seen.probability, look.minute(seen.at)),
            json: json!({"view": "class", "class": class, "probability": seen.probability, "last": Look::iso(seen.at),
                "persistent_until": until.map(|until| Look::iso(*until))}),
        }
    };
    Ok(history.classes.iter().map(line).collect())
}

/// `( 0.0062 mins @ Sat Nov 21 20:44) Av  0.0062 +/-  0.0005 for Copy(127.0.0.1:/a > /b)`
fn performance(look: &Look) -> io::Result<Vec<Line>> {
    let history: History = look.read(History::FILE)?;
    let line = |(promise, timing): (&String, &state::Timing)| {
        let promise = &plain(promise);
        let (average, deviation) = (timing.seconds.average, timing.seconds.deviation());
        Line {
            name: promise.clone(),
            text: format!(
                "({:7.4} mins @ {}) Av {:7.4} +/- {:7.4} for {promise}",
                timing.last / 60.0,
                look.minute(timing.at),
                average / 60.0,
                deviation / 60.0,
            ),
            json: json!({"view": "performance", "promise": promise, "last": Look::iso(timing.at),
                "seconds": timing.last, "average": average, "deviation": deviation}),
        }
    };
    Ok(history.promises.iter().map(line).collect())
}

/// `IP +                 localhost       127.0.0.1  @ [Sat Nov 21 20:44] not seen for (0.09) hrs, Av 0.00 +/- 0.00 hrs`
fn last_seen(look: &Look) -> io::Result<Vec<Line>> {
    let hosts: Hosts = look.read(Hosts::FILE)?;
    let hours = |seconds: f64| seconds / 3600.0;
    let line = |(key, contact): (&String, &state::Contact)| {
        let sign: String = key.chars().take(1).collect();
        let address = key.get(1..).unwrap_or_default();
        let silent = hours((look.now() - contact.at) as f64);
        let (average, deviation) = (hours(contact.interval.average), hours(contact.interval.deviation()));
        let policy = contact.policy.as_ref().map_or(String::new(), |policy| {
            format!(", policy {} since {}", policy.id, look.minute(policy.since))
        });
        Line {
            name: format!("{} {address}", contact.name),
            text: format!(
                "IP {sign} {:>25} {address:>15}  @ [{}] not seen for ({silent:.2}) hrs, Av {average:.2} +/- {deviation:.2} hrs{policy}",
                contact.name,
                look.minute(contact.at),
            ),
            json: json!({"view": "host", "direction": if sign == "+" { "out" } else { "in" }, "name": contact.name,
                "address": address, "last": Look::iso(contact.at), "hours": silent,
                "average_hours": average, "deviation_hours": deviation,
                "policy": contact.policy.as_ref().map(|policy| json!({"generation": policy.id,
                    "since": Look::iso(policy.since), "version": plain(&policy.version)}))}),
        }
    };
    Ok(hosts.seen.iter().map(line).collect())
}

/// `lock.cfagent.orc.1234 = Sat Nov 21 20:49:25 2026`: who holds a lock now, and since when.
fn active(look: &Look) -> io::Result<Vec<Line>> {
    let agent = match &look.file {
        Some(file) => state::holder_of(file)?,
        None => Single::holder(&look.dir)?,
    };
    let scheduler = match look.file {
        Some(_) => None,
        None => state::holder_of(&look.dir.join("cfexecd.lock"))?,
    };
    let held = [("cfagent", agent), ("cfexecd", scheduler)];
    let lines = held.into_iter().filter_map(|(program, holder)| {
        let holder = holder?;
        let name = format!("lock.{program}.{}.{}", canonical(&look.host), holder.pid);
        Some(Line {
            text: format!("{name} = {}", look.ctime(holder.since)),
            json: json!({"view": "active", "program": program, "pid": holder.pid, "since": Look::iso(holder.since)}),
            name,
        })
    });
    Ok(lines.collect())
}

/// `Sat Nov 21 20:49:25 2026 repaired files./etc/motd (cf.main:12, version 1.2)`
fn audit(look: &Look) -> io::Result<Vec<Line>> {
    let audit: Audit = look.read(Audit::FILE)?;
    let line = |entry: &state::AuditEntry| {
        let version = match entry.version.as_str() {
            "" => String::new(),
            version => format!(", version {version}"),
        };
        let mut json = serde_json::to_value(entry).unwrap_or_default();
        json["view"] = json!("audit");
        json["at"] = json!(Look::iso(entry.at));
        Line {
            name: entry.promise.clone(),
            text: format!(
                "{} {} {} ({}{version})",
                look.ctime(entry.at),
                entry.outcome,
                entry.promise,
                entry.place
            ),
            json,
        }
    };
    Ok(audit.entries.iter().map(line).collect())
}

/// `Sat Nov 21 20:49:25 2026 12 promises: 10 kept, 1 repaired, 1 failed, 0 skipped, in 2.045 s`; the newest comes last.
fn last(look: &Look) -> io::Result<Vec<Line>> {
    let runs: Runs = look.read(Runs::FILE)?;
    let line = |run: &state::RunSummary| {
        let mut text = format!("{} {run}", look.ctime(run.began));
        if let Some(version) = &run.version {
            text.push_str(&format!(", version {version}"));
        }
        if run.dry {
            text.push_str(", dry run");
        }
        if run.status != 0 {
            text.push_str(&format!(", status {}", run.status));
        }
        let mut json = serde_json::to_value(run).unwrap_or_default();
        json["view"] = json!("run");
        json["began"] = json!(Look::iso(run.began));
        Line {
            name: text.clone(),
            text,
            json,
        }
    };
    let first = runs.runs.len().saturating_sub(look.runs);
    Ok(runs.runs[first..].iter().map(line).collect())
}
