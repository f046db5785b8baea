//! `packages`: what the system's package manager has installed, and making it so (cfengine2.md 14.9).
//!
//! Rules are compared one by one; what is to be installed or removed is collected and done with one command for each
//! manager at the end.

mod versions;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use crate::agent::Outcome;
use crate::agent::action::{Action, Work, in_text_order, whole};
use crate::agent::report::Level;
use crate::agent::report::RuleSwitches;
use crate::agent::shellcommands::label;
use crate::agent::{Job, Run};
use crate::policy::Section;
use crate::sys::process::{self, Argv, Command};

/// The line of the table.
pub static ACTION: Action = Action {
    name: "packages",
    section: Section::Packages,
    operator: "packages",
    expand: whole,
    order: in_text_order,
    once: false,
    work: Work::All(work),
};

/// A package manager of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manager {
    Dpkg,
    Rpm,
    Portage,
}

/// What a command at the end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Install,
    Remove,
}

/// What `action=` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Install,
    Remove,
    Upgrade,
    Fix,
}

/// `cmp=`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Compare(&'static str);

impl Compare {
    fn read(text: &[u8]) -> Option<Compare> {
        ["eq", "lt", "gt", "le", "ge", "ne"]
            .into_iter()
            .find(|name| text.eq_ignore_ascii_case(name.as_bytes()))
            .map(Compare)
    }

    fn holds(self, order: Ordering) -> bool {
        match self.0 {
            "lt" => order.is_lt(),
            "gt" => order.is_gt(),
            "le" => order.is_le(),
            "ge" => order.is_ge(),
            "ne" => order.is_ne(),
            _ => order.is_eq(),
        }
    }
}

/// What one command at the end is for.
#[derive(Default)]
struct Todo {
    names: Vec<BString>,
    /// The promises that wait for it.
    jobs: Vec<Job>,
}

fn work(run: &mut Run<'_>, action: &'static Action) {
    let mut todo: BTreeMap<(Manager, Deed), Todo> = BTreeMap::new();
    for job in run.jobs(action) {
        if run.stop.is_some() {
            break;
        }
        if !run.begin(action, &job) {
            continue;
        }
        run.report.rule = run.rule_switches(&job);
        match look(run, &job) {
            Ok(Some(key)) => {
                run.park(&job);
                let todo = todo.entry(key).or_default();
                if !todo.names.contains(&job.object) {
                    todo.names.push(job.object.clone());
                }
                todo.jobs.push(job);
            }
            Ok(None) => {
                run.mark(&job, Outcome::Kept);
                run.end(&job);
            }
            Err(why) => {
                run.report.error(format_args!("{}: {why}", job.rule.pos));
                run.record(&job, Outcome::Failed);
                run.end(&job);
            }
        }
        run.report.rule = RuleSwitches::default();
    }
    for ((manager, deed), todo) in todo {
        run.report.forget_heard();
        let outcome = if run.stop.is_some() {
            run.report.verbose("The run ends before the package manager is called");
            None
        } else if let Err(why) = carry_out(run, manager, deed, &todo.names) {
            run.report.error(why);
            run.report.tally.failed += 1;
            Some(Outcome::Failed)
        } else {
            Some(Outcome::Repaired)
        };
        for job in &todo.jobs {
            match outcome {
                Some(outcome) => run.mark(job, outcome),
                None => run.left(job),
            }
            run.end(job);
        }
    }
}

