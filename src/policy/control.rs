//! Evaluating `control:` and `groups:` in text order with what is known at that point (cfengine2.md 5, 9.3, 10, 12).

use bstr::{BStr, BString, ByteSlice};

use super::ast::{Call, Value};
use super::evaluate::Evaluation;
use super::functions::{self, Work};
use super::source::did_you_mean;
use super::{ClassExpr, Phase, Pos, SequenceEntry, check, names};

/// Bytes that all variables of a policy may hold together: some that name each other twice over would fill any memory.
const MOST_HELD: usize = 64 << 20;

impl Evaluation<'_> {
    fn unknown_function(&mut self, call: &Call, section: &str) {
        let text = functions::out_of_place(&call.name, section);
        let hint = functions::hint(&call.name);
        self.error(call.pos.clone(), text, hint.as_deref());
    }
    pub(super) fn group(&mut self, class: &ClassExpr, name: &BString, values: &[Value], pos: Pos) {
        if names::HARD.iter().any(|hard| hard.as_bytes() == name.as_slice()) {
            return self.error(pos, format!("Reserved class ({name})"), None);
        }
        if !self.program.context.holds(class) {
            return;
        }
        let mut result = false;
        for value in values {
            match value {
                Value::Call(call) => match functions::find(&call.name) {
                    Some(Work::Class(work)) => {
                        let value = self.call(&call.pos, |env| work(call, env));
                        result |= value.is_some_and(|value| value != call.negated);
                    }
                    _ => self.unknown_function(call, "groups"),
                },
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

    pub(super) fn control(&mut self, class: &ClassExpr, name: &BString, values: Vec<Value>, pos: Pos) {
        let own = names::own(name);
        if own.is_some_and(|own| names::BOUND.contains(&own)) {
            return self.bound(class, own.unwrap_or_default(), values);
        }
        if !self.program.context.holds(class) {
            return;
        }
        match own {
            Some("checksumdatabase") if self.phase != Phase::Server => self.deprecated(pos),
            Some(own) if names::is_list(own) => self.extend_list(own, values),
            Some(own) if self.again(own, &pos) => {}
            Some(own) => {
                self.program.context.place(own, &pos);
                self.assign(Some(own), name, values);
                if own == "compress" {
                    self.check_compress(&pos);
                }
            }
            None => {
                self.perhaps_meant(name, &pos);
                self.assign(None, name, values);
            }
        }
    }

    /// `ChecksumDatabase` ends a run before it begins (cfengine2.md 8, 12); `-p`, which takes any file, only warns, as
    /// the original did.
    fn deprecated(&mut self, pos: Pos) {
        let message = "ChecksumDatabase variable is deprecated - comment it out";
        let hint = "the digests of files are kept in the state directory";
        match self.any_section {
            true => self.warn_with(pos, message, Some(hint.into())),
            false => self.error(pos, message, Some(hint)),
        }
    }

    /// What is none of its words must not pass for one: who forbids it, means it.
    fn check_compress(&mut self, pos: &Pos) {
        let value = self.program.context.get("Compress").unwrap_or_default();
        let word = value.trim().as_bstr();
        let words = ["auto", "off", "on"];
        if !word.contains(&b'$') && !words.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())) {
            let hint = did_you_mean(word, words);
            self.error(
                pos.clone(),
                format!("Compress is auto, on or off, not {word}"),
                hint.as_deref(),
            );
        }
    }

    /// Whether a variable that may be set once was set before; the error is told.
    fn again(&mut self, own: &'static str, pos: &Pos) -> bool {
        let message = match own {
            "site" => "Multiple declaration of variable faculty/site",
            "netmask" => "Multiple declaration of variable netmask",
            "repository" => "Redefinition of system variable repository",
            _ => return false,
        };
        let first = self.program.declared.iter().find(|(name, _)| *name == own);
        if let Some(hint) = first.map(|(_, first)| format!("it is set at {first} already")) {
            self.error(pos.clone(), message, Some(&hint));
            return true;
        }
        self.program.declared.push((own, pos.clone()));
        false
    }

    /// Remembers a variable of the policy's own whose name is nearly one of the language.
    fn perhaps_meant(&mut self, name: &BString, pos: &Pos) {
        if self.program.near_misses.len() < 100
            && let Some(own) = names::nearly(name)
        {
            let error = self.source.error_at(
                pos.clone(),
                format!("'{name}' is a variable of your own that nothing uses"),
            );
            self.program.near_misses.push((own, name.clone(), error));
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
                self.check_action(word.as_bstr(), &pos);
                if let Some((_, suffixes)) = word.split_once_str(".") {
                    self.program.context.may_set(suffixes);
                }
                let class = class.clone();
                let (text, pos) = (word.clone(), pos.clone());
                self.program.sequence.push(SequenceEntry { class, text, pos });
            }
            self.program.context.push_list(own, class, word, &pos);
        }
    }

    /// A word of the action sequence that means nothing ends a run, but only when it is reached: told early, as a warning.
    fn check_action(&mut self, word: &BStr, pos: &Pos) {
        let action = word.split(|byte| *byte == b'.').next().unwrap_or_default();
        // What variables hold then is not known yet.
        let open = word.contains(&b'$') || word.starts_with(b"module:");
        if open || word.is_empty() || names::ACTIONS.iter().any(|name| name.as_bytes() == action) {
            return;
        }
        let message = format!("Undefined action {} in sequence", action.as_bstr());
        let hint = did_you_mean(action, names::ACTIONS.iter().copied());
        self.warn_with(pos.clone(), message, hint);
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
                    self.program.context.push_list(own, &any, word, &pos);
                }
                "addinstallable" => {
                    for name in super::context::class_list(&word) {
                        self.program.context.may_set(&name);
                        self.program.context.push_list(own, &any, name, &pos);
                    }
                }
                _ => {
                    if own == "methodparameters" {
                        self.program.context.bind_parameter(word.as_ref());
                    }
                    self.program.context.push_list(own, &any, word, &pos);
                }
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
        self.program.held += text.len();
        if self.program.held > MOST_HELD {
            let message = format!("the variables of this policy hold more than {} MiB", MOST_HELD >> 20);
            return self.error(pos, message, None);
        }
        match own {
            Some("netmask") => self.program.context.set_netmask(&text),
            Some("underscoreclasses") if text.eq_ignore_ascii_case(b"on") || text.eq_ignore_ascii_case(b"true") => {
                self.program.context.underscore_classes();
                self.program.context.set(name, text);
            }
            Some("domain") => self.program.context.set_domain(&text),
            Some("split" | "repchar") if text.len() != 1 || text == "/" => {
                let message = format!("{name} is one character, and not '/'");
                self.error(pos, message, None);
            }
            Some("cfruncommand") if !text.starts_with(b"/") && !text.starts_with(b"$") => {
                let message = format!("$(cfrunCommand) does not expand to an absolute filename: {text}");
                self.error(pos, message, Some("cfrunCommand = ( \"/opt/dsau/sbin/cfagent\" )"));
            }
            Some("cfruncommand") if self.phase == Phase::Server && !self.has_program(&text) => {
                let message = format!("$(cfrunCommand) points to a non-existent file: {text}");
                self.error(
                    pos,
                    message,
                    Some("its first word is the program that cfrun starts here"),
                );
            }
            Some("repository") if !text.starts_with(b"/") && !text.contains(&b'$') => {
                self.error(pos, "File repository must be an absolute directory name", None);
            }
            _ => self.program.context.set(name, text),
        }
    }

    /// Whether the program of a command is there; one that is not known yet is.
    fn has_program(&self, command: &[u8]) -> bool {
        let program = command.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        program.contains(&b'$') || self.world.lstat(program.as_bstr()).is_some()
    }

    /// Evaluates a call in `control:`; class functions give no value there.
    fn value_of(&mut self, call: &Call, variable: &BString) -> Option<Option<BString>> {
        let name = &call.name;
        match functions::find(name) {
            Some(Work::Value(_)) if call.negated => {
                let message = format!("{name} gives a value; '!' is for class functions");
                self.error(call.pos.clone(), message, None);
                return None;
            }
            Some(Work::Value(work)) => return self.call(&call.pos, |env| work(call, variable, env)),
            Some(Work::Class(work)) if name.eq_ignore_ascii_case(b"PrepModule") => {
                return self.call(&call.pos, |env| work(call, env)).map(|_| None);
            }
            _ => {}
        }
        self.unknown_function(call, "control");
        None
    }
}
