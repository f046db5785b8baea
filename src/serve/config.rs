//! What cfservd.conf says.

use std::collections::HashSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use super::rules::{Access, Pattern, Rule, names_needed};
use crate::policy::{self, Body, Context, PolicyError, Pos, Program, Section};
use crate::sync::Compress;
use crate::sys::process::split;

/// The settings of a server. The default admits nobody.
#[derive(Clone, Debug)]
pub struct Config {
    /// admit, grant and deny.
    pub access: Access,
    /// AllowConnectionsFrom: when given, no other address may connect.
    pub allow: Option<Vec<Pattern>>,
    /// DenyConnectionsFrom.
    pub deny: Vec<Pattern>,
    /// AllowMultipleConnectionsFrom: others get one connection at a time.
    pub multiple: Vec<Pattern>,
    /// TrustKeysFrom: an unknown key is accepted and stored.
    pub trust: Vec<Pattern>,
    /// DynamicAddresses: a known key may come from another address.
    pub dynamic: Vec<Pattern>,
    /// MaxConnections.
    pub max_connections: usize,
    /// AllowUsers: who may start the agent.
    pub users: Vec<String>,
    /// cfrunCommand, split at blanks.
    pub command: Vec<BString>,
    /// LogAllConnections.
    pub log_all: bool,
    /// LastSeen: remember who was here.
    pub last_seen: bool,
    /// BindToInterface.
    pub bind: Option<IpAddr>,
    /// DenyBadClocks: refuse a client whose clock is more than an hour off.
    pub deny_bad_clocks: bool,
    /// Compress: clients that want it get what they fetch packed.
    pub compress: bool,
    /// The classes that are true on this host, for cfrun.
    pub classes: HashSet<BString>,
    /// Additions to the environment of the agent.
    pub env: Vec<(OsString, OsString)>,
    /// What stands in front of the command that starts the agent: a program and its arguments, or nothing.
    pub launcher: Vec<BString>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            access: Access::default(),
            allow: None,
            deny: Vec::new(),
            multiple: Vec::new(),
            trust: Vec::new(),
            dynamic: Vec::new(),
            max_connections: 10,
            users: Vec::new(),
            command: Vec::new(),
            log_all: false,
            last_seen: true,
            bind: None,
            deny_bad_clocks: true,
            compress: true,
            classes: HashSet::new(),
            env: Vec::new(),
            launcher: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the settings out of a policy, and what is to be warned of. A word of a list that grants something matches
    /// nobody when it is not understood, with a warning; in a list that forbids something it is an error: it must not pass
    /// for a rule that is obeyed.
    pub fn from_program(program: &Program) -> Result<(Self, Vec<PolicyError>), Vec<PolicyError>> {
        let mut read = Reading {
            context: &program.context,
            top: Pos {
                file: Arc::from(
                    program
                        .files
                        .first()
                        .map_or("cfservd.conf", |f| f.to_str().unwrap_or("cfservd.conf")),
                ),
                line: 1,
                col: 1,
            },
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let config = Config {
            access: Access {
                admit: read.rules(program, Section::Admit),
                deny: read.rules(program, Section::Deny),
            },
            // A list that names nobody lets nobody in; only where there is none is everybody let in.
            allow: program
                .context
                .is_set("AllowConnectionsFrom")
                .then(|| read.hosts("AllowConnectionsFrom", List::Grants)),
            deny: read.hosts("DenyConnectionsFrom", List::Forbids),
            multiple: read.hosts("AllowMultipleConnectionsFrom", List::Grants),
            trust: read.hosts("TrustKeysFrom", List::Grants),
            dynamic: read.hosts("DynamicAddresses", List::Grants),
            max_connections: read.number("MaxConnections", 10),
            users: read.words("AllowUsers"),
            command: read.text("cfrunCommand").map(|text| split(&text)).unwrap_or_default(),
            log_all: read.switch("LogAllConnections", false),
            last_seen: read.switch("LastSeen", true),
            bind: read.address("BindToInterface"),
            deny_bad_clocks: read.switch("DenyBadClocks", true),
            compress: read.compress(),
            classes: program.context.classes().into_iter().collect(),
            env: Vec::new(),
            launcher: Vec::new(),
        };
        match read.errors.is_empty() {
            true => {
                read.warnings.sort_by(|a, b| a.pos.cmp(&b.pos));
                Ok((config, read.warnings))
            }
            false => Err(read.errors),
        }
    }

    /// Whether names of clients are needed to decide about a connection as such.
    pub fn names_needed_to_connect(&self) -> bool {
        [&self.deny, &self.multiple]
            .into_iter()
            .chain(&self.allow)
            .any(|list| names_needed(list))
    }

    /// Whether names of clients are needed at all.
    pub fn names_needed(&self) -> bool {
        self.access.names_needed()
            || self.names_needed_to_connect()
            || names_needed(&self.trust)
            || names_needed(&self.dynamic)
    }
}

/// What a list of hosts is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Grants,
    Forbids,
}