/// Looks at one package, and gives what is to be done about it. `define=` and `elsedefine=` tell of the state before
/// anything is done.
fn look(run: &mut Run<'_>, job: &Job) -> Result<Option<(Manager, Deed)>, String> {
    let name = job.object.clone();
    if !is_plain(&name) {
        return Err(format!("{name} is no name of a package"));
    }
    let manager = manager(run, job)?;
    let compare = match run.value(job, "cmp") {
        None => Compare("eq"),
        Some(text) => Compare::read(&text).ok_or_else(|| format!("cmp cannot be {text}"))?,
    };
    let wish = match run.value(job, "action") {
        None => Wish::Nothing,
        Some(word) => match word.to_ascii_lowercase().as_slice() {
            b"none" => Wish::Nothing,
            b"install" => Wish::Install,
            b"remove" => Wish::Remove,
            b"upgrade" => Wish::Upgrade,
            b"fix" => Wish::Fix,
            _ => return Err(format!("action cannot be {word}")),
        },
    };
    let version = run.value(job, "version").filter(|version| !version.is_empty());
    if let Some(version) = &version
        && !is_plain(version)
    {
        return Err(format!("{version} is no version"));
    }
    let installed = installed(run, manager, name.as_bstr())?;
    let mut holds = false;
    for found in &installed {
        holds |= match &version {
            None => true,
            Some(version) => compare.holds(order(manager, found.as_bstr(), version.as_bstr())?),
        };
    }
    let shown = installed.first().map_or_else(
        || "not installed".to_string(),
        |version| format!("installed as {version}"),
    );
    run.report.verbose(format_args!("Package {name} is {shown}"));
    let act = match wish {
        Wish::Nothing => false,
        Wish::Install => !holds,
        Wish::Remove | Wish::Upgrade | Wish::Fix => holds,
    };
    run.record_classes(job, if holds { Outcome::Repaired } else { Outcome::Kept });
    let deed = if wish == Wish::Remove {
        Deed::Remove
    } else {
        Deed::Install
    };
    Ok(act.then_some((manager, deed)))
}

/// Names and versions of packages have no signs that a shell or an option parser could take for its own.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name[0].is_ascii_alphanumeric()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._:~/^".contains(byte))
}

fn manager(run: &Run<'_>, job: &Job) -> Result<Manager, String> {
    let name = run.value(job, "pkgmgr").or_else(|| run.ctx.get("DefaultPkgMgr"));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(format!(
            "no package manager is given for {}: use pkgmgr= or DefaultPkgMgr",
            job.object
        ));
    };
    match name.to_ascii_lowercase().as_slice() {
        b"dpkg" => Ok(Manager::Dpkg),
        b"rpm" => Ok(Manager::Rpm),
        b"portage" => Ok(Manager::Portage),
        b"sun" | b"aix" | b"freebsd" => Err(format!("package manager {name} is none of Linux")),
        _ => Err(format!("pkgmgr cannot be {name}")),
    }
}

/// The installed versions of a package.
fn installed(run: &Run<'_>, manager: Manager, name: &BStr) -> Result<Vec<BString>, String> {
    let rpm = run.ctx.get("RPMcommand").unwrap_or_else(|| "/bin/rpm".into());
    let line: Vec<BString> = match manager {
        Manager::Dpkg => [
            "/usr/bin/dpkg-query",
            "-W",
            "-f=${db:Status-Status} ${Version}\\n",
            "--",
        ]
        .map(BString::from)
        .to_vec(),
        Manager::Rpm => {
            let mut line = process::split(&rpm);
            line.extend(["-q", "--queryformat", "%{EPOCH}:%{VERSION}-%{RELEASE}\\n", "--"].map(BString::from));
            line
        }
        Manager::Portage => ["/usr/bin/qlist", "-ICve"].map(BString::from).to_vec(),
    };
    let mut words = line;
    words.push(name.to_owned());
    let mut lines: Vec<BString> = Vec::new();
    let mut command = Command::new(Argv::Direct(words));
    command.env.push(("LC_ALL".into(), "C".into()));
    let outcome = process::run(&command, &mut |text| lines.push(text.into()))
        .map_err(|error| format!("cannot ask the package manager about {name}: {error}"))?;
    // They end with another status for a package they do not know.
    if !outcome.success() {
        return Ok(Vec::new());
    }
    Ok(lines
        .iter()
        .filter_map(|line| match manager {
            Manager::Dpkg => line.strip_prefix(b"installed ").map(BString::from),
            Manager::Rpm => Some(line.replace("(none):", "0:").into()),
            // category/name-1.2-r3
            Manager::Portage => {
                let digit = line
                    .windows(2)
                    .position(|pair| pair[0] == b'-' && pair[1].is_ascii_digit())?;
                Some(line[digit + 1..].into())
            }
        })
        .collect())
}

