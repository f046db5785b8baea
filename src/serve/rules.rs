//! Host patterns, admit and deny rules, and the decision about a path (cfengine2.md 19). Pure.
//!
//! The first admit rule in file order that covers a path decides; deny rules can take it back, by whole components (Q21).
//! Nothing is granted by a rule that cannot be evaluated: a host without a confirmed name matches no name in an admit
//! rule and every name in a deny rule.

use std::fmt;
use std::net::IpAddr;

use bstr::{BStr, BString, ByteSlice};

use crate::hosts::AddrRange;

/// Who is at the other end, as far as rules ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address, never an IPv4 address mapped into IPv6.
    pub address: IpAddr,
    /// Confirmed names in lower case.
    pub names: Vec<String>,
}

/// One word of a host list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*` or `any`.
    Any,
    /// Addresses.
    Range(AddrRange),
    /// A host name, perhaps with wildcards; lower case.
    Name(String),
}

/// A word that is no host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither a host name, nor a domain such as *.example.org, nor a range of addresses")]
pub struct NoPattern(pub String);

impl Pattern {
    /// Reads the words of one member: it is split at commas, and at the list separator where that leaves IPv6 addresses
    /// alone (VAR-06). A name without a dot is meant in `domain` too.
    pub fn parse(word: &BStr, separator: u8, domain: Option<&str>) -> Result<Vec<Pattern>, NoPattern> {
        let mut patterns = Vec::new();
        for piece in word.split(|b| *b == b',' || b.is_ascii_whitespace()) {
            let address = piece.to_str().ok().and_then(|text| text.parse::<AddrRange>().ok());
            match address {
                Some(range) => patterns.push(Pattern::Range(range)),
                None => {
                    for part in piece.split(|b| *b == separator).filter(|part| !part.is_empty()) {
                        one(part, domain, &mut patterns)?;
                    }
                }
            }
        }
        Ok(patterns)
    }

    fn matches(&self, peer: &Peer, nameless: bool) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Range(range) => range.contains(peer.address),
            Pattern::Name(_) if peer.names.is_empty() => nameless,
            Pattern::Name(pattern) => peer
                .names
                .iter()
                .any(|name| crate::fsx::matches(pattern.as_bytes(), name.as_bytes())),
        }
    }
}

fn one(part: &[u8], domain: Option<&str>, patterns: &mut Vec<Pattern>) -> Result<(), NoPattern> {
    let text = part.to_str_lossy().to_ascii_lowercase();
    let wrong = || NoPattern(part.to_str_lossy().into_owned());
    if text == "*" || text == "any" {
        patterns.push(Pattern::Any);
    } else if AddrRange::looks_like(text.trim_end_matches(".*")) {
        // `10.1.*` means the addresses: a name pattern would also match 10.1.evil.example, which its owner can confirm.
        patterns.push(Pattern::Range(
            text.trim_end_matches(".*").parse().map_err(|_| wrong())?,
        ));
    } else if !text.contains(|c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_'))
        && text.contains(|c: char| c.is_ascii_digit())
    {
        return Err(wrong());
    } else if text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?'))
    {
        if let Some(domain) = domain.filter(|_| !text.contains(['.', '*', '?'])) {
            patterns.push(Pattern::Name(format!("{text}.{}", domain.to_ascii_lowercase())));
        }
        patterns.push(Pattern::Name(text));
    } else {
        return Err(wrong());
    }
    Ok(())
}

/// Whether one of the patterns grants something to a peer.
pub fn grants(patterns: &[Pattern], peer: &Peer) -> bool {
    patterns.iter().any(|pattern| pattern.matches(peer, false))
}

/// Whether one of the patterns takes something from a peer; a peer without a name may be the one that is named.
pub fn denies(patterns: &[Pattern], peer: &Peer) -> bool {
    patterns.iter().any(|pattern| pattern.matches(peer, true))
}

/// Whether names are needed to decide.
pub fn names_needed(patterns: &[Pattern]) -> bool {
    patterns.iter().any(|pattern| matches!(pattern, Pattern::Name(_)))
}

/// An admit or deny rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The file or directory, absolute.
    pub path: BString,
    /// For whom.
    pub hosts: Vec<Pattern>,
    /// `root=`: whose root may read files that belong to others.
    pub root: Vec<Pattern>,
    /// Where it stands, for the log.
    pub place: String,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `admit:` and `grant:`, in file order.
    pub admit: Vec<Rule>,
    /// `deny:`, in file order.
    pub deny: Vec<Rule>,
}

