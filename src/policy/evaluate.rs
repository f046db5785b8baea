//! What happens while a policy is read: `control:` and `groups:` are evaluated in text order with the classes known at
//! that point, strategies are drawn, rules are checked and kept (cfengine2.md 5).

use bstr::{BString, ByteSlice};

use super::ast::{Access, Call, Stmt, Value};
use super::functions::{self, Env};
use super::program::Import;
use super::source::Source;
use super::values::{is_value_function, value_function};
use super::{Attrs, Body, ClassExpr, Options, Phase, PolicyError, Pos, Program, Rule, Section, SequenceEntry, World};
use super::{check, names};

pub(super) struct Evaluation<'a> {
    source: &'a Source,
    phase: Phase,
    any_section: bool,
    program: &'a mut Program,
    world: &'a mut dyn World,
    /// The section belongs to the other kind of file: said once, the rest of it is passed over.
    foreign: bool,
    pub errors: Vec<PolicyError>,
    pub imports: Vec<Import>,
    /// Rules whose class cannot become true as far as is known: 2.2.10 drops them, we keep them (quirk Q4).
    pub unlikely: usize,
}

impl<'a> Evaluation<'a> {
    pub fn new(
        source: &'a Source,
        phase: Phase,
        options: &Options,
        program: &'a mut Program,
        world: &'a mut dyn World,
    ) -> Self {
        Evaluation {
            source,
            phase,
            any_section: options.any_section,
            program,
            world,
            foreign: false,
            errors: Vec::new(),
            imports: Vec::new(),
            unlikely: 0,
        }
    }

    pub fn run(&mut self, stmts: Vec<Stmt>) {
        for stmt in stmts {
            match stmt {
                Stmt::Section(section, pos) => self.section(section, pos),
                _ if self.foreign => {}
                Stmt::Import { class, name, pos } => self.import(class, name, pos),
                Stmt::Assign {
                    groups,
                    class,
                    name,
                    values,
                    pos,
                } => match groups {
                    true => self.group(&class, &name, &values, pos),
                    false => self.control(&class, &name, values, pos),
                },
                Stmt::Rule(rule, late) => self.rule(rule, late),
                Stmt::Access { section, class, parts } => self.access(section, &class, parts),
            }
        }
    }

    fn error(&mut self, pos: Pos, message: impl Into<String>, hint: Option<&str>) {
        if self.errors.len() < 1000 {
            self.errors.push(check::error(self.source, pos, message.into(), hint));
        }
    }

    fn warn(&mut self, pos: Pos, message: impl Into<String>) {
        if self.program.warnings.len() < 1000 {
            self.program.warnings.push(self.source.error_at(pos, message));
        }
    }

    fn section(&mut self, section: Section, pos: Pos) {
        let server = self.phase == Phase::Server;
        self.foreign = !self.any_section
            && match server {
                true => !section.in_server(),
                false => section.in_server() && !section.in_both(),
            };
        if self.foreign {
            let (file, what) = if server {
                ("cfagent.conf", "actions")
            } else {
                ("cfservd.conf", "access rules")
            };
            let hint = format!("'{}:' holds {what}", section.name());
            self.error(pos, format!("This belongs in {file}"), Some(&hint));
        }
    }

    fn import(&mut self, class: ClassExpr, name: BString, pos: Pos) {
        let name = self.program.context.expand(name.as_ref());
        let from = self.source.error_at(pos, "");
        self.imports.push(Import { class, name, from });
    }

