//! Classes and variables of a run (cfengine2.md 9, 10). Expansion and iteration stand in `expand`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use super::class::canonify;
use super::{ClassExpr, Pos, World, names};

/// A place for variables of the policy's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Measured values.
    Global,
    /// `update.conf`.
    Update,
    /// `cfagent.conf`, `cfservd.conf` and what they import.
    #[default]
    Main,
    /// A method.
    PrivateMethod,
}

static SCOPES: &[(&str, Scope)] = &[
    ("global", Scope::Global),
    ("update", Scope::Update),
    ("main", Scope::Main),
    ("private-method", Scope::PrivateMethod),
];

/// Everything a run knows: defined and negated classes, variables of the contexts `global`, `update`, `main`, and the
/// control variables, which all contexts share.
#[derive(Clone, Debug, Default)]
pub struct Context {
    classes: HashSet<BString>,
    negated: HashSet<BString>,
    /// Classes that rules read so far may set.
    installable: HashSet<BString>,
    scope: Scope,
    variables: [HashMap<BString, BString>; 4],
    /// Control and special variables by lower-case name.
    own: HashMap<&'static str, BString>,
    /// Where a control variable of one value was written.
    places: HashMap<&'static str, Pos>,
    /// The words of control variables.
    lists: HashMap<&'static str, Vec<Word>>,
    env: Arc<HashMap<BString, BString>>,
    /// Names the environment was asked for in vain.
    not_in_env: HashSet<BString>,
    /// What a method is called with, and how many parameters it has named so far.
    pub(super) arguments: Vec<BString>,
    pub(super) parameters: usize,
}

/// A word of a control variable.
#[derive(Clone, Debug)]
struct Word {
    /// The predicate it is bound to.
    class: ClassExpr,
    text: BString,
    /// Where it was written; nowhere when it did not come from a policy.
    pos: Option<Pos>,
}

impl Context {
    /// Defines a class; characters that no class name holds become `_`.
    pub fn define(&mut self, class: impl AsRef<[u8]>) {
        let class = canonify(class);
        if !class.is_empty() {
            self.classes.insert(class);
        }
    }

    /// Defines every class of a list separated by `:`, `,` or `.` (`define=`, `-D`), and gives their names.
    pub fn define_list(&mut self, classes: impl AsRef<[u8]>) -> Vec<BString> {
        let names = class_list(classes.as_ref());
        for name in &names {
            self.define(name);
        }
        names
    }

    /// Takes a class back.
    pub fn undefine(&mut self, class: impl AsRef<[u8]>) {
        self.classes.remove(&canonify(class));
    }

    /// `-N`: false even if set. `any` may be negated too; then nothing holds.
    pub fn negate(&mut self, class: impl AsRef<[u8]>) {
        self.negated.insert(canonify(class));
    }

    /// Whether a single class is true.
    pub fn has(&self, class: impl AsRef<[u8]>) -> bool {
        let name = class.as_ref().as_bstr();
        (name == "any" || self.classes.contains(name)) && (self.negated.is_empty() || !self.negated.contains(name))
    }

    /// Whether a predicate holds now.
    pub fn holds(&self, expr: &ClassExpr) -> bool {
        expr.eval(&|name| self.has(name))
    }

    /// Whether a predicate holds or may yet: installable classes count as true and negations as possible. Where
    /// this is false, 2.2.10 would not even have kept the rule (quirk Q4).
    pub fn could_hold(&self, expr: &ClassExpr) -> bool {
        expr.could(&|name| self.has(name) || self.installable.contains(name))
    }

    /// Classes that may be set later: those of `AddInstallable`, and those that rules may set; sorted.
    pub fn installable(&self) -> Vec<BString> {
        let mut all: Vec<BString> = self.installable.iter().cloned().collect();
        all.sort_unstable();
        all
    }

    pub(super) fn may_set(&mut self, classes: &[u8]) {
        self.installable.extend(class_list(classes));
    }

    /// All true classes, sorted.
    pub fn classes(&self) -> Vec<BString> {
        let mut all: Vec<BString> = self.classes.iter().filter(|name| self.has(name)).cloned().collect();
        if self.has("any") && !self.classes.contains("any".as_bytes().as_bstr()) {
            all.push("any".into());
        }
        all.sort_unstable();
        all
    }

    /// The negated classes, sorted.
    pub fn negated(&self) -> Vec<BString> {
        let mut all: Vec<BString> = self.negated.iter().cloned().collect();
        all.sort_unstable();
        all
    }

    /// `CFALLCLASSES=a:b:c`, as modules, commands and `$(allclasses)` get it.
    pub fn all_classes(&self) -> BString {
        let mut text = BString::from("CFALLCLASSES=");
        text.extend_from_slice(&bstr::join(":", self.classes()));
        text
    }

