//! The processes of many hosts, for `cps` and `ckill`: how they are asked for, read and chosen.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, ArgMatches, Command};
use regex::Regex;

use super::survey::script;
use crate::diag::Fail;

/// The number of the shell that asks; what the kernel says of each process (its name and the exact start are there);
/// after an empty line what ps says.
const LIST: &str = "LC_ALL=C; export LC_ALL; echo $$
for p in /proc/[0-9]*/stat; do read -r s <$p && printf '%s\\n' \"$s\"; done 2>/dev/null; echo
exec ps -ww -eo pid=,ppid=,user:32=,pcpu=,rss=,etimes=,stat=,args=";

/// What is run on each host.
pub fn listing() -> Vec<OsString> {
    script(LIST, &[])
}

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Whose it is.
    pub user: String,
    /// Share of one processor since its start, in percent.
    pub cpu: f64,
    /// Resident memory in KiB.
    pub rss: u64,
    /// Seconds since its start.
    pub age: u64,
    /// State as ps has it.
    pub state: String,
    /// When it was started, in ticks since boot: with the number, this is the process and no later one.
    pub started: u64,
    /// Its name.
    pub name: String,
    /// Its command line.
    pub command: String,
}

/// Reads a listing; what it asked with (the shell, ps, and their ancestors up to sshd) is left out.
pub fn parse(text: &str) -> Vec<Process> {
    let mut lines = text.lines();
    let own: u32 = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    let mut kernel = HashMap::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        kernel.extend(stat(line));
    }
    let mut all: Vec<Process> = lines.filter_map(|line| one(line, &mut kernel)).collect();
    let parents: HashMap<u32, u32> = all.iter().map(|process| (process.pid, process.parent)).collect();
    let mut ours = vec![own];
    while let Some(&parent) = ours.last().and_then(|pid| parents.get(pid)) {
        // The first process belongs to nobody's session, and a loop of parents cannot be.
        if parent <= 1 || ours.len() > 1000 {
            break;
        }
        ours.push(parent);
    }
    all.retain(|process| !ours.contains(&process.pid) && process.parent != own);
    all
}

/// A line of `/proc/N/stat`: number, then name and start. The name stands in brackets and may hold any.
fn stat(line: &str) -> Option<(u32, (String, u64))> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let start = rest.split(' ').nth(19)?;
    Some((pid.parse().ok()?, (name.to_string(), start.parse().ok()?)))
}

/// A line of ps.
fn one(line: &str, kernel: &mut HashMap<u32, (String, u64)>) -> Option<Process> {
    let mut rest = line;
    let mut word = || {
        let text = rest.trim_start();
        let (word, after) = text.split_at(text.find(' ').unwrap_or(text.len()));
        rest = after;
        word
    };
    let pid = word().parse().ok()?;
    let (name, started) = kernel.remove(&pid)?;
    let process = Process {
        pid,
        parent: word().parse().ok()?,
        user: word().to_string(),
        cpu: word().parse().ok()?,
        rss: word().parse().ok()?,
        age: word().parse().ok()?,
        state: word().to_string(),
        started,
        name,
        command: String::new(),
    };
    Some(Process {
        command: rest.trim_start().to_string(),
        ..process
    })
}

/// Which processes are meant.
pub struct Choice {
    names: Vec<String>,
    pattern: Option<Regex>,
    owner: Option<String>,
}

impl Choice {
    /// Adds the options.
    pub fn arguments(command: Command) -> Command {
        command
            .arg(
                Arg::new("match")
                    .short('m')
                    .long("match")
                    .value_name("REGEX")
                    .help("Only processes whose command line this regular expression matches"),
            )
            .arg(
                Arg::new("owner")
                    .short('o')
                    .long("owner")
                    .value_name("USER")
                    .help("Only processes of this user"),
            )
    }

    /// Reads the options; `names` are process names that must be equal.
    pub fn of(matches: &ArgMatches, names: Vec<String>) -> Result<Choice, Fail> {
        let pattern = matches.get_one::<String>("match").map(|text| Regex::new(text));
        Ok(Choice {
            names,
            pattern: pattern
                .transpose()
                .map_err(|error| Fail::usage("-m").because(error.to_string().lines().last().unwrap_or_default()))?,
            owner: matches.get_one::<String>("owner").cloned(),
        })
    }

    /// Whether it chooses anything at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.pattern.is_none() && self.owner.is_none()
    }

    /// Whether it means a process.
    pub fn takes(&self, process: &Process) -> bool {
        // The kernel keeps 15 bytes of a name.
        let named = |name: &String| {
            process.name == *name || (name.len() > 15 && name.is_char_boundary(15) && process.name == name[..15])
        };
        (self.names.is_empty() || self.names.iter().any(named))
            && self.owner.as_ref().is_none_or(|owner| process.user == *owner)
            && self
                .pattern
                .as_ref()
                .is_none_or(|regex| regex.is_match(&process.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> String {
        let mut text = String::from("40\n");
        for (pid, name) in [
            (1, "systemd"),
            (30, "sshd"),
            (40, "sh"),
            (41, "ps"),
            (50, "Web) Content"),
            (60, "sleep"),
        ] {
            text.push_str(&format!("{pid} ({name}) S 0{} 7{pid} 0 0\n", " 0".repeat(17)));
        }
        text.push_str(
            "
    1     0 root                              0.0  9000  86400 Ss   /sbin/init
   30     1 root                              0.0  5000   9000 Ss   sshd: root@notty
   40    30 root                              0.0   900      0 Ss   sh -c x
   41    40 root                              0.0   900      0 R    ps -ww
   50     1 ann                              12.5 80000    120 Sl   /usr/lib/web  --x \"y\"
   60     1 bob                               0.0   700     60 S    sleep 100
",
        );
        text
    }

    #[test]
    fn a_listing_is_read_without_those_who_asked() {
        let all = parse(&said());
        let pids: Vec<u32> = all.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [1, 50, 60]);
        assert_eq!(all[1].name, "Web) Content");
        assert_eq!(all[1].command, "/usr/lib/web  --x \"y\"");
        assert_eq!(all[1].started, 750);
        assert_eq!((all[1].cpu, all[1].rss, all[1].age), (12.5, 80_000, 120));
    }

    #[test]
    fn hostile_listings_give_no_process() {
        for text in [
            "",
            "x",
            "1\n\n",
            "1\n2 a\n\n2\n",
            "1\n2 a\n\n2 1 u x y z\n",
            "99999999999\n\n",
        ] {
            assert!(parse(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_name_must_be_equal_and_long_ones_are_cut_as_the_kernel_does() {
        let mut process = parse(&said()).remove(2);
        let choice = |names: &[&str]| Choice {
            names: names.iter().map(|name| (*name).to_string()).collect(),
            pattern: None,
            owner: None,
        };
        assert!(choice(&["sleep"]).takes(&process));
        assert!(!choice(&["slee"]).takes(&process));
        process.name = "a-very-long-nam".into();
        assert!(choice(&["a-very-long-name-of-a-program"]).takes(&process));
    }
}