    /// Calls a function with what it works on; what it complains about becomes a warning.
    fn call<T>(&mut self, pos: &Pos, work: impl FnOnce(&mut Env) -> Result<T, String>) -> Option<T> {
        let mut env = Env {
            context: &mut self.program.context,
            world: &mut *self.world,
            warnings: Vec::new(),
        };
        let result = work(&mut env);
        for warning in env.warnings {
            self.warn(pos.clone(), warning);
        }
        match result {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(pos.clone(), message, None);
                None
            }
        }
    }

    fn unknown_function(&mut self, call: &Call, section: &str) {
        let text = functions::out_of_place(&call.name, section);
        let hint = functions::hint(&call.name);
        self.error(call.pos.clone(), text, hint.as_deref());
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    fn group(&mut self, class: &ClassExpr, name: &BString, values: &[Value], pos: Pos) {
        if names::HARD.iter().any(|hard| hard.as_bytes() == name.as_slice()) {
            return self.error(pos, format!("Reserved class ({name})"), None);
        }
        if !self.program.context.holds(class) {
            return;
        }
        let mut result = false;
        for value in values {
            match value {
                Value::Call(call) if functions::is_class_function(&call.name) => {
                    result |= self
                        .call(&call.pos, |env| functions::class_function(call, env))
                        .unwrap_or(false);
                }
                Value::Call(call) => self.unknown_function(call, "groups"),
                Value::Text(text, pos) => {
                    let command = self.program.context.expand(text.as_ref());
                    match command.starts_with(b"/") {
                        true => result |= self.script(&command, pos),
                        false => self.error(pos.clone(), "Quoted scripts must begin with /", None),
                    }
                }
                Value::Word(word, pos) => {
                    let word = self.program.context.expand(word.as_ref());
                    match self.member(&word, pos) {
                        Some(true) => result = true,
                        Some(false) => {}
                        None => {
                            result = false;
                            self.program.context.undefine(name);
                        }
                    }
                }
            }
        }
        if result {
            self.program.context.define(name);
        }
    }

    /// Whether a member makes its class true; `None` where it takes the class back.
    fn member(&mut self, word: &BString, pos: &Pos) -> Option<bool> {
        match word.as_slice() {
            [b'+', b'@', group @ ..] | [b'+', group @ ..] => Some(self.world.in_netgroup(group.as_bstr())),
            [b'-', b'@', group @ ..] => match self.world.in_netgroup(group.as_bstr()) {
                true => None,
                false => Some(false),
            },
            [b'-', class @ ..] => match self.holds_word(class) {
                true => None,
                false => Some(false),
            },
            [b'/', ..] => Some(self.script(word, pos)),
            _ => Some(self.holds_word(word)),
        }
    }

    /// A host name of this host, or a class expression that is true.
    fn holds_word(&self, word: &[u8]) -> bool {
        let context = &self.program.context;
        let is_host = |name: &str| context.get(name).is_some_and(|host| host.eq_ignore_ascii_case(word));
        if is_host("host") || is_host("fqhost") {
            return true;
        }
        ClassExpr::parse(word).is_ok_and(|class| context.holds(&class))
    }

    fn script(&mut self, command: &BString, pos: &Pos) -> bool {
        self.call(pos, |env| env.returns_zero(command.as_ref(), false))
            .unwrap_or(false)
    }

    // ---- control ------------------------------------------------------------------------------------------------

    fn control(&mut self, class: &ClassExpr, name: &BString, values: Vec<Value>, pos: Pos) {
        let own = names::own(name);
        if own.is_some_and(|own| names::BOUND.contains(&own)) {
            return self.bound(class, own.unwrap_or_default(), values);
        }
        if !self.program.context.holds(class) {
            return;
        }
        match own {
            Some("checksumdatabase") if self.phase != Phase::Server => {
                self.warn(pos, "ChecksumDatabase variable is deprecated: it has no effect");
            }
            Some(own) if names::is_list(own) => self.extend_list(own, values),
            _ => self.assign(own, name, values),
        }
    }

    /// Words of a list variable that keeps its predicate.
    fn bound(&mut self, class: &ClassExpr, own: &'static str, values: Vec<Value>) {
        for value in values {
            let (word, pos) = match value {
                Value::Word(text, pos) | Value::Text(text, pos) => (text, pos),
                Value::Call(call) => {
                    self.unknown_function(&call, "control");
                    continue;
                }
            };
            let word = self.program.context.expand_value(word.as_ref());
            if own == "actionsequence" {
                let class = class.clone();
                let text = word.clone();
                self.program.sequence.push(SequenceEntry { class, text, pos });
            }
            self.program.context.push_list(own, class, word);
        }
    }

    fn extend_list(&mut self, own: &'static str, values: Vec<Value>) {
        let any = ClassExpr::any();
        for value in values {
            let (word, pos) = match value {
                Value::Word(text, pos) | Value::Text(text, pos) => {
                    if !self.defined(&text, &pos) {
                        continue;
                    }
                    (self.program.context.expand_value(text.as_ref()), pos)
                }
                Value::Call(call) => match self.value_of(&call, &BString::from(own)) {
                    Some(Some(text)) => (text, call.pos),
                    _ => continue,
                },
            };
            match own {
                "addclasses" => {
                    for name in super::context::class_list(&word) {
                        match names::HARD.iter().any(|hard| hard.as_bytes() == name.as_slice()) {
                            true => self.error(pos.clone(), format!("You cannot add a reserved class! ({name})"), None),
                            false => self.program.context.define(&name),
                        }
                    }
                    self.program.context.push_list(own, &any, word);
                }
                "addinstallable" => {
                    for name in super::context::class_list(&word) {
                        self.program.context.push_list(own, &any, name);
                    }
                }
                _ => self.program.context.push_list(own, &any, word),
            }
        }
    }

    /// Assigns each word in turn; the last stays.
    fn assign(&mut self, own: Option<&'static str>, name: &BString, values: Vec<Value>) {
        for value in values {
            let (text, pos) = match value {
                Value::Call(call) => match self.value_of(&call, name) {
                    Some(Some(text)) => (text, call.pos),
                    _ => continue,
                },
                Value::Text(text, pos) => match text.strip_prefix(b"exec /") {
                    Some(_) => {
                        let call = Call {
                            name: "ExecResult".into(),
                            negated: false,
                            whole: text["exec ".len()..].into(),
                            args: vec![text["exec ".len()..].into()],
                            pos,
                        };
                        match self.value_of(&call, name) {
                            Some(Some(text)) => (text, call.pos),
                            _ => continue,
                        }
                    }
                    None => match self.value_text(own, name, &text, &pos) {
                        Some(text) => (text, pos),
                        None => continue,
                    },
                },
                Value::Word(text, pos) => match self.value_text(own, name, &text, &pos) {
                    Some(text) => (text, pos),
                    None => continue,
                },
            };
            self.redefinition(own, name, &text, &pos);
            self.store(own, name, text, pos);
        }
    }

    fn value_text(&mut self, own: Option<&str>, name: &BString, text: &BString, pos: &Pos) -> Option<BString> {
        if !self.defined(text, pos) {
            return None;
        }
        let itself = ["$(", "${"].iter().any(|open| {
            let close = if *open == "$(" { b')' } else { b'}' };
            let mut reference = BString::from(*open);
            reference.extend_from_slice(name);
            reference.push(close);
            text.contains_str(&reference)
        });
        if itself && !self.program.context.is_set(name) && own != Some("split") {
            let message = format!("the value of '{name}' names '{name}' itself, which is not set");
            self.error(pos.clone(), message, None);
            return None;
        }
        Some(self.program.context.expand_value(text.as_ref()))
    }

    /// Whether no variable is used that must be set and is not; the error is told.
    fn defined(&mut self, text: &BString, pos: &Pos) -> bool {
        match check::undefined(&self.program.context, text) {
            Some(message) => {
                self.error(pos.clone(), message, None);
                false
            }
            None => true,
        }
    }

    fn redefinition(&mut self, own: Option<&str>, name: &BString, text: &BString, pos: &Pos) {
        if own.is_some() || !self.program.context.is_set(name) {
            return;
        }
        let allowed = self.program.context.list("allowredefinitionof");
        let itself = self.program.context.get(name);
        if !allowed.contains(name) && itself.as_ref() != Some(text) {
            let message = format!("Redefinition of macro {name}={text} (or perhaps missing quote)");
            self.warn(pos.clone(), message);
        }
    }

    fn store(&mut self, own: Option<&str>, name: &BString, text: BString, pos: Pos) {
        match own {
            Some("domain") => self.program.context.set_domain(&text),
            Some("split" | "repchar") if text.len() != 1 || text == "/" => {
                let message = format!("{name} is one character, and not '/'");
                self.error(pos, message, None);
            }
            Some("repository") if !text.starts_with(b"/") && !text.contains(&b'$') => {
                self.error(pos, "File repository must be an absolute directory name", None);
            }
            _ => self.program.context.set(name, text),
        }
    }

    /// Evaluates a call in `control:`; class functions give no value there.
    fn value_of(&mut self, call: &Call, variable: &BString) -> Option<Option<BString>> {
        if is_value_function(&call.name) {
            return self.call(&call.pos, |env| value_function(call, variable, env));
        }
        if call.name.eq_ignore_ascii_case(b"PrepModule") {
            return self
                .call(&call.pos, |env| functions::class_function(call, env))
                .map(|_| None);
        }
        self.unknown_function(call, "control");
        None
    }

    // ---- rules --------------------------------------------------------------------------------------------------

    fn rule(&mut self, rule: Rule, late: Vec<PolicyError>) {
        if !late.is_empty() {
            // 2.2.10 never looks into a group whose class cannot become true here; ours says it and drops the group.
            match self.program.context.could_hold(&rule.class) {
                true => self.errors.extend(late),
                false => self.program.warnings.extend(late),
            }
            return;
        }
        let source = self.source;
        let errors = &mut self.errors;
        let before = errors.len();
        check::rule(&rule, &self.program.context, &mut |pos, message, hint| {
            errors.push(check::error(source, pos, message, hint));
        });
        if self.errors.len() > before {
            return;
        }
        if check::iterates(rule.section) && self.program.context.splits_itself(rule.promiser.as_ref()) {
            let separator = char::from(self.program.context.split());
            let text = format!("the text holds the list separator '{separator}' and is taken apart there");
            let mut warning = self.source.error_at(rule.pos.clone(), text);
            warning.hint = Some(format!(
                "write \\{separator} for the character, or choose another Split"
            ));
            self.program.warnings.push(warning);
        }
        if !self.program.context.could_hold(&rule.class) {
            self.unlikely += 1;
        }
        if let (Section::Strategies, Body::Pairs(pairs)) = (rule.section, &rule.body)
            && self.program.context.holds(&rule.class)
        {
            let weights: Vec<u64> = pairs
                .iter()
                .filter_map(|(_, weight, _)| check::weight_of(weight))
                .collect();
            let total = weights.iter().sum();
            if total > 0 {
                let mut drawn = self.world.random(0, total);
                for ((class, _, _), weight) in pairs.iter().zip(weights) {
                    if drawn < weight {
                        self.program.context.define(class);
                        break;
                    }
                    drawn -= weight;
                }
            }
        }
        self.program.rules.push(rule);
    }

    /// `admit:` and `deny:`: a word that begins with `/` once expanded is a path, any other belongs to the path before.
    fn access(&mut self, section: Section, class: &ClassExpr, parts: Vec<Access>) {
        let mut current: Option<Rule> = None;
        for part in parts {
            match part {
                Access::Attr(attr) => match &mut current {
                    Some(rule) => rule.attrs.0.push(attr),
                    None => self.error(attr.pos, "Missing absolute path to a directory", None),
                },
                Access::Word(word, quoted, pos) => {
                    let expanded = self.program.context.expand(word.as_ref());
                    if expanded.starts_with(b"/") {
                        if let Some(rule) = current.take() {
                            self.rule(rule, Vec::new());
                        }
                        current = Some(Rule {
                            section,
                            class: class.clone(),
                            promiser: word,
                            quoted,
                            attrs: Attrs::default(),
                            body: Body::Members(Vec::new()),
                            pos,
                        });
                        continue;
                    }
                    match &mut current {
                        Some(Rule {
                            body: Body::Members(members),
                            ..
                        }) => members.push((word, pos)),
                        _ => {
                            let hint = "an access rule begins with an absolute path, the hosts follow it";
                            self.error(
                                pos,
                                format!("Missing absolute path to a directory before {word}"),
                                Some(hint),
                            );
                        }
                    }
                }
            }
        }
        if let Some(rule) = current {
            self.rule(rule, Vec::new());
        }
    }
}
