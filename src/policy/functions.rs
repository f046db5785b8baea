//! The class functions of `groups:` and `control:` (cfengine2.md 11). Arguments arrive unexpanded.

use bstr::{BStr, BString, ByteSlice};

use super::ast::Call;
use super::call::MOST_ARGS;
use super::expand::split_list;
use super::source::did_you_mean;
use super::world::FileFacts;
use super::{Context, Ere, FileKind, World, ranges, values};

/// Class functions.
pub(super) static CLASS: &[&str] = &[
    "AccessedBefore",
    "ChangedBefore",
    "IsNewerThan",
    "ClassMatch",
    "FileExists",
    "IsDir",
    "IsLink",
    "IsPlain",
    "HostRange",
    "IPRange",
    "IsDefined",
    "IsGreaterThan",
    "IsLessThan",
    "PrepModule",
    "RegCmp",
    "ReturnsZero",
    "ReturnsZeroShell",
    "Strcmp",
    "UserExists",
    "GroupExists",
];

/// Functions of `alerts:`.
pub(super) static ALERTS: &[&str] = &[
    "FriendStatus",
    "PrintFile",
    "ShowState",
    "SetState",
    "UnsetState",
    "SysLog",
    "ReturnVariables",
    "ReturnClasses",
];

fn listed(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a name is a function of `alerts:`.
pub(super) fn is_alert_function(name: &[u8]) -> bool {
    listed(ALERTS, name)
}

/// The message for a function that stands where it cannot.
pub(super) fn out_of_place(name: &[u8], section: &str) -> String {
    let name = name.as_bstr();
    if name.eq_ignore_ascii_case(b"ExecResult") || name.eq_ignore_ascii_case(b"ExecShellResult") {
        "Use of Exec[Shell]Result(s) outside of variable assignment".into()
    } else if listed(CLASS, name) || listed(values::VALUE, name) || listed(ALERTS, name) {
        format!("Function {name} out of place: {section}: has no use for it")
    } else {
        format!("Internal function ({name}) not recognized")
    }
}

/// A hint for an unknown function.
pub(super) fn hint(name: &[u8]) -> Option<String> {
    let all = [CLASS, values::VALUE, ALERTS].into_iter().flatten().copied();
    match listed(CLASS, name) || listed(values::VALUE, name) || listed(ALERTS, name) {
        true => None,
        false => did_you_mean(name, all),
    }
}

/// Whether a name is a class function.
pub(super) fn is_class_function(name: &[u8]) -> bool {
    listed(CLASS, name)
}

/// What a function works with.
pub(super) struct Env<'a> {
    pub context: &'a mut Context,
    pub world: &'a mut dyn World,
    /// What went wrong without being an error of the policy.
    pub warnings: Vec<String>,
}

impl Env<'_> {
    pub fn expand(&self, text: &BString) -> BString {
        self.context.expand(text.as_ref())
    }

    pub fn args(&self, call: &Call, wanted: usize) -> Result<Vec<BString>, String> {
        if call.args.len() != wanted || call.args.len() > MOST_ARGS {
            let given = call.args.len();
            return Err(format!("{} takes {wanted} arguments, not {given}", call.name));
        }
        Ok(call.args.iter().map(|arg| self.expand(arg)).collect())
    }

    /// The one argument of a function that takes all between its brackets.
    pub fn whole(&self, call: &Call) -> Result<BString, String> {
        match call.whole.is_empty() {
            true => Err(format!("{} needs an argument", call.name)),
            false => Ok(self.expand(&call.whole)),
        }
    }

    /// Whether a command exits with 0; one that cannot be started does not.
    pub fn returns_zero(&mut self, command: &BStr, shell: bool) -> Result<bool, String> {
        absolute(command, shell)?;
        match self.world.run(command, shell) {
            Ok(output) => {
                if !output.text.is_empty() {
                    let text = format!("{command}: {}", output.text.trim_end().as_bstr());
                    self.world.verbose(&text);
                }
                Ok(output.status == 0)
            }
            Err(error) => {
                self.warnings.push(format!("cannot run {command}: {error}"));
                Ok(false)
            }
        }
    }
}