/// How an installed version compares with one that a policy names.
fn order(manager: Manager, installed: &BStr, wanted: &BStr) -> Result<Ordering, String> {
    if manager == Manager::Dpkg {
        for (word, order) in [("eq", Ordering::Equal), ("lt", Ordering::Less)] {
            let words = vec![
                "/usr/bin/dpkg".into(),
                "--compare-versions".into(),
                installed.into(),
                word.into(),
                wanted.into(),
            ];
            let outcome = process::run(&Command::new(Argv::Direct(words)), &mut |_| ());
            match outcome
                .map_err(|error| format!("cannot compare versions: {error}"))?
                .status
            {
                0 => return Ok(order),
                1 => {}
                status => {
                    return Err(format!(
                        "dpkg --compare-versions ended with status {status} for {wanted}"
                    ));
                }
            }
        }
        return Ok(Ordering::Greater);
    }
    Ok(versions::rpm(installed, wanted))
}

/// Runs the command of `control:` for all names.
fn carry_out(run: &mut Run<'_>, manager: Manager, deed: Deed, names: &[BString]) -> Result<(), String> {
    let variable = match (manager, deed) {
        (Manager::Dpkg, Deed::Install) => "DPKGInstallCommand",
        (Manager::Dpkg, Deed::Remove) => "DPKGRemoveCommand",
        (Manager::Rpm, Deed::Install) => "RPMInstallCommand",
        (Manager::Rpm, Deed::Remove) => "RPMRemoveCommand",
        (Manager::Portage, Deed::Install) => "PortageInstallCommand",
        (Manager::Portage, Deed::Remove) => "PortageRemoveCommand",
    };
    let what = if deed == Deed::Install {
        "Installation"
    } else {
        "Removal"
    };
    let Some(text) = run.ctx.get(variable).filter(|text| !text.is_empty()) else {
        return Err(format!("{variable} NOT Set.  Package {what} Not Possible!"));
    };
    let text = run.ctx.expand(text.as_bstr());
    let words = fill(&text, names);
    let shown = BString::from(bstr::join(" ", &words));
    if run.dry {
        run.report.say(Level::Silent, format_args!("execute script {shown}"));
        return Ok(());
    }
    run.report.inform(format_args!("Executing {shown}"));
    let mark = label(&text).to_owned();
    let report = &mut run.report;
    let outcome = process::run(&Command::new(Argv::Direct(words)), &mut |line| {
        if report.shows(Level::Inform) && !line.trim().is_empty() {
            report.labelled(mark.as_bstr(), line);
        }
    });
    match outcome {
        Ok(outcome) if outcome.success() => Ok(()),
        Ok(outcome) => Err(format!("{shown} ended with status {}", outcome.status)),
        Err(error) => Err(format!("Cannot run {shown}: {error}")),
    }
}

/// The words of a command with `%s` replaced: where it is a word of its own by one word for each name. Names are plain,
/// so that also a command given as one word to a shell stays what it is.
fn fill(command: &[u8], names: &[BString]) -> Vec<BString> {
    let mut words = Vec::new();
    for word in process::split(command) {
        if word == "%s" {
            words.extend(names.iter().cloned());
        } else {
            words.push(word.replace("%s", bstr::join(" ", names)).into());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_for_their_orders() {
        let holds = |name: &[u8], order| Compare::read(name).unwrap().holds(order);
        assert!(holds(b"ge", Ordering::Equal) && holds(b"NE", Ordering::Less) && !holds(b"lt", Ordering::Equal));
        assert_eq!(Compare::read(b"about"), None);
    }

    #[test]
    fn names_fill_the_place_of_percent_s() {
        let names = ["a".into(), "b+".into()];
        assert_eq!(
            fill(b"/usr/bin/apt-get -y install %s", &names),
            ["/usr/bin/apt-get", "-y", "install", "a", "b+"]
        );
        assert_eq!(
            fill(b"/bin/sh -c 'apt-get install %s </dev/null'", &names)[2],
            "apt-get install a b+ </dev/null"
        );
        assert!(is_plain(b"libstdc++6") && !is_plain(b"-rf") && !is_plain(b"a;b") && !is_plain(b""));
    }

    #[test]
    fn dpkg_compares_where_it_is() {
        if !std::path::Path::new("/usr/bin/dpkg").exists() {
            eprintln!("skipped: no dpkg");
            return;
        }
        assert_eq!(order(Manager::Dpkg, "1.0~rc1".into(), "1.0".into()), Ok(Ordering::Less));
        assert_eq!(
            order(Manager::Dpkg, "1:1.0".into(), "2.0".into()),
            Ok(Ordering::Greater)
        );
        assert_eq!(order(Manager::Dpkg, "2.0".into(), "2.0".into()), Ok(Ordering::Equal));
    }
}
