//! The functions of the language (cfengine2.md 11): one table. A new function is one line here and one Rust function, of
//! [`class_functions`](super::class_functions) where it gives true or false, of [`values`](super::values) where it gives a
//! text or fills an array. Those of `alerts:` act on the machine, so the agent carries them out. Arguments arrive
//! unexpanded.

use bstr::{BStr, BString, ByteSlice};

use super::ast::Call;
use super::call::MOST_ARGS;
use super::source::did_you_mean;
use super::{Context, World, class_functions as classes, values};

/// One function.
pub(super) struct Function {
    /// Its name; any case is accepted.
    pub name: &'static str,
    /// Where it may stand and what it does.
    pub work: Work,
}

/// The kinds of functions.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// In `groups:`: true or false. `!` before the name turns that round.
    Class(fn(&Call, &mut Env) -> Result<bool, String>),
    /// In `control:`: the text of the named variable; `None` where it filled an array and the variable stays unset.
    Value(fn(&Call, &BString, &mut Env) -> Result<Option<BString>, String>),
    /// In `alerts:`.
    Alert,
}

/// Every function.
pub(super) static FUNCTIONS: &[Function] = &[
    class("AccessedBefore", classes::accessed_before),
    class("ChangedBefore", classes::changed_before),
    class("IsNewerThan", classes::is_newer_than),
    class("ClassMatch", classes::class_match),
    class("FileExists", classes::file_exists),
    class("IsDir", classes::is_dir),
    class("IsLink", classes::is_link),
    class("IsPlain", classes::is_plain),
    class("HostRange", classes::host_range),
    class("IPRange", classes::ip_range),
    class("IsDefined", classes::is_defined),
    class("IsGreaterThan", classes::is_greater_than),
    class("IsLessThan", classes::is_less_than),
    class("PrepModule", classes::prep_module),
    class("RegCmp", classes::reg_cmp),
    class("ReturnsZero", classes::returns_zero),
    class("ReturnsZeroShell", classes::returns_zero_shell),
    class("Strcmp", classes::strcmp),
    class("UserExists", classes::user_exists),
    class("GroupExists", classes::group_exists),
    value("A", values::element_of),
    value("ExecResult", values::exec_result),
    value("ExecShellResult", values::exec_shell_result),
    value("RandomInt", values::random_int),
    value("ReadFile", values::read_file),
    value("ReadArray", values::read_array),
    value("ReadTable", values::read_table),
    value("ReadList", values::read_list),
    value("ReadTCP", values::read_tcp),
    value("SelectPartitionLeader", values::partition_leader),
    value("SelectPartitionNeighbours", values::partition_neighbours),
    value("SelectPartitionNeighbors", values::partition_neighbours),
    alert("FriendStatus"),
    alert("PrintFile"),
    alert("ShowState"),
    alert("SetState"),
    alert("UnsetState"),
    alert("SysLog"),
    alert("ReturnVariables"),
    alert("ReturnClasses"),
];

const fn class(name: &'static str, work: fn(&Call, &mut Env) -> Result<bool, String>) -> Function {
    Function {
        name,
        work: Work::Class(work),
    }
}

const fn value(name: &'static str, work: fn(&Call, &BString, &mut Env) -> Result<Option<BString>, String>) -> Function {
    Function {
        name,
        work: Work::Value(work),
    }
}

const fn alert(name: &'static str) -> Function {
    Function {
        name,
        work: Work::Alert,
    }
}

/// What a name means.
pub(super) fn find(name: &[u8]) -> Option<Work> {
    let known = |function: &&Function| function.name.as_bytes().eq_ignore_ascii_case(name);
    FUNCTIONS.iter().find(known).map(|function| function.work)
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

/// The names of the functions of `alerts:`.
pub(super) fn alerts() -> impl Iterator<Item = &'static str> {
    let alerts = FUNCTIONS.iter().filter(|function| matches!(function.work, Work::Alert));
    alerts.map(|function| function.name)
}

/// The message for a function that stands where it cannot.
pub(super) fn out_of_place(name: &[u8], section: &str) -> String {
    let name = name.as_bstr();
    if name.eq_ignore_ascii_case(b"ExecResult") || name.eq_ignore_ascii_case(b"ExecShellResult") {
        "Use of Exec[Shell]Result(s) outside of variable assignment".into()
    } else if find(name).is_some() {
        format!("Function {name} out of place: {section}: has no use for it")
    } else {
        format!("Internal function ({name}) not recognized")
    }
}

/// A hint for an unknown function.
pub(super) fn hint(name: &[u8]) -> Option<String> {
    match find(name) {
        Some(_) => None,
        None => did_you_mean(name, names()),
    }
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
