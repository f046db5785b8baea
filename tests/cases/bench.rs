//! The bench a case runs on: a prefix of its own with the objects, the policy and the helpers, gone with the case.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command as Plain, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::objects;
use crate::parse::{Case, Run, Step};
use crate::said::{Places, compare};

const PATIENCE: Duration = Duration::from_secs(60);
const SETTLING: Duration = Duration::from_millis(200);

/// What the machine lacks for a case. Where everything is expected to be there (`CI`), nothing is left out.
pub fn lacking(case: &Case) -> Option<&str> {
    let there = |need: &str| match need {
        "root" => nix::unistd::geteuid().is_root(),
        program => Path::new(program).exists(),
    };
    let mut lacking = case.needs.iter().filter(|need| !there(need));
    lacking
        .next()
        .filter(|_| std::env::var_os("CI").is_none())
        .map(String::as_str)
}

/// The helpers of a case; ended when it ends.
struct Helpers(BTreeMap<String, (Child, Option<ExitStatus>)>);

impl Helpers {
    fn start(case: &Case, places: &Places) -> Helpers {
        let mut all = BTreeMap::new();
        for (name, line) in &case.helpers {
            let mut command = Plain::new("/bin/sh");
            command.arg("-c").arg(places.fill(line));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            all.insert(name.clone(), (command.process_group(0).spawn().unwrap(), None));
        }
        if !all.is_empty() {
            std::thread::sleep(SETTLING);
        }
        Helpers(all)
    }

    fn lives(&mut self, name: &str) -> bool {
        let (child, ended) = self.0.get_mut(name).unwrap_or_else(|| panic!("no helper {name}"));
        *ended = ended.or_else(|| child.try_wait().unwrap());
        ended.is_none()
    }

    /// Whether it ends within a moment.
    fn dies(&mut self, name: &str) -> bool {
        let start = Instant::now();
        while self.lives(name) {
            if start.elapsed() > SETTLING * 10 {
                return false;
            }
            std::thread::sleep(SETTLING / 10);
        }
        true
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        for (child, ended) in self.0.values_mut() {
            // The group lives on if the helper left children behind; it is ours, for nobody waited for the leader.
            if ended.is_none() {
                let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                let _ = child.wait();
            }
        }
    }
}

/// Runs a case. What is wrong is told run by run.
pub fn judge(case: &Case) -> Result<(), String> {
    let top = tempfile::Builder::new().prefix("case").tempdir().unwrap();
    objects::open_up(top.path());
    let places = Places::new(top.path());
    for dir in [places.t(), places.inputs()] {
        fs::create_dir(&dir).unwrap();
        objects::open_up(Path::new(&dir));
    }
    let (mut report, mut helpers) = (String::new(), None);
    for step in &case.steps {
        match step {
            Step::Input(name, mode, text) => input(&places, name, *mode, text),
            Step::Change(ops) => objects::make(&places, ops),
            Step::Run(run) => {
                let helpers = helpers.get_or_insert_with(|| Helpers::start(case, &places));
                for fault in turn(case, run, &places, helpers) {
                    let args = [&run.tool]
                        .into_iter()
                        .chain(&run.args)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(" ");
                    let fault = fault.trim_end();
                    writeln!(report, "line {}, run {}: {fault}", run.line, args.trim()).unwrap();
                }
            }
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

fn input(places: &Places, name: &str, mode: u32, text: &str) {
    let base = if name.starts_with('/') {
        places.root.clone()
    } else {
        places.inputs()
    };
    let at = Path::new(&base).join(name.trim_start_matches('/'));
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, places.fill(text)).unwrap();
    fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
}

fn turn(case: &Case, run: &Run, places: &Places, helpers: &mut Helpers) -> Vec<String> {
    let before = run.left.iter().filter(|op| op.word == "untouched");
    let before = before
        .map(|op| (op.name.clone(), objects::print(&objects::path(places, &op.name))))
        .collect();
    let tool = if run.tool.is_empty() { "cfagent" } else { &run.tool };
    let mut command = Command::new(assert_cmd::cargo::cargo_bin(tool));
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .env("HOME", &places.root)
        .env("DSAU_ROOT", &places.root)
        .env("CFINPUTS", places.inputs())
        .envs(case.env.iter().map(|(name, value)| (name, places.fill(value))))
        .current_dir(places.t())
        .timeout(PATIENCE);
    if run.tool.is_empty() {
        command.args(if run.locked { &["-q"][..] } else { &["-K", "-q"] });
    }
    command.args(run.args.iter().map(|arg| places.fill(arg)));
    if run.tool.is_empty() {
        command.arg("-f").arg(format!("{}/policy.cf", places.inputs()));
    }
    let said = command.output().unwrap();
    let (out, err) = (places.lines(&said.stdout), places.lines(&said.stderr));
    let mut faults = Vec::new();
    faults.extend(compare("standard output", &run.out, &out));
    faults.extend(compare("standard error", &run.err, &err));
    if said.status.code() != Some(run.exit) {
        let how = said
            .status
            .signal()
            .map_or_else(|| said.status.to_string(), |s| format!("signal {s}"));
        faults.push(format!("expected exit status {}, got {how}", run.exit));
    }
    for text in &run.never {
        let line = out.iter().chain(&err).find(|line| line.contains(text.as_str()));
        faults.extend(line.map(|line| format!("never to be said: {line}")));
    }
    faults.extend(objects::check(places, &run.left, run.whole, &before));
    for name in &run.alive {
        if !helpers.lives(name) {
            faults.push(format!("helper {name} has ended"));
        }
    }
    for name in &run.dead {
        if !helpers.dies(name) {
            faults.push(format!("helper {name} still runs"));
        }
    }
    if std::env::var_os("CASES_GOT").is_some() {
        show(case, run, places, [&out, &err], said.status.code());
    }
    faults
}

/// Prints what was got in the format of a case.
fn show(case: &Case, run: &Run, places: &Places, [out, err]: [&[String]; 2], status: Option<i32>) {
    let mut text = format!("== {}\nrun {}:\n", case.name, run.args.join(" "));
    let mut block = |head: &str, lines: &[String]| {
        if !head.is_empty() && !lines.is_empty() {
            text += &format!("{head}:\n");
        }
        for line in lines {
            text += &format!("  {line}\n");
        }
    };
    block("", out);
    block("error", err);
    block("left exactly", &objects::lines(places));
    println!("{text}exit: {}\n", status.unwrap_or(-1));
}
