//! The class functions of `groups:` (cfengine2.md 11): each is one function here and one line in the table of
//! [`functions`](super::functions).

use bstr::{BString, ByteSlice};

use super::ast::Call;
use super::expand::split_list;
use super::functions::Env;
use super::world::FileFacts;
use super::{Ere, FileKind, ranges};

/// A regular expression that must match the whole text.
fn regex(pattern: &BString) -> Result<Ere, String> {
    Ere::new(pattern).map_err(|error| error.to_string())
}

pub(super) fn accessed_before(call: &Call, env: &mut Env) -> Result<bool, String> {
    times(call, env, |facts| facts.atime)
}

pub(super) fn changed_before(call: &Call, env: &mut Env) -> Result<bool, String> {
    times(call, env, |facts| facts.ctime)
}

pub(super) fn is_newer_than(call: &Call, env: &mut Env) -> Result<bool, String> {
    times(call, env, |facts| facts.mtime)
}

pub(super) fn file_exists(call: &Call, env: &mut Env) -> Result<bool, String> {
    kind(call, env, |_| true)
}

pub(super) fn is_dir(call: &Call, env: &mut Env) -> Result<bool, String> {
    kind(call, env, |kind| kind == FileKind::Dir)
}

pub(super) fn is_link(call: &Call, env: &mut Env) -> Result<bool, String> {
    kind(call, env, |kind| kind == FileKind::Link)
}

pub(super) fn is_plain(call: &Call, env: &mut Env) -> Result<bool, String> {
    kind(call, env, |kind| kind == FileKind::Plain)
}

pub(super) fn class_match(call: &Call, env: &mut Env) -> Result<bool, String> {
    let regex = regex(&env.whole(call)?)?;
    Ok(env.context.classes().iter().any(|class| regex.matches(class)))
}

pub(super) fn reg_cmp(call: &Call, env: &mut Env) -> Result<bool, String> {
    let args = env.args(call, 2)?;
    let regex = regex(&args[0])?;
    let separator = env.context.split();
    Ok(regex.matches(&args[1]) || split_list(&args[1], separator).iter().any(|part| regex.matches(part)))
}

pub(super) fn strcmp(call: &Call, env: &mut Env) -> Result<bool, String> {
    let args = env.args(call, 2)?;
    Ok(args[0] == args[1])
}

pub(super) fn is_greater_than(call: &Call, env: &mut Env) -> Result<bool, String> {
    compare(call, env, std::cmp::Ordering::Greater)
}

pub(super) fn is_less_than(call: &Call, env: &mut Env) -> Result<bool, String> {
    compare(call, env, std::cmp::Ordering::Less)
}

pub(super) fn is_defined(call: &Call, env: &mut Env) -> Result<bool, String> {
    let args = env.args(call, 1)?;
    Ok(env.context.is_set(&args[0]))
}

pub(super) fn host_range(call: &Call, env: &mut Env) -> Result<bool, String> {
    let args = env.args(call, 2)?;
    let host = env.context.get("host").unwrap_or_default();
    ranges::host_in_range(&host, &args[0], &args[1])
}

pub(super) fn ip_range(call: &Call, env: &mut Env) -> Result<bool, String> {
    let range = env.whole(call)?;
    let addresses = env.world.addresses();
    let parsed = ranges::parse(&range)?;
    Ok(addresses.iter().any(|address| parsed.contains(address)))
}

pub(super) fn user_exists(call: &Call, env: &mut Env) -> Result<bool, String> {
    Ok(env.world.user_exists(env.whole(call)?.as_ref()))
}

pub(super) fn group_exists(call: &Call, env: &mut Env) -> Result<bool, String> {
    Ok(env.world.group_exists(env.whole(call)?.as_ref()))
}

pub(super) fn returns_zero(call: &Call, env: &mut Env) -> Result<bool, String> {
    let command = env.whole(call)?;
    env.returns_zero(command.as_ref(), false)
}

pub(super) fn returns_zero_shell(call: &Call, env: &mut Env) -> Result<bool, String> {
    let command = env.whole(call)?;
    env.returns_zero(command.as_ref(), true)
}

fn times(call: &Call, env: &mut Env, which: fn(&FileFacts) -> i128) -> Result<bool, String> {
    let args = env.args(call, 2)?;
    let facts = (env.world.lstat(args[0].as_ref()), env.world.lstat(args[1].as_ref()));
    Ok(match facts {
        (Some(first), Some(second)) => which(&first) < which(&second),
        _ => false,
    })
}

fn kind(call: &Call, env: &mut Env, is: fn(FileKind) -> bool) -> Result<bool, String> {
    let path = env.whole(call)?;
    Ok(env.world.lstat(path.as_ref()).is_some_and(|facts| is(facts.kind)))
}

fn compare(call: &Call, env: &mut Env, wanted: std::cmp::Ordering) -> Result<bool, String> {
    let args = env.args(call, 2)?;
    let number = |text: &BString| text.trim().to_str().ok().and_then(|text| text.parse::<f64>().ok());
    let order = match (number(&args[0]), number(&args[1])) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => Some(args[0].cmp(&args[1])),
    };
    Ok(order == Some(wanted))
}

pub(super) fn prep_module(call: &Call, env: &mut Env) -> Result<bool, String> {
    if call.args.is_empty() || call.args.len() > 2 {
        return Err("PrepModule takes a module and a text of arguments".into());
    }
    let name = env.expand(&call.args[0]);
    let args = call.args.get(1).map(|args| env.expand(args)).unwrap_or_default();
    let classes = BString::from(bstr::join(":", env.context.classes()));
    match env.world.run_module(name.as_ref(), args.as_ref(), classes.as_ref()) {
        None => {
            env.world.verbose(&format!("there is no module {name}"));
            Ok(false)
        }
        Some(Err(error)) => {
            env.warnings.push(format!("cannot run module {name}: {error}"));
            Ok(false)
        }
        Some(Ok(output)) => {
            for line in env.context.apply_module_output(output.text.as_ref()) {
                env.warnings.push(format!("module:{name}: {line}"));
            }
            Ok(true)
        }
    }
}
