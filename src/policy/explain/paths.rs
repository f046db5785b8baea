//! The rules that touch an object.

use bstr::{BStr, BString, ByteSlice};

use super::reach::{Reach, depth, left_out, matches, reach};
use super::{About, Explained, Mention, turn};
use crate::policy::{Body, EditCommand, Program, Rule, Section, names, uses};

/// Objects of one rule that are looked at.
const MOST_OBJECTS: usize = 10_000;

/// What a rule does to an object.
struct Deed {
    relation: &'static str,
    does: String,
    /// What it decides about the object.
    decides: Vec<&'static str>,
}

fn touches(does: String, decides: Vec<&'static str>) -> Option<Deed> {
    let relation = "touches";
    Some(Deed {
        relation,
        does,
        decides,
    })
}

fn reads(does: String) -> Option<Deed> {
    Some(Deed {
        relation: "reads",
        does,
        decides: Vec::new(),
    })
}

pub(super) fn explain(program: &Program, path: &BStr) -> Explained {
    let path = match path.trim_end_with(|c| c == '/') {
        b"" => b"/".as_bstr(),
        trimmed => trimmed.as_bstr(),
    };
    let mut found: Vec<(usize, &Rule, Mention)> = Vec::new();
    for (number, rule) in program.rules.iter().enumerate() {
        let Some(deed) = deed(program, rule, path) else {
            continue;
        };
        let mention = Mention {
            relation: deed.relation,
            pos: rule.pos.clone(),
            section: rule.section.name(),
            class: rule.class.clone(),
            holds: program.context.holds(&rule.class),
            turn: turn(program, rule.section),
            does: deed.does,
            decides: deed.decides,
        };
        found.push((number, rule, mention));
    }
    // The order of a run: by entry, links of children before single ones, then the order of the text.
    let single = |rule: &Rule| u8::from(matches!(rule.body, Body::Link { children: false, .. }));
    found.sort_by_key(|(number, rule, mention)| (mention.turn.unwrap_or(usize::MAX), single(rule), *number));
    let mut mentions: Vec<Mention> = found.into_iter().map(|(.., mention)| mention).collect();
    let mut facts = last_words(&mut mentions);
    facts.extend(autodefined(program, path));
    if let Some(text) = access(program, path) {
        facts.push(text);
    }
    Explained {
        about: About::Path,
        word: path.into(),
        known: !mentions.is_empty(),
        facts,
        mentions,
    }
}

/// Leaves in each mention only what it has the last word about, and says where several rules have a word.
fn last_words(mentions: &mut [Mention]) -> Vec<String> {
    let mut facts = Vec::new();
    for aspect in ["existence", "content", "mode", "owner", "group"] {
        let acting: Vec<usize> = (0..mentions.len())
            .filter(|at| mentions[*at].decides.contains(&aspect))
            .collect();
        let live: Vec<usize> = acting
            .iter()
            .copied()
            .filter(|at| mentions[*at].holds && mentions[*at].turn.is_some())
            .collect();
        for at in &acting {
            if Some(at) != live.last() {
                mentions[*at].decides.retain(|known| *known != aspect);
            }
        }
        if let [.., before, last] = live.as_slice() {
            let (before, last) = (&mentions[*before], &mentions[*last]);
            facts.push(format!(
                "{aspect}: {} at {} has the last word, after {} at {}",
                last.section, last.pos, before.section, before.pos
            ));
        }
    }
    facts
}

fn autodefined(program: &Program, path: &BStr) -> Vec<String> {
    let bound = program.context.bound("autodefine");
    let fits = bound
        .into_iter()
        .filter(|(_, pattern)| matches(&program.context.expand(pattern.as_bstr()), path));
    fits.map(|(class, _)| format!("autodefine: a copy to it sets the class {} first", class.text()))
        .collect()
}

/// The first admit that covers it decides.
fn access(program: &Program, path: &BStr) -> Option<String> {
    let covers = |rule: &&Rule| {
        let paths = program.context.iterate(rule.promiser.as_bstr());
        program.context.holds(&rule.class)
            && paths
                .iter()
                .any(|above| matches!(reach(above, path), Some(Reach::Named | Reach::Below(_))))
    };
    let rule = program.section(Section::Admit).find(covers)?;
    Some(format!(
        "access: the first admit that covers it decides, {} at {}",
        rule.promiser, rule.pos
    ))
}

