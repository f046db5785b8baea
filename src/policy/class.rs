//! Class expressions (cfengine2.md 9.1): `!` binds tightest, then `.` and `&`, then `|`, with parentheses.

use bstr::BString;

/// A class predicate, kept as written and as parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassExpr {
    text: BString,
}

impl ClassExpr {
    /// The predicate that is always true.
    pub fn any() -> Self {
        ClassExpr { text: "any".into() }
    }

    /// The predicate as written, without the `::`.
    pub fn text(&self) -> &bstr::BStr {
        self.text.as_ref()
    }
}
