//! Who defines which class: all statements of a policy that set one (cfengine2.md 9.2 to 9.4).

use std::collections::BTreeMap;

use bstr::{BStr, BString};

use super::ast::{Assignment, Value};
use super::context::class_list;
use super::{Body, Pos, Program, Rule, Section, names};

/// When a statement sets its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// While the policy is read, in text order.
    Reading,
    /// While its rules are carried out.
    Running,
}

/// One statement that sets a class.
#[derive(Clone, Debug)]
pub(super) struct Definer {
    /// What it is: `web = ( www1 )`, `define= of copy /a`.
    pub how: String,
    pub when: When,
    pub pos: Pos,
}

/// All of them, by the name of the class.
#[derive(Debug, Default)]
pub(super) struct Definers {
    pub by_name: BTreeMap<BString, Vec<Definer>>,
    /// Names that the policy promises to be defined (`AddInstallable`).
    pub announced: Vec<(BString, Pos)>,
    /// Something may set any class: a module, a list of classes that only the run knows.
    pub open: bool,
}

impl Definers {
    /// Reads them from a program that kept its text.
    pub fn of(program: &Program) -> Definers {
        let mut all = Definers::default();
        for assignment in program.text.iter().flat_map(|text| &text.assignments) {
            all.assignment(program, assignment);
        }
        for rule in &program.rules {
            all.rule(program, rule);
        }
        for entry in &program.sequence {
            all.open |= entry.text.starts_with(b"module:") || entry.text.contains(&b'$');
            if !entry.text.starts_with(b"module:") {
                for suffix in entry.text.split(|byte| *byte == b'.').skip(1) {
                    all.add(
                        suffix,
                        format!("the entry {} of the action sequence", entry.text),
                        When::Running,
                        &entry.pos,
                    );
                }
            }
        }
        all
    }

    /// Whether some statement sets a class or announces it.
    pub fn knows(&self, name: &BStr) -> bool {
        self.by_name.contains_key(name) || self.announced.iter().any(|(known, _)| known == name)
    }

    fn add(&mut self, name: &[u8], how: String, when: When, pos: &Pos) {
        let name = super::canonify(name);
        if !name.is_empty() {
            let pos = pos.clone();
            self.by_name.entry(name).or_default().push(Definer { how, when, pos });
        }
    }

    fn list(&mut self, program: &Program, list: &BString, how: &str, when: When, pos: &Pos) {
        for list in program.context.iterate(list.as_ref()).iter().take(1000) {
            if list.contains(&b'$') {
                self.open = true;
                continue;
            }
            for name in class_list(list) {
                self.add(&name, how.to_string(), when, pos);
            }
        }
    }

    fn assignment(&mut self, program: &Program, assignment: &Assignment) {
        let calls_module =
            |value: &Value| matches!(value, Value::Call(call) if call.name.eq_ignore_ascii_case(b"PrepModule"));
        self.open |= assignment.values.iter().any(calls_module);
        if assignment.groups {
            let how = super::uses::written(assignment);
            return self.add(&assignment.name, how, When::Reading, &assignment.pos);
        }
        match names::own(&assignment.name) {
            Some("autodefine") => {
                for name in assignment.class.names() {
                    self.add(name, "autodefine".into(), When::Running, &assignment.pos);
                }
            }
            Some(own @ ("addclasses" | "addinstallable")) => {
                for value in &assignment.values {
                    let (Value::Word(text, pos) | Value::Text(text, pos)) = value else {
                        continue;
                    };
                    if own == "addclasses" {
                        self.list(program, text, "AddClasses", When::Reading, pos);
                    } else {
                        let text = program.context.expand(text.as_ref());
                        let names = class_list(&text).into_iter();
                        self.announced
                            .extend(names.map(|name| (super::canonify(name), pos.clone())));
                    }
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, program: &Program, rule: &Rule) {
        let section = rule.section.name();
        for attr in &rule.attrs.0 {
            if matches!(attr.name, "define" | "elsedefine" | "failover") {
                let how = format!("{}= of {section} {}", attr.name, super::uses::shown(&rule.promiser));
                self.list(program, &attr.value, &how, When::Running, &attr.pos);
            }
        }
        match &rule.body {
            Body::Edit(commands) => {
                for command in commands {
                    if matches!(command.name, "DefineClasses" | "ElseDefineClasses" | "DefineInGroup") {
                        let how = format!("{} of editfiles {}", command.name, super::uses::shown(&rule.promiser));
                        self.list(program, &command.arg, &how, When::Running, &command.pos);
                    }
                }
            }
            Body::Pairs(pairs) if rule.section == Section::Strategies => {
                for (name, _, pos) in pairs {
                    self.add(name, format!("the strategy {}", rule.promiser), When::Reading, pos);
                }
            }
            Body::Pairs(pairs) => {
                for (key, value, pos) in pairs {
                    if key.eq_ignore_ascii_case(b"DefineClasses") || key.eq_ignore_ascii_case(b"ElseDefineClasses") {
                        let how = format!("{key} of the filter {}", rule.promiser);
                        self.list(program, value, &how, When::Running, pos);
                    }
                }
            }
            Body::Call(args) if rule.promiser.eq_ignore_ascii_case(b"SetState") => {
                if let Some(name) = args.first() {
                    self.list(program, name, "SetState", When::Running, &rule.pos);
                }
            }
            Body::Call(_) if rule.section == Section::Methods => {
                for attr in rule.attrs.all("returnclasses") {
                    for name in class_list(&attr.value) {
                        let mut full = rule.promiser.clone();
                        full.push(b'_');
                        full.extend_from_slice(&name);
                        self.add(&full, format!("the method {}", rule.promiser), When::Running, &attr.pos);
                    }
                }
            }
            _ => {}
        }
    }
}
