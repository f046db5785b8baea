//! Access rules: admits that never decide, that are taken back, that open too much (cfengine2.md 19).

use bstr::{BStr, BString, ByteSlice};

use super::Lint;
use crate::policy::{Body, Rule, Section, satisfy};

/// What not everybody should read, and why.
static PRIVATE: &[(&str, &str)] = &[
    ("/", "all files of the server"),
    ("/etc", "passwords and keys of the server lie there"),
    ("/etc/shadow", "passwords"),
    ("/etc/ssh", "keys of the server"),
    ("/root", "the home of root"),
    ("/home", "all homes"),
    ("/var", "mail, spools and keys lie there"),
    ("/var/opt/dsau/cfengine/ppkeys", "keys of the server"),
    ("/var/cfengine/ppkeys", "keys of the server"),
    ("/var/lib/cfengine2/ppkeys", "keys of the server"),
];

/// One path of an access rule.
struct Entry<'a> {
    rule: &'a Rule,
    path: BString,
    hosts: Vec<BString>,
}

impl Entry<'_> {
    fn for_all(&self) -> bool {
        let all = ["*", "any", "0.0.0.0/0", "::/0", ".*"];
        self.hosts.iter().any(|host| all.iter().any(|word| host == word))
    }
}

pub(super) fn check(lint: &mut Lint<'_>) {
    let admits = entries(lint, Section::Admit);
    let denies = entries(lint, Section::Deny);
    let mut found = Vec::new();
    for (at, admit) in admits.iter().enumerate() {
        let shadow = admits[..at].iter().find(|earlier| {
            covers(earlier.path.as_bstr(), admit.path.as_bstr())
                && satisfy::implies(&admit.rule.class, &earlier.rule.class)
        });
        if let Some(earlier) = shadow.filter(|earlier| earlier.rule.pos != admit.rule.pos) {
            let message = format!(
                "admit of {} never decides: the first that covers the path does, {} at {}",
                admit.path, earlier.path, earlier.rule.pos
            );
            let hint = match earlier.path == admit.path {
                true => "name all hosts in one rule",
                false => "put the longer path first",
            };
            found.push(("shadowed-admit", admit, message, hint));
            continue;
        }
        let denied = denies.iter().find(|deny| {
            let hosts =
                deny.for_all() || (!admit.hosts.is_empty() && admit.hosts.iter().all(|host| deny.hosts.contains(host)));
            hosts
                && covers(deny.path.as_bstr(), admit.path.as_bstr())
                && satisfy::implies(&admit.rule.class, &deny.rule.class)
        });
        if let Some(deny) = denied {
            let message = format!(
                "admit of {} has no effect: deny of {} at {} takes it back",
                admit.path, deny.path, deny.rule.pos
            );
            found.push((
                "denied-admit",
                admit,
                message,
                "deny wins over admit, wherever it stands",
            ));
            continue;
        }
        let private = PRIVATE.iter().find(|(path, _)| admit.path == *path);
        let keys = admit.path.ends_with(b"/ppkeys") || admit.path.ends_with(b"localhost.priv");
        let why = private.map(|(_, why)| *why).or(keys.then_some("keys of the server"));
        if let Some(why) = why.filter(|_| admit.for_all()) {
            let message = format!("everybody may read {}: {why}", admit.path);
            found.push((
                "open-admit",
                admit,
                message,
                "name the hosts, or admit only what they need",
            ));
        }
    }
    let found: Vec<_> = found
        .into_iter()
        .map(|(check, entry, message, hint)| (check, entry.rule.pos.clone(), message, hint))
        .collect();
    for (check, pos, message, hint) in found {
        lint.warn(check, &pos, message, hint);
    }
}

fn entries<'a>(lint: &Lint<'a>, section: Section) -> Vec<Entry<'a>> {
    let context = &lint.program.context;
    let split = |text: BString| -> Vec<BString> {
        let words = text.split(|byte| *byte == b',' || byte.is_ascii_whitespace());
        words
            .filter(|word| !word.is_empty())
            .map(|word| word.to_ascii_lowercase().into())
            .collect()
    };
    let rules = lint.program.section(section);
    rules
        .flat_map(|rule| {
            let mut hosts = Vec::new();
            if let Body::Members(members) = &rule.body {
                for (word, _) in members {
                    hosts.extend(context.iterate(word.as_bstr()).into_iter().take(1000).flat_map(split));
                }
            }
            let paths = context.iterate(rule.promiser.as_bstr()).into_iter().take(1000);
            paths.map(move |path| Entry {
                rule,
                path: trimmed(&path),
                hosts: hosts.clone(),
            })
        })
        .collect()
}

fn trimmed(path: &BString) -> BString {
    match path.trim_end_with(|c| c == '/') {
        b"" => "/".into(),
        path => path.into(),
    }
}

/// Whether a path is another or above it.
pub(in crate::policy) fn covers(above: &BStr, path: &BStr) -> bool {
    above == "/"
        || path
            .strip_prefix(above.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