/// Where the paths of the rules really are: links on the way to them resolved. Looked up once for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reals {
    admit: Vec<BString>,
    deny: Vec<BString>,
}

/// What was decided about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It may be read.
    Granted {
        /// The path of the rule, really.
        base: &'a BStr,
        /// The client's root may read files that belong to others.
        root: bool,
    },
    /// No admit rule covers it.
    NotAdmitted,
    /// The first rule that covers it does not name the host.
    OtherHosts(&'a Rule),
    /// A deny rule takes it back.
    Denied(&'a Rule),
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Granted { base, .. } => write!(f, "granted by the admit rule for {base}"),
            Decision::NotAdmitted => f.write_str("no admit rule covers it"),
            Decision::OtherHosts(rule) => {
                write!(
                    f,
                    "the admit rule for {} at {} does not name this host",
                    rule.path, rule.place
                )
            }
            Decision::Denied(rule) => write!(f, "the deny rule for {} at {} takes it back", rule.path, rule.place),
        }
    }
}

impl Access {
    /// Looks up where the paths of the rules are now.
    pub fn reals(&self) -> Reals {
        let real = |rule: &Rule| real(rule.path.as_ref());
        Reals {
            admit: self.admit.iter().map(real).collect(),
            deny: self.deny.iter().map(real).collect(),
        }
    }

    /// Whether a peer may read a path.
    pub fn decide<'a>(&'a self, reals: &'a Reals, path: &BStr, peer: &Peer) -> Decision<'a> {
        let covering = |rule: &'a Rule, real: Option<&'a BString>| {
            let real = real.unwrap_or(&rule.path);
            [real, &rule.path]
                .into_iter()
                .find(|base| covers(base.as_ref(), path))
                .map(|base| base.as_bstr())
        };
        let mut first = None;
        for (i, rule) in self.admit.iter().enumerate() {
            if let Some(base) = covering(rule, reals.admit.get(i)) {
                first = Some((rule, base));
                break;
            }
        }
        let Some((rule, base)) = first else {
            return Decision::NotAdmitted;
        };
        if !grants(&rule.hosts, peer) {
            return Decision::OtherHosts(rule);
        }
        for (i, deny) in self.deny.iter().enumerate() {
            if covering(deny, reals.deny.get(i)).is_some() && denies(&deny.hosts, peer) {
                return Decision::Denied(deny);
            }
        }
        Decision::Granted {
            base,
            root: grants(&rule.root, peer),
        }
    }

    /// Where the same is decided about a whole tree, because no rule that counts for the peer begins inside it: whether
    /// the peer's root may read files that belong to others. `None`: each path must be decided, or it is not granted.
    pub fn throughout(&self, reals: &Reals, top: &BStr, peer: &Peer) -> Option<bool> {
        let Decision::Granted { root, .. } = self.decide(reals, top, peer) else {
            return None;
        };
        let touches = |rule: &Rule, real: Option<&BString>, outside_too: bool| {
            [real.unwrap_or(&rule.path), &rule.path]
                .into_iter()
                .any(|base| covers(top, base.as_ref()) || outside_too && covers(base.as_ref(), top))
        };
        let deciding = |(i, rule): &(usize, &Rule)| {
            let real = reals.admit.get(*i).unwrap_or(&rule.path);
            covers(real.as_ref(), top) || covers(rule.path.as_ref(), top)
        };
        // Rules before the one that decides about the top come first inside, too.
        let before = self.admit.iter().enumerate().take_while(|pair| !deciding(pair));
        let mut inside = before.map(|(i, rule)| touches(rule, reals.admit.get(i), false));
        let mut denied = self.deny.iter().enumerate();
        let whole = !inside.any(|touches| touches)
            && !denied.any(|(i, deny)| touches(deny, reals.deny.get(i), true) && denies(&deny.hosts, peer));
        whole.then_some(root)
    }

    /// Whether any rule asks for names.
    pub fn names_needed(&self) -> bool {
        self.admit
            .iter()
            .chain(&self.deny)
            .any(|rule| names_needed(&rule.hosts) || names_needed(&rule.root))
    }
}

