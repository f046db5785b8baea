//! Whether class predicates can hold together on any machine at any time: all names are tried, true and false. A machine
//! is of one system, a moment is in one hour.

use bstr::BStr;

use super::ClassExpr;
use super::hard::{self, Shape};

/// More names than this are not tried: the answer is then that they may hold.
const MOST_NAMES: usize = 14;

/// Whether there is a machine and a moment where each of the predicates has the value beside it.
pub(super) fn possible(wanted: &[(&ClassExpr, bool)]) -> bool {
    let mut names: Vec<&BStr> = Vec::new();
    for name in wanted.iter().flat_map(|(expr, _)| expr.names()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // The fixed ones are not tried.
    let never = |name: &BStr| matches!(hard::shape(name), Shape::Never(_));
    let free: Vec<&BStr> = names
        .into_iter()
        .filter(|name| *name != "any" && !never(name))
        .collect();
    if free.len() > MOST_NAMES {
        return true;
    }
    let rivals: Vec<Option<&str>> = free.iter().map(|name| hard::rivals(name)).collect();
    (0u32..1 << free.len()).any(|bits| {
        let set = |at: usize| bits & (1 << at) != 0;
        let clash = (0..free.len()).any(|at| {
            set(at) && rivals[at].is_some() && (0..at).any(|other| set(other) && rivals[other] == rivals[at])
        });
        let known = |name: &BStr| name == "any" || free.iter().position(|free| *free == name).is_some_and(set);
        !clash && wanted.iter().all(|(expr, value)| expr.eval(&known) == *value)
    })
}

/// Whether both can hold at once.
pub(super) fn together(a: &ClassExpr, b: &ClassExpr) -> bool {
    (a.is_any() && b.is_any()) || possible(&[(a, true), (b, true)])
}

/// Whether the second holds wherever the first does.
pub(super) fn implies(a: &ClassExpr, b: &ClassExpr) -> bool {
    b.is_any() || a == b || !possible(&[(a, true), (b, false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(text: &str) -> ClassExpr {
        ClassExpr::parse(text).unwrap()
    }

    #[test]
    fn a_contradiction_can_never_hold() {
        for never in [
            "a.!a",
            "(a|b).!a.!b",
            "!any",
            "linux.hpux",
            "Monday.Tuesday",
            "a.Hr24",
            "Hr01&Hr02.x",
            "a..b",
        ] {
            assert!(!possible(&[(&expr(never), true)]), "{never}");
        }
        for fine in [
            "a",
            "!a",
            "a|!a",
            "linux|hpux",
            "!linux.!hpux",
            "Hr01.Hr01_Q2",
            "debian.ubuntu",
            "any",
        ] {
            assert!(possible(&[(&expr(fine), true)]), "{fine}");
        }
    }

    #[test]
    fn one_predicate_may_imply_another() {
        assert!(implies(&expr("a.b"), &expr("a")));
        assert!(implies(&expr("linux"), &expr("!hpux")));
        assert!(implies(&expr("a"), &expr("any")));
        assert!(!implies(&expr("a"), &expr("b")));
        assert!(!together(&expr("linux"), &expr("aix")));
        assert!(together(&expr("web"), &expr("db")));
    }

    #[test]
    fn a_predicate_of_very_many_names_is_left_alone() {
        let many: Vec<String> = (0..40).map(|number| format!("a{number}")).collect();
        assert!(possible(&[(&expr(&format!("{}.!a0", many.join("."))), true)]));
    }
}