/// Reads settings and collects what is wrong with them.
struct Reading<'a> {
    context: &'a Context,
    /// Where a fault of a control variable is said to be.
    top: Pos,
    errors: Vec<PolicyError>,
    warnings: Vec<PolicyError>,
}

/// A fault without an excerpt.
fn fault(pos: Pos, message: String) -> PolicyError {
    PolicyError {
        pos,
        message,
        hint: None,
        excerpt: None,
    }
}

impl Reading<'_> {
    fn error(&mut self, pos: Pos, message: String) {
        self.errors.push(fault(pos, message));
    }

    fn text(&self, name: &str) -> Option<BString> {
        self.context.is_set(name).then(|| {
            let value = self.context.get(name).unwrap_or_default();
            self.context.expand(value.as_ref())
        })
    }

    fn words(&self, name: &str) -> Vec<String> {
        let separator = self.context.split();
        self.context
            .list(name)
            .iter()
            .flat_map(|word| policy_list(word.as_ref(), separator))
            .collect()
    }

    fn switch(&mut self, name: &'static str, usual: bool) -> bool {
        let Some(text) = self.text(name) else {
            return usual;
        };
        match text.to_str_lossy().to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => true,
            "off" | "false" | "no" => false,
            other => {
                self.error(self.top.clone(), format!("{name} = ( {other} ) is neither on nor off"));
                usual
            }
        }
    }

    /// Whether clients decide: that is what both `auto` and `on` mean here.
    fn compress(&mut self) -> bool {
        let text = self.text("Compress");
        let word = text.as_ref().map_or(Some(Compress::Auto), |word| Compress::named(word));
        if word.is_none() {
            let text = text.unwrap_or_default();
            self.error(self.top.clone(), format!("Compress is auto, on or off, not {text}"));
        }
        word != Some(Compress::Off)
    }

    fn number(&mut self, name: &'static str, usual: usize) -> usize {
        let Some(text) = self.text(name) else {
            return usual;
        };
        match text.to_str().ok().and_then(|text| text.trim().parse().ok()) {
            Some(number) if number > 0 => number,
            _ => {
                self.error(self.top.clone(), format!("{name} = ( {text} ) is not a number above 0"));
                usual
            }
        }
    }

    fn address(&mut self, name: &'static str) -> Option<IpAddr> {
        let text = self.text(name)?;
        let address = text.to_str().ok().and_then(|text| text.trim().parse().ok());
        if address.is_none() {
            self.error(self.top.clone(), format!("{name} = ( {text} ) is not an address"));
        }
        address
    }

    fn hosts(&mut self, name: &'static str, list: List) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (word, pos) in self.context.placed_list(name) {
            let pos = pos.unwrap_or_else(|| self.top.clone());
            patterns.extend(self.patterns(word.as_ref(), &pos, name, list));
        }
        patterns
    }

    fn patterns(&mut self, word: &BStr, pos: &Pos, what: &str, list: List) -> Vec<Pattern> {
        let domain = self.context.get("domain").map(|domain| domain.to_string());
        let domain = domain.filter(|domain| !domain.is_empty() && domain != "undefined.domain");
        match Pattern::parse(word, self.context.split(), domain.as_deref()) {
            Ok(patterns) => patterns,
            Err(error) => {
                match list {
                    List::Grants => {
                        let message = format!("{what}: {error}: it matches no host");
                        self.warnings.push(fault(pos.clone(), message));
                    }
                    List::Forbids => self.error(pos.clone(), format!("{what}: {error}")),
                }
                Vec::new()
            }
        }
    }

    fn rules(&mut self, program: &Program, section: Section) -> Vec<Rule> {
        let mut rules = Vec::new();
        let list = match section {
            Section::Deny => List::Forbids,
            _ => List::Grants,
        };
        for rule in program.section(section) {
            if !self.context.holds(&rule.class) {
                continue;
            }
            let mut hosts = Vec::new();
            if let Body::Members(members) = &rule.body {
                for (word, pos) in members {
                    let word = self.context.expand(word.as_ref());
                    hosts.extend(self.patterns(word.as_ref(), pos, "not a host", list));
                }
            }
            let mut root = Vec::new();
            for attr in rule.attrs.all("root") {
                let word = self.context.expand(attr.value.as_ref());
                root.extend(self.patterns(word.as_ref(), &attr.pos, "root=", List::Grants));
            }
            for path in self.context.iterate(rule.promiser.as_ref()) {
                let path = match path.as_slice() {
                    b"/" => path,
                    longer => BString::from(longer.trim_end_with(|c| c == '/')),
                };
                if !path.starts_with(b"/") || path.split_str("/").any(|part| part == b"..") {
                    self.error(rule.pos.clone(), format!("{path} is not an absolute path without '..'"));
                    continue;
                }
                rules.push(Rule {
                    path,
                    hosts: hosts.clone(),
                    root: root.clone(),
                    place: rule.pos.to_string(),
                });
            }
        }
        rules
    }
}

