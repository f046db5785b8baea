//! The runner is tested too: a case that cannot fail, or says what nobody reads, is refused.

use libtest_mimic::{Failed, Trial};

use crate::bench;
use crate::parse::parse;

const HEAD: &str = "== a case\nref: 14.8\npolicy:\n  control:\n    actionsequence = ( shellcommands )\n  shellcommands:\n    \"/bin/echo hello\"\ntree:\n  file a 640 \"x\\n\"\n  link l -> a\n";
const HELLO: &str = "run:\n  cfengine:HOST:/bin/echo hello: hello\n";

fn trial(name: &str, test: fn() -> Result<(), String>) -> Trial {
    Trial::test(format!("runner: {name}"), move || test().map_err(Failed::from))
}

/// What is wrong with a text that is refused.
fn refused(text: &str, why: &str) -> Result<(), String> {
    let (_, wrong) = parse(text);
    match wrong.iter().any(|fault| fault.contains(why)) {
        true => Ok(()),
        false => Err(format!("expected '{why}', got {wrong:?} for:\n{text}")),
    }
}

/// A case that is well formed and fails for that reason; an empty reason: holds.
fn judged(text: &str, why: &str) -> Result<(), String> {
    let (cases, wrong) = parse(text);
    if !wrong.is_empty() || cases.len() != 1 {
        return Err(format!("{wrong:?} for:\n{text}"));
    }
    match bench::judge(&cases[0]) {
        Ok(()) if why.is_empty() => Ok(()),
        Err(report) if !why.is_empty() && report.contains(why) => Ok(()),
        other => Err(format!("expected '{why}', got {other:?} for:\n{text}")),
    }
}

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a case without an assertion is refused", || {
            refused(&format!("{HEAD}run:\n  ...\n"), "nothing is asserted")?;
            refused(HEAD, "nothing is asserted")
        }),
        trial("a case that cites nothing is refused", || {
            refused(&format!("== a case\npolicy:\n  x\n{HELLO}"), "no ref:")
        }),
        trial("unknown directives, operations and misplaced lines are refused", || {
            refused(
                &format!("{HEAD}{HELLO}lift:\n  file a\n"),
                "line 13: unknown directive lift",
            )?;
            refused(&format!("{HEAD}{HELLO}left:\n  fill a\n"), "line 14: unknown: fill a")?;
            refused(&format!("{HEAD}{HELLO}left:\n  remove a\n"), "unknown: remove a")?;
            refused(&format!("{HEAD}  file b 9\n{HELLO}"), "neither a mode")?;
            refused(&format!("{HEAD}left:\n  file a\n"), "left stands behind a run")?;
            refused("ref: 14\n", "no case was begun")?;
            refused(&format!("{HEAD}{HELLO}exit: one\n"), "exit: wants a number")
        }),
        trial("a name is given once", || {
            refused(&format!("{HEAD}{HELLO}{HEAD}{HELLO}"), "the name is taken")
        }),
        trial("what is as expected holds", || {
            let left = "left exactly:\n  file a 640 \"x\\n\" age=1\n  link l -> a\n  untouched a\n  gone b\n";
            judged(&format!("{HEAD}{HELLO}{left}never:\n  goodbye\n"), "")?;
            judged(&format!("{HEAD}run:\n  ...\n  [..]: hel[..]\n"), "")
        }),
        trial("output that differs is shown line by line", || {
            judged(&format!("{HEAD}run:\n"), "1 + cfengine:HOST:/bin/echo hello: hello")?;
            judged(&format!("{HEAD}{HELLO}  more\n"), "more")?;
            judged(&format!("{HEAD}{HELLO}error: more\n"), "standard error")?;
            judged(&format!("{HEAD}{HELLO}exit: 1\n"), "expected exit status 1")?;
            judged(&format!("{HEAD}{HELLO}never: hello\n"), "never to be said")
        }),
        trial("every property of an object is compared", || {
            for (line, why) in [
                ("file a 644", "expected mode 644, got 640"),
                ("file a \"y\\n\"", "content"),
                ("file a age=3", "expected age=3"),
                ("file a owner=7", "expected owner=7"),
                ("file a size=3", "expected size=3, got 2"),
                ("dir a", "expected a dir, got a file"),
                ("file b", "is not there"),
                ("gone a", "is still there"),
                ("link l -> b", "expected -> b, got -> a"),
                ("hard a -> l", "is not that very file"),
            ] {
                judged(&format!("{HEAD}{HELLO}left:\n  {line}\n"), why)?;
            }
            judged(
                &format!("{HEAD}{HELLO}left exactly:\n  file a\n"),
                "not expected: link l -> a",
            )
        }),
        trial("a touched file is noticed", || {
            let head = HEAD.replace("/bin/echo hello", "/usr/bin/touch @T@/a");
            judged(&format!("{head}run:\nleft:\n  untouched a\n"), "was touched")
        }),
        trial("helpers are known to live or to have ended", || {
            let head = format!("{HEAD}process p: exec sleep 30\nprocess q: true\n{HELLO}");
            judged(&format!("{head}alive: p\ndead: q\n"), "")?;
            judged(&format!("{head}dead: p\n"), "helper p still runs")?;
            judged(&format!("{head}alive: q\n"), "helper q has ended")
        }),
        trial("a change between two runs and places under the prefix are done", || {
            let change = "change:\n  remove l\n  append a \"y\\n\"\n  mode a 600\n  file /etc/new \"@T@\"\n";
            let left = "left exactly:\n  file a 600 \"x\\ny\\n\"\n  file /etc/new \"@T@\"\n";
            judged(&format!("{HEAD}{HELLO}{change}{HELLO}{left}"), "")
        }),
    ]
}