/// The attributes of a rule that matter for the object, expanded.
fn attributes(program: &Program, rule: &Rule, leave: &[&str]) -> String {
    let mut text = String::new();
    for attr in rule.attrs.0.iter().filter(|attr| !leave.contains(&attr.name)) {
        let value = program.context.expand(attr.value.as_bstr());
        text.push_str(&format!(" {}={value}", attr.name));
    }
    text
}

/// What of the permissions a rule decides.
fn permissions(rule: &Rule) -> Vec<&'static str> {
    ["mode", "owner", "group"]
        .into_iter()
        .filter(|name| rule.attrs.get(name).is_some())
        .collect()
}

fn deed(program: &Program, rule: &Rule, path: &BStr) -> Option<Deed> {
    let context = &program.context;
    let objects = || context.iterate(rule.promiser.as_bstr()).into_iter().take(MOST_OBJECTS);
    match rule.section {
        Section::Copy => copy(program, rule, path),
        Section::Files => {
            let reached = objects().find_map(|object| swept(program, rule, &object, path, depth(program, rule)))?;
            let mut decides = permissions(rule);
            let action = rule
                .attrs
                .get("action")
                .map(|attr| attr.value.to_ascii_lowercase())
                .unwrap_or_default();
            if action == b"touch" || action == b"create" {
                decides.push("existence");
            }
            if !action.starts_with(b"fix") && action != b"touch" && action != b"create" {
                decides.clear();
            }
            touches(
                format!("checks it{reached}:{}", attributes(program, rule, &[])),
                decides,
            )
        }
        Section::Tidy => {
            let levels = depth(program, rule).saturating_add(1);
            let reached = objects().find_map(|object| match reach(&object, path)? {
                Reach::Named => None,
                _ => swept(program, rule, &object, path, levels),
            })?;
            touches(
                format!("removes it{reached}:{}", attributes(program, rule, &[])),
                vec!["existence"],
            )
        }
        Section::Directories => {
            let mut decides = permissions(rule);
            decides.push("existence");
            objects().find_map(|object| match reach(&object, path) {
                Some(Reach::Named) => touches(
                    format!("makes the directory:{}", attributes(program, rule, &[])),
                    decides.clone(),
                ),
                _ if path != "/" && matches!(reach(&path.into(), object.as_bstr()), Some(Reach::Below(_))) => {
                    touches(format!("makes it on the way to {object}"), Vec::new())
                }
                _ => None,
            })
        }
        Section::Disable => objects().find_map(|object| match reach(&object, path)? {
            Reach::Below(_) => None,
            _ => touches(
                format!("takes it away:{}", attributes(program, rule, &[])),
                vec!["existence"],
            ),
        }),
        Section::Links => link(program, rule, path),
        Section::EditFiles => edit(program, rule, path),
        Section::Disks => objects().find_map(|object| match reach(&object, path)? {
            Reach::Named => reads(format!("requires it:{}", attributes(program, rule, &[]))),
            _ => None,
        }),
        Section::Resolve if path == "/etc/resolv.conf" => touches(
            format!("names the server {}", context.expand(rule.promiser.as_bstr())),
            vec!["content"],
        ),
        Section::ShellCommands => objects()
            .find(|text| names_path(text, path))
            .and_then(|text| reads(format!("runs {}", uses::shown(&text)))),
        Section::Processes => match &rule.body {
            Body::Restart(command) => {
                let text = context.expand(command.as_bstr());
                names_path(&text, path)
                    .then(|| reads(format!("restarts with {}", uses::shown(&text))))
                    .flatten()
            }
            _ => None,
        },
        Section::Admit | Section::Deny => objects().find_map(|object| match reach(&object, path)? {
            Reach::Matched => None,
            _ => {
                let Body::Members(members) = &rule.body else {
                    return None;
                };
                let hosts: Vec<String> = members
                    .iter()
                    .map(|(word, _)| context.expand(word.as_bstr()).to_string())
                    .collect();
                let verb = if rule.section == Section::Admit {
                    "admits"
                } else {
                    "denies"
                };
                reads(format!("{verb} {}:{}", hosts.join(" "), attributes(program, rule, &[])))
            }
        }),
        _ => None,
    }
}

/// Whether a sweep from an object gets to the path within so many levels; gives how, for the message.
fn swept(program: &Program, rule: &Rule, object: &BString, path: &BStr, levels: usize) -> Option<String> {
    match reach(object, path)? {
        Reach::Named => Some(String::new()),
        Reach::Matched => Some(format!(" by the wildcard {object}")),
        Reach::Below(far) if far <= levels => {
            let out = left_out(program, rule, path, far);
            let out = out.map(|why| format!(", but {why}")).unwrap_or_default();
            Some(format!(" in the sweep of {object}{out}"))
        }
        Reach::Below(_) => None,
    }
}