/// The words of a value: separated by blanks, commas and the list separator.
fn policy_list(text: &BStr, separator: u8) -> Vec<String> {
    text.split(|b| *b == separator || *b == b',' || b.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| word.to_str_lossy().into_owned())
        .collect()
}

/// Reads a server's policy file and all it imports.
pub fn load(
    entry: &BStr,
    options: &policy::Options,
    context: Context,
    world: &mut dyn policy::World,
) -> Result<(Config, Program), Vec<PolicyError>> {
    let mut program = policy::load(entry, policy::Phase::Server, options, context, world)?;
    let (config, warnings) = Config::from_program(&program)?;
    program.warnings.extend(warnings);
    Ok((config, program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Host, Machine};
    use crate::sys::Paths;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        read_warned(text).map(|(config, _)| config)
    }

    fn read_warned(text: &str) -> Result<(Config, Vec<String>), Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cfservd.conf"), text).unwrap();
        let mut world = Machine::new(&Paths::under(dir.path()), Host::detect()).with_inputs(dir.path());
        let mut context = Context::default();
        context.define("any");
        context.define("linux");
        load("cfservd.conf".into(), &policy::Options::default(), context, &mut world)
            .map(|(config, program)| {
                let said = program.warnings.iter().map(ToString::to_string);
                (config, said.collect())
            })
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn places(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(|rule| rule.path.to_string()).collect()
    }

    #[test]
    fn the_settings_of_the_manual_are_read_ms_10() {
        let config = read(
            "control:\n domain = ( example.org )\n domain_list = ( \"*.abc.xyz.com,*.cde.xyz.com\" )\n \
             cfrunCommand = ( \"/bin/sh -x\" )\n AllowUsers = ( root mark )\n MaxConnections = ( 30 )\n \
             AllowConnectionsFrom = ( 10.1. 192.168.0.0/16 2001:db8::1 )\n TrustKeysFrom = ( 10.1.0.5-20 )\n \
             DenyBadClocks = ( off )\n LogAllConnections = ( TRUE )\n BindToInterface = ( 127.0.0.1 )\n\
             admit:\n /srv/files $(domain_list) 10.1.0.7 root=web1,web2\n nosuch::\n /never *\ngrant:\n linux::\n /srv/more *\n\
             deny:\n /srv/files/secret *.bad.xyz.com\n",
        )
        .unwrap();
        assert_eq!(places(&config.access.admit), ["/srv/files", "/srv/more"]);
        assert_eq!(places(&config.access.deny), ["/srv/files/secret"]);
        assert_eq!(config.access.admit[0].hosts.len(), 3);
        assert_eq!(config.access.admit[0].root.len(), 4);
        assert_eq!(config.users, ["root", "mark"]);
        assert_eq!(config.command, ["/bin/sh", "-x"]);
        assert_eq!(
            (config.max_connections, config.log_all, config.deny_bad_clocks),
            (30, true, false)
        );
        assert_eq!(config.allow.map(|list| list.len()), Some(3));
        assert_eq!(config.trust.len(), 1);
        assert_eq!(config.bind, Some("127.0.0.1".parse().unwrap()));
        assert!(config.classes.contains(&BString::from("linux")));
    }

    #[test]
    fn an_empty_file_admits_nobody() {
        let config = read("control:\n domain = ( example.org )\n").unwrap();
        assert!(config.access.admit.is_empty() && config.allow.is_none() && config.users.is_empty());
        assert_eq!(config.max_connections, 10);
    }

    #[test]
    fn a_word_that_is_not_understood_is_an_error_where_it_forbids_with_its_place() {
        let errors = read("deny:\n /srv/files $(nosuch)\n").unwrap_err();
        assert!(
            errors[0].contains("cfservd.conf:2:13: not a host: '$(nosuch)'"),
            "{errors:?}"
        );
        let text = "control:\n MaxConnections = ( many )\n DenyConnectionsFrom = ( 10.1. 10.1.0.0/99 )\n";
        let errors = read(text).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors
                .iter()
                .any(|e| e.contains("cfservd.conf:3:32: DenyConnectionsFrom: '10.1.0.0/99'")),
            "{errors:?}"
        );
    }

    #[test]
    fn a_word_that_is_not_understood_matches_nobody_where_it_grants_and_is_warned_of_with_its_place() {
        for name in [
            "TrustKeysFrom",
            "AllowConnectionsFrom",
            "AllowMultipleConnectionsFrom",
            "DynamicAddresses",
        ] {
            let (config, said) = read_warned(&format!("control:\n {name} = ( 10.1. ip-address/series )\n")).unwrap();
            let col = name.len() + 13;
            let place = format!("cfservd.conf:2:{col}: {name}: 'ip-address/series' is neither");
            assert!(said.len() == 1 && said[0].contains(&place), "{said:?}");
            let lists = [&config.trust, &config.multiple, &config.dynamic].map(Vec::len);
            let allowed = config.allow.map_or(0, |list| list.len());
            assert_eq!(lists.iter().sum::<usize>() + allowed, 1);
        }
        let (config, said) = read_warned("admit:\n /srv $(nosuch) 10.1. root=a/b\n").unwrap();
        assert_eq!((config.access.admit[0].hosts.len(), said.len()), (1, 2), "{said:?}");
        assert!(config.access.admit[0].root.is_empty());
    }

    #[test]
    fn a_list_of_who_may_connect_that_names_nobody_lets_nobody_in() {
        for word in ["300.1.1.1", "\",\"", "\"\""] {
            let config = read(&format!("control:\n AllowConnectionsFrom = ( {word} )\n")).unwrap();
            assert_eq!(config.allow, Some(Vec::new()), "{word}");
        }
    }
}
