//! Classes and variables of a run; expansion of `$(name)` and iteration over lists (cfengine2.md 9, 10).

use bstr::{BStr, BString};

use super::ClassExpr;

/// Everything a run knows: defined and negated classes, variables of the contexts `global`, `update`, `main`.
#[derive(Clone, Debug, Default)]
pub struct Context {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Context {
    /// Defines a class (already canonified names only are true in expressions; other characters become `_`).
    pub fn define(&mut self, class: impl AsRef<[u8]>) {
        todo!()
    }

    /// Takes a class back.
    pub fn undefine(&mut self, class: impl AsRef<[u8]>) {
        todo!()
    }

    /// `-N`: false even if set.
    pub fn negate(&mut self, class: impl AsRef<[u8]>) {
        todo!()
    }

    /// Whether a single class is true.
    pub fn has(&self, class: impl AsRef<[u8]>) -> bool {
        todo!()
    }

    /// Whether a predicate holds now.
    pub fn holds(&self, expr: &ClassExpr) -> bool {
        todo!()
    }

    /// All true classes, sorted.
    pub fn classes(&self) -> Vec<BString> {
        todo!()
    }

    /// Sets a variable; the name may carry a context (`global.x`), otherwise the current one is meant.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<BString>) {
        todo!()
    }

    /// A variable's value. Names of the language (section 12) are found in any case.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<BString> {
        todo!()
    }

    /// Expands every known variable; unknown ones stay as text.
    pub fn expand(&self, text: &BStr) -> BString {
        todo!()
    }

    /// Expands and iterates: the full product of all list variables in the text, left one slowest (quirk Q1).
    pub fn iterate(&self, text: &BStr) -> Vec<BString> {
        todo!()
    }
}
