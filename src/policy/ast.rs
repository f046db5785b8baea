//! What one file says, in text order, before anything is evaluated.

use bstr::BString;

use super::{Attr, ClassExpr, PolicyError, Pos, Rule, Section};

/// One statement.
#[derive(Debug)]
pub(super) enum Stmt {
    /// `control:` or `groups:` `name = ( … )`.
    Assign {
        groups: bool,
        class: ClassExpr,
        name: BString,
        values: Vec<Value>,
        pos: Pos,
    },
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

/// A piece of `admit:`/`deny:`.
#[derive(Debug)]
pub(super) enum Access {
    Word(BString, bool, Pos),
    Attr(Attr),
}

/// A value of an assignment.
#[derive(Debug)]
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