/// Commands name their program in full; a text with references left is judged when they are known.
pub(super) fn absolute(command: &BStr, shell: bool) -> Result<(), String> {
    if command.starts_with(b"/") || command.starts_with(b"$") || (shell && command.starts_with(b"(")) {
        return Ok(());
    }
    Err(format!("scripts or commands must have absolute path names: {command}"))
}

/// A regular expression that must match the whole text.
fn regex(pattern: &BString) -> Result<Ere, String> {
    Ere::new(pattern).map_err(|error| error.to_string())
}

/// Evaluates a class function, negation included.
pub(super) fn class_function(call: &Call, env: &mut Env) -> Result<bool, String> {
    let value = evaluate(call, env)?;
    Ok(value != call.negated)
}

fn evaluate(call: &Call, env: &mut Env) -> Result<bool, String> {
    let name = call.name.to_ascii_lowercase();
    match name.as_slice() {
        b"accessedbefore" => times(call, env, |facts| facts.atime),
        b"changedbefore" => times(call, env, |facts| facts.ctime),
        b"isnewerthan" => times(call, env, |facts| facts.mtime),
        b"fileexists" => kind(call, env, |_| true),
        b"isdir" => kind(call, env, |kind| kind == FileKind::Dir),
        b"islink" => kind(call, env, |kind| kind == FileKind::Link),
        b"isplain" => kind(call, env, |kind| kind == FileKind::Plain),
        b"classmatch" => {
            let regex = regex(&env.whole(call)?)?;
            Ok(env.context.classes().iter().any(|class| regex.matches(class)))
        }
        b"regcmp" => {
            let args = env.args(call, 2)?;
            let regex = regex(&args[0])?;
            let separator = env.context.split();
            Ok(regex.matches(&args[1]) || split_list(&args[1], separator).iter().any(|part| regex.matches(part)))
        }
        b"strcmp" => {
            let args = env.args(call, 2)?;
            Ok(args[0] == args[1])
        }
        b"isgreaterthan" => compare(call, env, std::cmp::Ordering::Greater),
        b"islessthan" => compare(call, env, std::cmp::Ordering::Less),
        b"isdefined" => {
            let args = env.args(call, 1)?;
            Ok(env.context.is_set(&args[0]))
        }
        b"hostrange" => {
            let args = env.args(call, 2)?;
            let host = env.context.get("host").unwrap_or_default();
            ranges::host_in_range(&host, &args[0], &args[1])
        }
        b"iprange" => {
            let range = env.whole(call)?;
            let addresses = env.world.addresses();
            let parsed = ranges::parse(&range)?;
            Ok(addresses.iter().any(|address| parsed.contains(address)))
        }
        b"userexists" => Ok(env.world.user_exists(env.whole(call)?.as_ref())),
        b"groupexists" => Ok(env.world.group_exists(env.whole(call)?.as_ref())),
        b"returnszero" => {
            let command = env.whole(call)?;
            env.returns_zero(command.as_ref(), false)
        }
        b"returnszeroshell" => {
            let command = env.whole(call)?;
            env.returns_zero(command.as_ref(), true)
        }
        b"prepmodule" => module(call, env),
        _ => Err(out_of_place(&call.name, "groups")),
    }
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

fn module(call: &Call, env: &mut Env) -> Result<bool, String> {
    if call.args.is_empty() || call.args.len() > 2 {
        return Err("PrepModule takes a module and a text of arguments".into());
    }
    let name = env.expand(&call.args[0]);
    let args = call.args.get(1).map(|args| env.expand(args)).unwrap_or_default();
    match env.world.run_module(name.as_ref(), args.as_ref()) {
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
