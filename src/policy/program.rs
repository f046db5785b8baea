//! Loading: a policy file with everything it imports becomes a [`Program`].

use bstr::{BStr, BString};

use super::{ClassExpr, Context, PolicyError, Pos, Rule, Section, World};

/// Which program reads the policy, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `update.conf`, context `update`.
    Update,
    /// `cfagent.conf` or `-f FILE`, context `main`.
    Main,
    /// `cfservd.conf`: admit, grant and deny are in place, actions are not.
    Server,
}

/// How to read it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Accept agent and server sections alike (checking any file with `-p`).
    pub any_section: bool,
}

/// One entry of `actionsequence` (cfengine2.md 9.4): `copy.x.y`, `module:NAME args`.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceEntry {
    /// Holds it.
    pub class: ClassExpr,
    /// The whole entry as written.
    pub text: BString,
    /// Where it stands.
    pub pos: Pos,
}

/// A policy, ready to run.
#[derive(Debug, Default)]
pub struct Program {
    /// Every rule of every file, in text order (imports after the file that imports them).
    pub rules: Vec<Rule>,
    /// The action sequence, accumulated.
    pub sequence: Vec<SequenceEntry>,
    /// Classes and variables after reading.
    pub context: Context,
    /// The files read, in order.
    pub files: Vec<std::path::PathBuf>,
    /// Warnings; they do not stop a run.
    pub warnings: Vec<PolicyError>,
}

impl Program {
    /// The rules of one section, in text order.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.section == section)
    }
}

/// Reads `entry` and all it imports. Classes and variables in `context` are visible to it. All errors are reported, not
/// the first only.
#[allow(unused_variables, clippy::todo)]
pub fn load(
    entry: &BStr,
    phase: Phase,
    options: &Options,
    context: Context,
    world: &mut dyn World,
) -> Result<Program, Vec<PolicyError>> {
    todo!()
}