    /// The context unqualified names mean.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Chooses the context unqualified names mean.
    pub fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// The environment that unknown names fall back to.
    pub fn set_env(&mut self, env: HashMap<BString, BString>) {
        self.env = Arc::new(env);
    }

    /// Asks the environment for a name, once.
    pub(super) fn learn_env(&mut self, name: &BStr, world: &dyn World) {
        if self.env.contains_key(name) || self.not_in_env.contains(name) {
            return;
        }
        match world.env(name) {
            Some(value) => {
                Arc::make_mut(&mut self.env).insert(name.into(), value);
            }
            None => {
                self.not_in_env.insert(name.into());
            }
        }
    }

    /// Whether some policy file names a variable in a reference.
    pub(super) fn is_asked_for(&self, name: &BString) -> bool {
        self.env.contains_key(name) || self.not_in_env.contains(name)
    }

    /// Sets a variable as it is; the name may carry a context (`global.x`), otherwise the current one is meant. Names of
    /// the language (section 12) are kept once for all contexts, in any case.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<BString>) {
        let (scope, name) = qualified(name.as_ref()).unwrap_or((self.scope, name.as_ref()));
        let value = value.into();
        if let Some(own) = names::own(name) {
            if names::is_list(own) {
                let word = Word {
                    class: ClassExpr::any(),
                    text: value.clone(),
                    pos: None,
                };
                self.lists.insert(own, vec![word]);
            }
            self.own.insert(own, value);
            return;
        }
        self.variables[scope as usize].insert(name.into(), value);
    }

    /// Takes a variable of the current context away.
    pub fn unset(&mut self, name: impl AsRef<[u8]>) {
        let name = name.as_ref();
        match names::own(name) {
            Some(own) => {
                self.own.remove(own);
                self.lists.remove(own);
            }
            None => {
                let (scope, bare) = qualified(name).unwrap_or((self.scope, name));
                self.variables[scope as usize].remove(bare.as_bstr());
            }
        }
    }

    /// A variable's value, unexpanded. Names of the language are found in any case. Character variables (`dollar`, `n`
    /// …) and the environment are found too.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<BString> {
        self.lookup(name.as_ref())
    }

    /// Whether the policy or the machine set this variable (the environment does not count).
    pub fn is_set(&self, name: impl AsRef<[u8]>) -> bool {
        self.known(name.as_ref()).is_some()
    }

    pub(super) fn lookup(&self, name: &[u8]) -> Option<BString> {
        if let Some(value) = self.known(name) {
            return Some(value.clone());
        }
        if let Some(text) = names::character(name) {
            return Some(text.into());
        }
        if name.eq_ignore_ascii_case(b"allclasses") {
            return Some(self.all_classes());
        }
        self.env.get(name.as_bstr()).cloned()
    }

    fn known(&self, name: &[u8]) -> Option<&BString> {
        if let Some((scope, bare)) = qualified(name) {
            if let Some(value) = self.variables[scope as usize].get(bare.as_bstr()) {
                return Some(value);
            }
            return match (scope, names::own(bare)) {
                (Scope::Global, _) | (_, None) => None,
                (_, Some(own)) => self.own.get(own),
            };
        }
        let here = &self.variables[self.scope as usize];
        here.get(name.as_bstr())
            .or_else(|| names::own(name).and_then(|own| self.own.get(own)))
            .or_else(|| self.variables[Scope::Global as usize].get(name.as_bstr()))
    }

    /// The words of a control variable (`AllowUsers`, `TrustKeysFrom`, `EmailTo`, `actionsequence` …), accumulated over
    /// all assignments, expanded, with those left out whose predicate does not hold now. Separators inside a word are
    /// left alone.
    pub fn list(&self, name: impl AsRef<[u8]>) -> Vec<BString> {
        self.placed_list(name).into_iter().map(|(word, _)| word).collect()
    }

    /// As [`Context::list`], and where each word was written.
    pub fn placed_list(&self, name: impl AsRef<[u8]>) -> Vec<(BString, Option<Pos>)> {
        let Some(own) = names::own(name.as_ref()) else {
            return self
                .lookup(name.as_ref())
                .map(|word| (word, None))
                .into_iter()
                .collect();
        };
        match self.lists.get(own) {
            Some(words) => words
                .iter()
                .filter(|word| word.class.is_any() || self.holds(&word.class))
                .map(|word| (self.expand(word.text.as_ref()), word.pos.clone()))
                .collect(),
            None => self
                .own
                .get(own)
                .map(|v| (self.expand(v.as_ref()), self.places.get(own).cloned()))
                .into_iter()
                .collect(),
        }
    }

    /// The words of a control variable with the predicate each was written under (`AutoDefine`, `CopyLinks` …).
    pub fn bound(&self, name: impl AsRef<[u8]>) -> Vec<(ClassExpr, BString)> {
        let own = names::own(name.as_ref());
        own.and_then(|own| self.lists.get(own))
            .into_iter()
            .flatten()
            .map(|word| (word.class.clone(), word.text.clone()))
            .collect()
    }

    /// Empties an accumulated control variable (the action sequence after the update phase).
    pub fn clear_list(&mut self, name: impl AsRef<[u8]>) {
        if let Some(own) = names::own(name.as_ref()) {
            self.lists.remove(own);
            self.own.remove(own);
        }
    }

    /// Notes where a control variable of one value is written.
    pub(super) fn place(&mut self, own: &'static str, pos: &Pos) {
        self.places.insert(own, pos.clone());
    }

    pub(super) fn push_list(&mut self, own: &'static str, class: &ClassExpr, word: BString, pos: &Pos) {
        let words = self.lists.entry(own).or_default();
        words.push(Word {
            class: class.clone(),
            text: word.clone(),
            pos: Some(pos.clone()),
        });
        match self.own.get_mut(own) {
            Some(text) => {
                text.push(b' ');
                text.extend_from_slice(&word);
            }
            None => {
                self.own.insert(own, word);
            }
        }
    }

    /// The list separator: the first byte of `Split`, a colon unless set.
    pub fn split(&self) -> u8 {
        self.own
            .get("split")
            .and_then(|text| text.first().copied())
            .unwrap_or(b':')
    }

    /// Sets `domain`, and what hangs on it: `fqhost`, the classes of the full name and of each tail of the domain;
    /// `undefined_domain` goes.
    pub fn set_domain(&mut self, domain: impl AsRef<[u8]>) {
        let domain = BString::from(domain.as_ref().to_ascii_lowercase());
        self.undefine("undefined_domain");
        self.undefine("undefined.domain");
        if let Some(host) = self.own.get("host").cloned() {
            let mut full = host;
            full.push(b'.');
            full.extend_from_slice(&domain);
            self.define(&full);
            self.own.insert("fqhost", full);
        }
        let mut tail = domain.as_bstr();
        while !tail.is_empty() {
            self.define(tail);
            tail = match tail.find_byte(b'.') {
                Some(at) => tail[at + 1..].as_bstr(),
                None => break,
            };
        }
        self.own.insert("domain", domain);
    }

    /// Sets `netmask`, and the class of the network that it and the host's address make: `10_1_2` for 255.255.255.0.
    pub fn set_netmask(&mut self, mask: impl AsRef<[u8]>) {
        let mask = BString::from(mask.as_ref());
        let parsed = |text: &[u8]| text.to_str().ok()?.trim().parse::<std::net::Ipv4Addr>().ok();
        let address = self.get("ipaddress").and_then(|text| parsed(&text));
        if let (Some(address), Some(bits)) = (address, parsed(&mask)) {
            let network = std::net::Ipv4Addr::from(u32::from(address) & u32::from(bits)).to_string();
            self.define(network.trim_end_matches(".0"));
        }
        self.set("netmask", mask);
    }

    /// The hard class gets an underscore in front, so that no class of a policy is taken for it.
    pub fn underscore_classes(&mut self) {
        let Some(hard) = self.get("class") else { return };
        self.undefine(&hard);
        self.define([b"_", hard.as_slice()].concat());
    }

    /// Applies the output lines of a module (cfengine2.md 14.16): `+a.b:c` defines, `-a` negates for the rest of the
    /// run, `=name=value` sets a variable of the current context. Gives the other lines, blank ones left out.
    pub fn apply_module_output(&mut self, text: &BStr) -> Vec<BString> {
        let mut rest = Vec::new();
        for line in text.lines() {
            match line.first() {
                Some(b'+') => {
                    self.define_list(&line[1..]);
                }
                Some(b'-') => {
                    for name in class_list(&line[1..]) {
                        self.negate(name);
                    }
                }
                Some(b'=') if line[1..].contains(&b'=') => {
                    let (name, value) = line[1..].split_once_str("=").unwrap_or((&line[1..], b""));
                    self.set(name, value);
                }
                _ if line.trim().is_empty() => {}
                _ => rest.push(line.into()),
            }
        }
        rest
    }
}

/// Splits a class list at `:`, `,` and `.`; empty names are left out.
pub fn class_list(text: &[u8]) -> Vec<BString> {
    text.split(|byte| matches!(byte, b':' | b',' | b'.'))
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .map(BString::from)
        .collect()
}

/// `main.x` → the context and `x`.
fn qualified(name: &[u8]) -> Option<(Scope, &[u8])> {
    let (first, bare) = name.split_once_str(".")?;
    let (_, scope) = SCOPES.iter().find(|(known, _)| known.as_bytes() == first)?;
    (!bare.is_empty()).then_some((*scope, bare))
}