/// Where a path is, links resolved; of one that is not there yet, the part that is. So a rule for a path that is made only
/// now, below a link, covers it from the start.
fn real(path: &BStr) -> BString {
    let mut there = path.len();
    loop {
        let (head, rest) = path.split_at(there);
        if let Ok(found) = std::fs::canonicalize(if head.is_empty() { b"/" } else { head }.to_path_lossy()) {
            let mut whole = BString::from(found.into_os_string().into_encoded_bytes());
            if whole == "/" && !rest.is_empty() {
                whole.clear();
            }
            whole.extend_from_slice(rest);
            return whole;
        }
        match head.rfind_byte(b'/') {
            Some(at) if !head.is_empty() => there = at,
            _ => return path.to_owned(),
        }
    }
}

/// Whether a path is the base or below it, by whole components.
pub fn covers(base: &BStr, path: &BStr) -> bool {
    let base = base.strip_suffix(b"/").unwrap_or(base);
    match path.strip_prefix(base) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, names: &[&str]) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            names: names.iter().map(ToString::to_string).collect(),
        }
    }

    fn list(word: &str) -> Vec<Pattern> {
        Pattern::parse(word.into(), b':', Some("example.org")).unwrap()
    }

    fn rule(path: &str, hosts: &str) -> Rule {
        Rule {
            path: path.into(),
            hosts: list(hosts),
            root: Vec::new(),
            place: "cfservd.conf:1".into(),
        }
    }

    fn granted(access: &Access, path: &str, peer: &Peer) -> bool {
        matches!(
            access.decide(&Reals::default(), path.into(), peer),
            Decision::Granted { .. }
        )
    }

    #[test]
    fn the_comma_list_of_the_manual_is_split_into_its_domains_var_06() {
        let patterns = list("*.abc.xyz.com,*.cde.xyz.com");
        assert!(grants(&patterns, &peer("10.0.0.1", &["h.cde.xyz.com"])));
        assert!(grants(&patterns, &peer("10.0.0.1", &["a.b.abc.xyz.com"])));
        assert!(!grants(&patterns, &peer("10.0.0.1", &["abc.xyz.com"])));
        assert!(!grants(&patterns, &peer("10.0.0.1", &["h.abc.xyz.com.evil.net"])));
    }

    #[test]
    fn members_are_split_at_the_separator_but_ipv6_addresses_are_not() {
        let patterns = list("10.1.:web1,2001:db8::1,fe80::/10");
        for (address, names, expected) in [
            ("10.1.9.9", &[][..], true),
            ("192.0.2.1", &["web1.example.org"], true),
            ("192.0.2.1", &["web1"], true),
            ("192.0.2.1", &["web1.evil.net"], false),
            ("2001:db8::1", &[], true),
            ("fe80::9", &[], true),
            ("2001:db8::2", &[], false),
        ] {
            assert_eq!(
                grants(&patterns, &peer(address, names)),
                expected,
                "{address} {names:?}"
            );
        }
    }

    #[test]
    fn a_star_behind_numbers_stands_for_addresses_and_never_for_a_name() {
        let patterns = list("10.1.*");
        assert!(grants(&patterns, &peer("10.1.2.3", &[])));
        assert!(!grants(&patterns, &peer("192.0.2.1", &["10.1.evil.example"])));
        assert!(grants(&list("10.1.*.*"), &peer("10.1.2.3", &[])));
    }

    #[test]
    fn a_tree_is_decided_as_a_whole_only_where_each_path_in_it_would_be_decided_alike() {
        let me = peer("10.0.0.1", &[]);
        let access = |admit: &[(&str, &str)], deny: &[(&str, &str)]| Access {
            admit: admit.iter().map(|(path, hosts)| rule(path, hosts)).collect(),
            deny: deny.iter().map(|(path, hosts)| rule(path, hosts)).collect(),
        };
        let whole = |access: &Access, top: &str| access.throughout(&Reals::default(), top.into(), &me);
        let plain = access(&[("/srv", "10.0.0.1")], &[]);
        assert_eq!(whole(&plain, "/srv"), Some(false));
        assert_eq!(whole(&plain, "/srv/a/b"), Some(false));
        assert_eq!(whole(&plain, "/"), None);
        assert_eq!(whole(&plain, "/other"), None);
        assert_eq!(whole(&access(&[("/srv", "10.0.0.2")], &[]), "/srv"), None);
        // A rule that stands first and begins inside decides there.
        let inner = access(&[("/srv/a", "10.0.0.2"), ("/srv", "10.0.0.1")], &[]);
        assert_eq!(whole(&inner, "/srv"), None);
        assert_eq!(whole(&inner, "/srv/b"), Some(false));
        let later = access(&[("/srv", "10.0.0.1"), ("/srv/a", "10.0.0.2")], &[]);
        assert_eq!(whole(&later, "/srv"), Some(false));
        for (deny, hosts, expected) in [
            ("/srv/a", "10.0.0.1", None),
            ("/srv/a", "10.0.0.2", Some(false)),
            ("/srv/ab", "10.0.0.1", Some(false)),
            ("/srv/a/b/c", "name.example.org", None),
        ] {
            let denied = access(&[("/srv", "10.0.0.1")], &[(deny, hosts)]);
            assert_eq!(
                whole(&denied, if deny == "/srv/ab" { "/srv/a" } else { "/srv" }),
                expected,
                "{deny}"
            );
        }
        // Where the rule for the inside really is.
        let reals = Reals {
            admit: vec!["/srv".into()],
            deny: vec!["/srv/real".into()],
        };
        let denied = access(&[("/srv", "10.0.0.1")], &[("/elsewhere", "10.0.0.1")]);
        assert_eq!(denied.throughout(&reals, "/srv".into(), &me), None);
        let mut rooted = plain;
        rooted.admit[0].root = list("10.0.0.1");
        assert_eq!(whole(&rooted, "/srv"), Some(true));
    }

    #[test]
    fn what_is_no_pattern_is_an_error_not_nothing() {
        for word in [
            "10.1.0.0/99",
            "300.1.1.1",
            "a b/c",
            "$(domain_list)",
            "10.*.3.4",
            "10.1.?",
        ] {
            assert!(Pattern::parse(word.into(), b':', None).is_err(), "{word}");
        }
    }

    #[test]
    fn the_first_admit_rule_that_covers_a_path_decides() {
        let access = Access {
            admit: vec![rule("/srv/secret", "10.0.0.1"), rule("/srv", "10.0.0.")],
            deny: Vec::new(),
        };
        let (one, two) = (peer("10.0.0.1", &[]), peer("10.0.0.2", &[]));
        assert!(granted(&access, "/srv/secret/x", &one));
        assert!(!granted(&access, "/srv/secret/x", &two));
        assert!(!granted(&access, "/srv/secret", &two));
        assert!(granted(&access, "/srv/secretary", &two));
        assert!(granted(&access, "/srv", &two));
        assert!(!granted(&access, "/srvx", &two));
        assert!(!granted(&access, "/", &two));
        assert!(!granted(&access, "/srv", &peer("10.0.1.2", &[])));
    }

    #[test]
    fn deny_takes_back_whole_components_q21() {
        let access = Access {
            admit: vec![rule("/etc", "*")],
            deny: vec![rule("/etc/s", "*"), rule("/etc/ssh", "*.evil.net")],
        };
        let good = peer("10.0.0.1", &["h.example.org"]);
        assert!(granted(&access, "/etc/ssh/config", &good));
        assert!(!granted(&access, "/etc/s/x", &good));
        assert!(!granted(&access, "/etc/ssh", &peer("10.0.0.1", &["h.evil.net"])));
        // A host whose name nobody knows may be the one that is denied.
        assert!(!granted(&access, "/etc/ssh", &peer("10.0.0.1", &[])));
    }

    #[test]
    fn a_host_without_a_name_gets_nothing_by_name() {
        assert!(!grants(&list("*.example.org,web1"), &peer("10.0.0.1", &[])));
        assert!(grants(&list("*"), &peer("10.0.0.1", &[])));
    }

    #[test]
    fn a_rule_may_name_a_link_and_covers_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("v2")).unwrap();
        std::os::unix::fs::symlink("v2", real.join("current")).unwrap();
        let at = |name: &str| real.join(name).to_str().unwrap().to_string();
        let access = Access {
            admit: vec![rule(&at("current"), "*")],
            deny: Vec::new(),
        };
        let reals = access.reals();
        let peer = peer("10.0.0.1", &[]);
        for (path, yes) in [("current/f", true), ("v2/f", true), ("v3/f", false)] {
            let decision = access.decide(&reals, at(path).as_str().into(), &peer);
            assert_eq!(matches!(decision, Decision::Granted { .. }), yes, "{path}");
        }
        // What is denied below the link is denied where it is, also before it is there.
        let access = Access {
            deny: vec![rule(&at("current/not/yet"), "*")],
            ..access
        };
        let reals = access.reals();
        let decision = access.decide(&reals, at("v2/not/yet/x").as_str().into(), &peer);
        assert!(matches!(decision, Decision::Denied(_)), "{decision:?}");
    }
}
