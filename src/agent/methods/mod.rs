//! `methods:`: policies that are called like functions, here or on another host (cfengine2.md 14.17).
//!
//! | file | owns |
//! |---|---|
//! | `bundle` | calls and answers as bytes, pure |
//! | `room` | `rpc_in` and `rpc_out`, where bundles lie |
//! | `asked` | what a rule asks for |
//! | `local` | calling: this program is started once more |
//! | `called` | being called: `-Z DIGEST` |
//! | `remote` | calling another host: the call in `rpc_out`, and in a later run its answer |
//! | `answer` | being called by other hosts: their calls, and answers to them in `rpc_out` |
//! | `peers` | `MethodPeers`, and fetching what lies in their `rpc_out` |
//! | `given` | what is kept from run to run |

mod answer;
mod asked;
mod bundle;
mod called;
mod given;
mod local;
mod peers;
mod remote;
mod room;

use bstr::{BString, ByteSlice};

use super::action::{self, Action, Work};
use super::report::RuleSwitches;
use super::{Job, Outcome, Run};
use crate::policy::{Body, Rule, Section, inert};
use asked::{Asked, Where};
use bundle::Reply;
pub use called::{Called, give_classes, give_variables, is_return};

/// The action.
pub static ACTION: Action = Action {
    name: "methods",
    section: Section::Methods,
    operator: "method",
    expand,
    order: action::in_text_order,
    once: false,
    work: Work::All(all),
};

/// Calls that the lists in the arguments of one rule may make.
const MOST_CALLS: usize = 1_000;

/// One call for each combination of the values of lists in the arguments, left one slowest.
fn expand(run: &Run<'_>, rule: &Rule) -> Vec<(BString, BString)> {
    let Body::Call(args) = &rule.body else {
        return vec![(rule.promiser.clone(), BString::default())];
    };
    let mut calls: Vec<Vec<BString>> = vec![Vec::new()];
    for arg in asked::meant(args) {
        let values = run.ctx.iterate(arg.as_bstr());
        calls = calls
            .into_iter()
            .flat_map(|call| {
                values.iter().map(move |value| {
                    let mut call = call.clone();
                    call.push(value.clone());
                    call
                })
            })
            .take(MOST_CALLS)
            .collect();
    }
    let name = run.ctx.expand(rule.promiser.as_bstr());
    calls
        .into_iter()
        .map(|args| (name.clone(), bundle::join(&args)))
        .collect()
}

fn all(run: &mut Run<'_>, action: &'static Action) {
    if !run.dry && !run.jobs(action).is_empty() {
        tidy_up(run);
    }
    for rule in run.ordered(action) {
        // Expanded when its turn comes: a call before it may have given classes and variables.
        for job in run.expansions(action, rule) {
            if !run.holds(&job) || run.is_done(&job) {
                continue;
            }
            run.report.rule = run.rule_switches(&job);
            one(run, action, &job);
            run.report.rule = RuleSwitches::default();
            if run.stop.is_some() {
                return;
            }
        }
    }
}

/// Says once a run where others can look into our directories, and removes what counts no more.
fn tidy_up(run: &mut Run<'_>) {
    let now = run.now.timestamp().as_second();
    for path in [room::incoming(run.paths), room::outgoing(run.paths)] {
        if run.pass != 1 || !path.exists() {
            continue;
        }
        match room::Room::open(&path, false, Some(&mut run.report)) {
            Ok(room) => {
                let count = room.sweep(now);
                if count > 0 {
                    run.report.verbose(format_args!(
                        "Removed {count} calls of methods that count no more from {}",
                        path.display()
                    ));
                }
            }
            Err(why) => run.report.error(why),
        }
    }
}

fn one(run: &mut Run<'_>, action: &'static Action, job: &Job) {
    let asked = match Asked::of(run, job) {
        Ok(asked) => asked,
        Err(why) => {
            if run.begin(action, job) {
                failed(run, job, &why);
                run.end(job);
            }
            return;
        }
    };
    if let Where::Host(host) = &asked.server {
        return match peers::is_own_name(run, host.as_bstr()) {
            true => answer::turn(run, action, job, &asked, host.as_bstr()),
            false => remote::turn(run, action, job, &asked, host.as_bstr()),
        };
    }
    if !run.begin(action, job) {
        return given::recall(run, &asked);
    }
    let result = match asked.server {
        Where::Nowhere => {
            run.report
                .verbose(format_args!("server=none: method {} is not called", asked.shown()));
            run.left(job);
            Ok(())
        }
        Where::Here | Where::Host(_) => here(run, job, &asked),
    };
    if let Err(why) = result {
        failed(run, job, &why);
    }
    run.end(job);
}

fn here(run: &mut Run<'_>, job: &Job, asked: &Asked) -> Result<(), String> {
    match local::call(run, asked)? {
        Some(reply) => take(run, job, asked, &reply)?,
        None => run.record(job, Outcome::Repaired),
    }
    Ok(())
}

/// What a call gave: variables and classes as far as the rule asks for them, and what became of the promise.
fn take(run: &mut Run<'_>, job: &Job, asked: &Asked, reply: &Reply) -> Result<(), String> {
    if let Some(error) = &reply.error {
        return Err(crate::log::clean(&error.to_str_lossy()));
    }
    if reply.values.len() < asked.vars.len() {
        return Err(format!(
            "it gave {} variables where returnvars= names {}",
            reply.values.len(),
            asked.vars.len()
        ));
    }
    for class in reply.classes.iter().filter(|class| !asked.classes.contains(class)) {
        run.report
            .verbose(format_args!("Class {class} of method {} was not asked for", asked.name));
    }
    let result = given::Given {
        vars: asked.vars.iter().cloned().zip(reply.values.iter().cloned()).collect(),
        classes: reply
            .classes
            .iter()
            .filter(|class| asked.classes.contains(class))
            .cloned()
            .collect(),
    };
    given::remember(run, asked, &result);
    bind(run, asked, &result);
    let [_, repaired, failed] = reply.figures;
    if failed > 0 {
        return Err(format!("{failed} of its promises could not be kept"));
    }
    run.record(
        job,
        match repaired {
            0 => Outcome::Kept,
            _ => Outcome::Repaired,
        },
    );
    Ok(())
}

/// `$(Name.var)` and `Name_class`. A value may be a list; no reference in it is ever expanded.
fn bind(run: &mut Run<'_>, asked: &Asked, given: &given::Given) {
    for (var, value) in &given.vars {
        let name = format!("{}.{var}", asked.name);
        run.ctx.set(name, inert(value, false));
    }
    for class in &given.classes {
        let class = BString::from(format!("{}_{class}", asked.name));
        run.define(class.as_bstr());
    }
}

fn failed(run: &mut Run<'_>, job: &Job, why: &str) {
    let pos = &job.rule.pos;
    let text = format!("{}:{}: method {}: {why}", pos.file, pos.line, job.object);
    run.report.error(text);
    run.record(job, Outcome::Failed);
}
