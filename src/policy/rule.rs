//! What a policy file is made of once it is parsed: rules with their class, promiser, attributes and body.
//!
//! Strings are stored as written, unexpanded (quotes removed, escapes resolved): the agent expands them with
//! [`super::Context`] when the rule runs, because classes and variables of later files are visible then (cfengine2.md 5).

use bstr::BString;

use super::{ClassExpr, Pos, Section};

/// One rule: `class:: promiser attr=value …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The section it stands in.
    pub section: Section,
    /// The class predicate in force (`any` when none was written).
    pub class: ClassExpr,
    /// The object: a path, a command, a regular expression, a name.
    pub promiser: BString,
    /// Whether the promiser was quoted.
    pub quoted: bool,
    /// Its attributes in text order, names in full.
    pub attrs: Attrs,
    /// What else it holds, by section.
    pub body: Body,
    /// Where its promiser stands.
    pub pos: Pos,
}

impl Rule {
    /// The same rule as if all of it stood in one place: two rules that say the same are equal then.
    #[must_use]
    pub fn placeless(mut self) -> Rule {
        let nowhere = Pos {
            file: "".into(),
            line: 1,
            col: 1,
        };
        match &mut self.body {
            Body::Edit(commands) => commands.iter_mut().for_each(|one| one.pos = nowhere.clone()),
            Body::Pairs(pairs) => pairs.iter_mut().for_each(|one| one.2 = nowhere.clone()),
            Body::Words(words) | Body::Members(words) => words.iter_mut().for_each(|one| one.1 = nowhere.clone()),
            Body::None | Body::Link { .. } | Body::Restart(_) | Body::SetOptionString | Body::Call(_) => {}
        }
        self.attrs.0.iter_mut().for_each(|attr| attr.pos = nowhere.clone());
        self.pos = nowhere;
        self
    }
}

/// The part of a rule that only some sections have.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing more.
    None,
    /// `links:` `from -> to`; `children` for `+>`, `force` for a `!` after the arrow.
    Link {
        /// The target.
        to: BString,
        /// `+>`
        children: bool,
        /// `->!`, `+>!`
        force: bool,
    },
    /// `editfiles:` `{ file commands… }`; the promiser is the file.
    Edit(Vec<EditCommand>),
    /// `processes:` `restart "command"`.
    Restart(BString),
    /// `processes:` `SetOptionString "options"`; the promiser is the option string.
    SetOptionString,
    /// A function call as object (`alerts:`, `methods:`): its arguments; the promiser is its name.
    Call(Vec<BString>),
    /// `filters:`, `strategies:`: `{ name key: "value" … }`.
    Pairs(Vec<(BString, BString, Pos)>),
    /// `acl:`: `{ name word … }`.
    Words(Vec<(BString, Pos)>),
    /// `admit:`, `deny:` and `disks:`-like lists: further words after the path.
    Members(Vec<(BString, Pos)>),
}

/// One command of an `editfiles:` group (cfengine2.md 15.2).
#[derive(Clone, Debug, PartialEq)]
pub struct EditCommand {
    /// The name in the manual's spelling, as in the table of commands (`AppendIfNoSuchLine`).
    pub name: &'static str,
    /// Its argument; empty for commands without one. For `ReplaceAll … With …` this is the regex, and `With` follows as
    /// a command of its own.
    pub arg: BString,
    /// Where the name stands.
    pub pos: Pos,
}

/// One `name=value` of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Attr {
    /// The full name in lower case (cfengine2.md 13); abbreviations are resolved.
    pub name: &'static str,
    /// The value, unexpanded.
    pub value: BString,
    /// Where the attribute starts.
    pub pos: Pos,
}

/// The attributes of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(pub Vec<Attr>);

impl Attrs {
    /// The last attribute of that full name; later ones win. The manual's `dest` finds `destination`.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        let name = if name == "dest" { "destination" } else { name };
        self.0.iter().rev().find(|attr| attr.name == name)
    }

    /// Every attribute of that full name, in text order (`include`, `exclude`, `ignore`, `filter` repeat).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Attr> {
        self.0.iter().filter(move |attr| attr.name == name)
    }
}
