//! What happens while a policy is read: `control:` and `groups:` are evaluated in text order with the classes known at
//! that point, strategies are drawn, rules are checked and kept (cfengine2.md 5).

use bstr::BString;

use super::ast::{Access, Assignment, Stmt};
use super::check;
use super::functions::Env;
use super::program::Import;
use super::source::Source;
use super::{Attrs, Body, ClassExpr, Options, Phase, PolicyError, Pos, Program, Rule, Section, World};

/// How many warnings of a policy are kept.
const MOST_WARNINGS: usize = 1000;

pub(super) struct Evaluation<'a> {
    pub(super) source: &'a Source,
    pub(super) phase: Phase,
    pub(super) any_section: bool,
    pub(super) program: &'a mut Program,
    pub(super) world: &'a mut dyn World,
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
                Stmt::Assign(assignment) => self.assignment(assignment),
                Stmt::Rule(rule, late) => self.rule(rule, late),
                Stmt::Access { section, class, parts } => self.access(section, &class, parts),
            }
        }
    }

    fn assignment(&mut self, assignment: Assignment) {
        if let Some(text) = &mut self.program.text {
            text.assignments.push(assignment.clone());
        }
        let Assignment {
            groups,
            class,
            name,
            values,
            pos,
        } = assignment;
        match groups {
            true => self.group(&class, &name, &values, pos),
            false => self.control(&class, &name, values, pos),
        }
    }

    pub(super) fn error(&mut self, pos: Pos, message: impl Into<String>, hint: Option<&str>) {
        if self.errors.len() < 1000 {
            self.errors.push(check::error(self.source, pos, message.into(), hint));
        }
    }

    pub(super) fn warn(&mut self, pos: Pos, message: impl Into<String>) {
        self.warn_with(pos, message, None);
    }

    pub(super) fn warn_with(&mut self, pos: Pos, message: impl Into<String>, hint: Option<String>) {
        if self.program.warnings.len() < MOST_WARNINGS {
            let warning = self.source.error_at(pos, message).with_hint(hint);
            self.program.warnings.push(warning);
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
        if let Some(text) = &mut self.program.text {
            text.imports.push((class.clone(), pos.clone()));
        }
        let from = self.source.error_at(pos, "");
        self.imports.push(Import { class, name, from });
    }

    /// Calls a function with what it works on; what it complains about becomes a warning.
    pub(super) fn call<T>(&mut self, pos: &Pos, work: impl FnOnce(&mut Env) -> Result<T, String>) -> Option<T> {
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
        let warnings = &mut self.program.warnings;
        check::odd(&rule, &self.program.context, &mut |pos, message, hint| {
            if warnings.len() < MOST_WARNINGS {
                warnings.push(check::error(source, pos, message.into(), hint));
            }
        });
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
        self.remember(&rule);
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

    /// What the rule may set later.
    fn remember(&mut self, rule: &Rule) {
        for attr in &rule.attrs.0 {
            if matches!(attr.name, "define" | "elsedefine" | "failover") {
                self.program.context.may_set(&attr.value);
            }
        }
        if let Body::Edit(commands) = &rule.body {
            let defining = |name: &str| matches!(name, "DefineClasses" | "ElseDefineClasses" | "DefineInGroup");
            for command in commands.iter().filter(|command| defining(command.name)) {
                self.program.context.may_set(&command.arg);
            }
        }
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
