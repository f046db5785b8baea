//! `cfagent --explain WORD`: what a policy says about a file, a class or a variable, and where. Nothing is carried out; the
//! classes are those that hold once the policy is read, before any rule ran.
//!
//! | file | owns |
//! |---|---|
//! | `paths` | the rules that touch an object, their order, which of them has the last word |
//! | `reach` | whether a rule gets to an object: wildcards, recursion, patterns |
//! | `words` | classes and variables: who sets them, who asks for them |

mod paths;
mod reach;
#[cfg(test)]
mod tests;
mod words;

use bstr::{BStr, BString};

use super::{ClassExpr, Pos, Program};

/// What a word is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// It begins with `/`.
    Path,
    /// A class, or an expression of classes.
    Class,
    /// `$(x)`, `${x}`, or a name that is no class but set as a variable.
    Variable,
}

impl About {
    /// One word, for messages.
    pub fn name(self) -> &'static str {
        match self {
            About::Path => "path",
            About::Class => "class",
            About::Variable => "variable",
        }
    }
}

/// One statement that has to do with the word.
#[derive(Clone, Debug)]
pub struct Mention {
    /// What it has to do with it: `touches`, `reads`, `defines`, `asks`, `sets`, `uses`.
    pub relation: &'static str,
    /// Where it stands.
    pub pos: Pos,
    /// Its section.
    pub section: &'static str,
    /// Its class predicate.
    pub class: ClassExpr,
    /// Whether the predicate holds now.
    pub holds: bool,
    /// Its turn: the number of the first entry of the action sequence that carries it out, from 1. `None` where it has
    /// none, and where it needs none.
    pub turn: Option<usize>,
    /// What it does, in a line.
    pub does: String,
    /// Of what it has the last word now: `content`, `mode`, `owner`, `group`, `existence`.
    pub decides: Vec<&'static str>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What the word was taken for.
    pub about: About,
    /// The word.
    pub word: BString,
    /// What can be said of it as a whole, a line each.
    pub facts: Vec<String>,
    /// The statements: those that act in the order in which they do.
    pub mentions: Vec<Mention>,
    /// Whether the policy or the machine knows it at all.
    pub known: bool,
}

/// Explains a word by a program that was read with [`super::Options::keep_text`].
pub fn explain(program: &Program, word: &BStr) -> Explained {
    if word.starts_with(b"/") {
        return paths::explain(program, word);
    }
    let inner = word
        .strip_prefix(b"$(")
        .and_then(|rest| rest.strip_suffix(b")"))
        .or_else(|| word.strip_prefix(b"${").and_then(|rest| rest.strip_suffix(b"}")));
    if let Some(name) = inner {
        return words::variable(program, name.into());
    }
    let class = words::class(program, word);
    if class.known {
        return class;
    }
    let variable = words::variable(program, word);
    if variable.known { variable } else { class }
}

/// The action sequence: how many entries, and the first that gives a section its turn and whose class holds.
fn turn(program: &Program, section: super::Section) -> Option<usize> {
    let words = super::lint::words(section);
    let fits = |entry: &super::SequenceEntry| {
        let text = program.context.expand(entry.text.as_ref());
        let word = text.split(|byte| *byte == b'.').next().unwrap_or_default().to_vec();
        words.iter().any(|known| word == known.as_bytes()) && program.context.holds(&entry.class)
    };
    program.sequence.iter().position(fits).map(|at| at + 1)
}
