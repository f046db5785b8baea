//! What one file says, in text order, before anything is evaluated.

use bstr::BString;

use super::source::Source;
use super::{Attr, ClassExpr, PolicyError, Pos, Rule, Section};

/// One statement.
#[derive(Debug)]
pub(super) enum Stmt {
    /// `control:` or `groups:` `name = ( … )`.
    Assign(Assignment),
    /// One name under `import:`.
    Import { class: ClassExpr, name: BString, pos: Pos },
    /// A rule, with errors that only count where its class can become true (2.2.10 never looks into the others).
    Rule(Rule, Vec<PolicyError>),
    /// `admit:`/`deny:` words under one predicate. Which of them are paths is known after expansion.
    Access {
        section: Section,
        class: ClassExpr,
        parts: Vec<Access>,
    },
    /// A section keyword.
    Section(Section, Pos),
}

/// `name = ( … )`.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// It stands in `groups:`, not in `control:`.
    pub groups: bool,
    pub class: ClassExpr,
    pub name: BString,
    pub values: Vec<Value>,
    pub pos: Pos,
}

/// A class predicate as it stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    pub class: ClassExpr,
    /// The section it stands in.
    pub section: Option<Section>,
    pub pos: Pos,
}

/// What the files of a program say besides its rules. Kept for those who judge a policy ([`super::lint()`],
/// [`super::explain()`]), not for those who run it.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub sources: Vec<Source>,
    /// In the order in which they are evaluated.
    pub assignments: Vec<Assignment>,
    pub predicates: Vec<Predicate>,
    /// The predicates of imports.
    pub imports: Vec<(ClassExpr, Pos)>,
}

/// A piece of `admit:`/`deny:`.
#[derive(Debug)]
pub(super) enum Access {
    Word(BString, bool, Pos),
    Attr(Attr),
}

/// A value of an assignment.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Word(BString, Pos),
    Text(BString, Pos),
    Call(Call),
}

/// A function call as written.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub name: BString,
    /// `!F(x)`
    pub negated: bool,
    /// All between the brackets, quotes of a whole quoted text removed: the argument of functions that take one.
    pub whole: BString,
    /// The arguments, quotes removed.
    pub args: Vec<BString>,
    pub pos: Pos,
}