fn copy(program: &Program, rule: &Rule, path: &BStr) -> Option<Deed> {
    let dest = rule
        .attrs
        .get("destination")
        .map(|attr| attr.value.as_bstr())
        .unwrap_or_default();
    let server = rule
        .attrs
        .get("server")
        .map(|attr| program.context.expand(attr.value.as_bstr()));
    let from = server
        .filter(|server| server != "localhost")
        .map(|server| format!("{server}:"))
        .unwrap_or_default();
    let levels = depth(program, rule);
    let pairs = program.context.iterate_tied(rule.promiser.as_bstr(), dest);
    pairs.into_iter().take(MOST_OBJECTS).find_map(|(source, dest)| {
        let rest = attributes(program, rule, &["destination", "server"]);
        if let Some(reached) = swept(program, rule, &dest, path, levels) {
            let mut decides = permissions(rule);
            decides.extend(["existence", "content"]);
            let out = reached.contains(", but ");
            if out {
                decides.clear();
            }
            return touches(format!("copies it from {from}{source}{reached}:{rest}"), decides);
        }
        let local = from
            .is_empty()
            .then(|| swept(program, rule, &source, path, levels))
            .flatten()?;
        reads(format!("copies it to {dest}{local}:{rest}"))
    })
}

fn link(program: &Program, rule: &Rule, path: &BStr) -> Option<Deed> {
    let Body::Link { to, children, .. } = &rule.body else {
        return None;
    };
    let from = program.context.expand(rule.promiser.as_bstr());
    let rest = attributes(program, rule, &[]);
    for to in program.context.iterate(to.as_bstr()).into_iter().take(MOST_OBJECTS) {
        match (children, reach(&from, path)) {
            (false, Some(Reach::Named)) => {
                return touches(format!("makes it a link to {to}:{rest}"), vec!["existence", "content"]);
            }
            (true, Some(Reach::Below(far))) if far <= depth(program, rule).saturating_add(1) => {
                return touches(
                    format!("makes it a link to the same name in {to}, where that is there:{rest}"),
                    vec!["existence", "content"],
                );
            }
            _ => {}
        }
        if reach(&to, path) == Some(Reach::Named) {
            return reads(format!("makes {from} a link to it:{rest}"));
        }
    }
    None
}

fn edit(program: &Program, rule: &Rule, path: &BStr) -> Option<Deed> {
    let Body::Edit(commands) = &rule.body else {
        return None;
    };
    let object = program.context.expand(rule.promiser.as_bstr());
    let value = |name: &str| {
        commands
            .iter()
            .find(|command| command.name == name)
            .map(|command| &command.arg)
    };
    let levels = value("Recurse").map_or(1, |text| {
        if text == "inf" {
            usize::MAX
        } else {
            text.to_str().ok().and_then(|t| t.parse().ok()).unwrap_or(1)
        }
    });
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let chosen = |what: &str| {
        commands
            .iter()
            .filter(|command| command.name == what)
            .any(|command| matches(&command.arg, name))
    };
    match reach(&object, path)? {
        Reach::Below(far) if far > levels || chosen("Exclude") || chosen("Ignore") => return None,
        Reach::Below(_) if value("Include").is_some() && !chosen("Include") => return None,
        // A rule for a plain file says nothing of what would be below it.
        Reach::Below(_) if value("Include").is_none() && value("Recurse").is_none() => return None,
        _ => {}
    }
    let does = |command: &&EditCommand| {
        format!("{} {}", command.name, uses::shown(&command.arg))
            .trim_end()
            .to_string()
    };
    let mut shown: Vec<String> = commands.iter().take(3).map(|command| does(&command)).collect();
    if commands.len() > 3 {
        shown.push(format!("and {} more", commands.len() - 3));
    }
    let mut decides = vec!["content"];
    if value("AutoCreate").is_some() {
        decides.push("existence");
    }
    touches(format!("edits it: {}", shown.join(", ")), decides)
}

/// Whether a command names the path as a word.
fn names_path(text: &BString, path: &BStr) -> bool {
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"_-./".contains(byte));
    path.len() > 1
        && text
            .find_iter(path)
            .any(|at| ends(text[..at].last()) && ends(text.get(at + path.len())))
        && names::character(path).is_none()
}
