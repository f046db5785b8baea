//! `ccp --tree`: hosts that have the files pass them on, so that the line of this machine is not the limit. Every host is
//! visited from here all the same: its digests are compared, and what a relay did not bring, or not rightly, is sent.

use bstr::{BStr, ByteSlice};
use clap::ArgMatches;

use super::{Served, TOOL, deliver};
use crate::diag::{Fail, stderr_line};
use crate::fan::{self, Input, Job, Report, Stop};
use crate::hosts::Host;
use crate::remote;
use crate::tools::fan::show::Show;
use crate::tools::fan::targets::Targets;

/// What a relay runs. Arguments, all for printf %b: hosts, how long to wait for one, user or nothing, options, name of
/// the source, target, sources.
const PASS: &str = r#"command -v ccp >/dev/null || { echo "there is no ccp" >&2; exit 127; }
hosts=$1 wait=$2 user=$3 options=$4
name=$(printf %b. "$5")
target=$(printf %b. "$6")
shift 6
for n do
    shift
    n=$(printf %b. "$n")
    set -- "$@" "${n%.}"
done
case ${name%.} in ?*) set -- --source-name "${name%.}" -- "$@" ;; *) set -- -- "$@" ;; esac
case $user in ?*) set -- -l "$user" "$@" ;; esac
exec ccp $options --no-mux -t "$wait" -w "$hosts" "$@" "${target%.}"
"#;

/// How much of what a relay says is kept, in bytes.
const SAID: usize = 64 * 1024;

/// How many hosts pass it on; none when that is not asked for, or nothing is gained.
pub(super) fn relays(matches: &ArgMatches, hosts: usize) -> Option<usize> {
    if matches.value_source("tree") != Some(clap::parser::ValueSource::CommandLine) {
        return None;
    }
    let asked = matches.get_one::<u32>("tree").map(|&n| n as usize);
    let relays = asked.unwrap_or_else(|| hosts.isqrt());
    (relays < hosts).then_some(relays)
}

/// Delivers to the relays, lets them pass it on, and visits the others.
pub(super) fn run(
    matches: &ArgMatches,
    targets: &Targets,
    target: &BStr,
    served: &[Served],
    relays: usize,
    stop: &Stop,
    show: &mut Show,
) -> Result<Vec<Report>, Fail> {
    let (near, rest) = served.split_at(relays);
    let mut reports = deliver(targets, near, 0, stop, show)?;
    let well: Vec<usize> = (0..reports.len()).filter(|&at| reports[at].state.is_ok()).collect();
    if !well.is_empty() && stop.signal().is_none() {
        pass_on(matches, targets, target, served, relays, &well, stop);
    }
    reports.extend(deliver(targets, rest, relays, stop, show)?);
    Ok(reports)
}

/// Lets the relays that are well share the others among them.
fn pass_on(
    matches: &ArgMatches,
    targets: &Targets,
    target: &BStr,
    served: &[Served],
    relays: usize,
    well: &[usize],
    stop: &Stop,
) {
    let rest = &served[relays..];
    let mut shares: Vec<Vec<&Host>> = vec![Vec::new(); well.len()];
    for (at, (host, ..)) in rest.iter().enumerate() {
        shares[at % well.len()].push(host);
    }
    let mut options = String::new();
    for (name, option) in [("recursive", "-r "), ("preserve", "-p ")] {
        if matches.get_flag(name) {
            options += option;
        }
    }
    let wait = targets.ssh.connect_seconds.to_string();
    let job = |(&at, share): (&usize, &Vec<&Host>)| {
        let (host, _, delivery) = &served[at];
        let list = share.iter().map(|host| host.to_string()).collect::<Vec<_>>().join(",");
        let names: Vec<&BStr> = delivery.sources().map(|name| name.as_bstr()).collect();
        let named = delivery.outcome(at).named;
        // Where it is on the relay; under its own name on the others, whatever their target is.
        let sources: Vec<Vec<u8>> = match named {
            true => vec![target.to_vec()],
            false => names
                .iter()
                .map(|name| [target.as_bytes(), b"/", name].concat())
                .collect(),
        };
        let name: &[u8] = if named {
            names.first().map_or(b"", |name| name)
        } else {
            b""
        };
        let user = targets.ssh.user.as_deref().unwrap_or_default();
        let mut arguments: Vec<&[u8]> = vec![
            list.as_bytes(),
            wait.as_bytes(),
            user.as_bytes(),
            options.as_bytes(),
            name,
            target.as_bytes(),
        ];
        arguments.extend(sources.iter().map(Vec::as_slice));
        targets.job(host, &remote::carry(PASS, &arguments).into(), Input::Nothing)
    };
    let jobs: Vec<Job> = well
        .iter()
        .zip(&shares)
        .filter(|(_, share)| !share.is_empty())
        .map(job)
        .collect();
    let answers = match fan::ask(&jobs, &targets.options, Some(stop), SAID) {
        Ok(answers) => answers,
        Err(error) => return stderr_line(&format!("{}: nothing is passed on: {error}", TOOL.name)),
    };
    for (answer, &at) in answers.iter().zip(well) {
        if answer.report.state.is_ok() || stop.signal().is_some() {
            continue;
        }
        let said = answer.err.lines().next().unwrap_or_default().as_bstr();
        let label = &served[at].1;
        stderr_line(&format!(
            "{}: {label}: could not pass it on to all ({}{}{said}); the rest is sent from here",
            TOOL.name,
            answer.report.state,
            if said.is_empty() { "" } else { ": " },
        ));
    }
}
