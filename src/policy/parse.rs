//! The parser: one file becomes a list of statements and a list of errors. Hand-written; after an error it goes on with
//! the next line, so that one run names them all.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use super::ast::{self, Stmt};
use super::attr::{self, Found};
use super::lexer::{Cursor, Predicate, Quoted};
use super::source::{NO_SECTION, Source, did_you_mean};
use super::{Attr, Attrs, Body, ClassExpr, PolicyError, Pos, Rule, Section};

/// Class predicates seen so far, shared by all files of a program.
pub(super) type ClassCache = HashMap<BString, ClassExpr>;

/// More errors than this in one file are not told.
const MOST_ERRORS: usize = 200;

/// What parsing a file gives.
pub(super) struct Parsed {
    pub stmts: Vec<Stmt>,
    pub predicates: Vec<ast::Predicate>,
    pub errors: Vec<PolicyError>,
}

/// Parses one file.
pub(super) fn parse(source: &Source, cache: &mut ClassCache) -> Parsed {
    let mut parser = Parser {
        cursor: Cursor::new(source),
        section: None,
        class: any(cache),
        class_valid: true,
        rule: None,
        late: Vec::new(),
        muted: false,
        skipping: false,
        spans_lines: None,
        cache,
        out: Parsed {
            stmts: Vec::new(),
            predicates: Vec::new(),
            errors: Vec::new(),
        },
    };
    parser.file();
    parser.out
}

fn any(cache: &mut ClassCache) -> ClassExpr {
    cache.entry("any".into()).or_insert_with(ClassExpr::any).clone()
}

pub(super) struct Parser<'a> {
    pub cursor: Cursor<'a>,
    pub section: Option<Section>,
    pub class: ClassExpr,
    pub class_valid: bool,
    /// The rule that options still belong to.
    pub rule: Option<Rule>,
    pub late: Vec<PolicyError>,
    /// The promiser before was wrong: its options are not judged.
    pub muted: bool,
    /// The section keyword was wrong: nothing is judged up to the next.
    skipping: bool,
    /// The line of the first quoted text that spans lines.
    spans_lines: Option<u32>,
    cache: &'a mut ClassCache,
    pub out: Parsed,
}

impl<'a> Parser<'a> {
    pub fn pos(&self) -> Pos {
        self.cursor.source.pos(self.cursor.at)
    }

    /// Whether enough errors were told.
    pub fn full(&self) -> bool {
        self.out.errors.len() >= MOST_ERRORS
    }

    /// Whether no error was told about this line yet: one is enough for words that follow each other.
    pub fn fresh_line(&self, pos: &Pos) -> bool {
        self.out.errors.last().is_none_or(|error| error.pos.line != pos.line)
    }

    pub fn error(&mut self, pos: Pos, message: impl Into<String>, hint: Option<String>) {
        let error = self.cursor.source.error_at(pos, message).with_hint(hint);
        self.push(error);
    }

    fn push(&mut self, error: PolicyError) {
        if self.out.errors.len() < MOST_ERRORS {
            self.out.errors.push(error);
        }
    }

    fn file(&mut self) {
        loop {
            self.cursor.skip_blank();
            if self.cursor.peek().is_none() {
                break;
            }
            if self.keyword() || self.skip_unjudged() || self.predicate() {
                continue;
            }
            match self.section {
                None => {
                    let pos = self.pos();
                    self.error(
                        pos,
                        "syntax error: text before the first section",
                        Some("a policy begins with a section such as 'control:'".into()),
                    );
                    self.skipping = true;
                    self.cursor.skip_line();
                }
                Some(Section::Control) => self.assignment(false),
                Some(Section::Groups) => self.assignment(true),
                Some(Section::Import) => self.import(),
                Some(section @ (Section::Admit | Section::Deny)) => self.access(section),
                Some(section) if section.braces() => self.braces(section),
                Some(section) => self.entry(section),
            }
        }
        self.flush();
        if self.out.stmts.is_empty() && self.out.errors.is_empty() {
            let pos = self.cursor.source.pos(0);
            self.error(pos, "syntax error: the policy is empty", None);
        }
    }

    /// A section keyword, or a word that looks like one.
    fn keyword(&mut self) -> bool {
        let Some(word) = self.cursor.keyword() else {
            return false;
        };
        let pos = self.pos();
        match Section::from_keyword(word) {
            Some(section) => {
                self.flush();
                self.cursor.at += word.len() + 1;
                self.section = Some(section);
                self.class = any(self.cache);
                self.class_valid = true;
                self.muted = false;
                self.skipping = false;
                self.out.stmts.push(Stmt::Section(section, pos));
            }
            None if self.skipping && !self.cursor.first_on_line() => return false,
            None => {
                self.flush();
                let hint = did_you_mean(word, Section::keywords());
                let text = format!("syntax error: {NO_SECTION} '{}:'", word.as_bstr());
                self.error(pos, text, hint);
                self.cursor.at += word.len() + 1;
                self.skipping = true;
            }
        }
        true
    }

    fn skip_unjudged(&mut self) -> bool {
        if !self.skipping {
            return false;
        }
        let run = self.cursor.run().len();
        self.cursor.at += run;
        true
    }

    /// A class predicate.
    fn predicate(&mut self) -> bool {
        let start = self.pos();
        match self.cursor.predicate() {
            Predicate::None => return false,
            Predicate::Text(from, to) => {
                self.flush();
                let text = &self.cursor.bytes()[from..to];
                self.class_valid = true;
                match self.cache.get(text.as_bstr()) {
                    Some(class) => self.class = class.clone(),
                    None => match ClassExpr::parse(text) {
                        Ok(class) => {
                            self.cache.insert(text.into(), class.clone());
                            self.class = class;
                        }
                        Err(message) => {
                            self.class_valid = false;
                            let hint = text
                                .find_byteset(b",;")
                                .map(|_| "'.' means and, '|' means or".to_string());
                            self.error(start.clone(), message, hint);
                        }
                    },
                }
                if self.class_valid {
                    let (class, section) = (self.class.clone(), self.section);
                    self.out.predicates.push(ast::Predicate {
                        class,
                        section,
                        pos: start,
                    });
                }
            }
            Predicate::Illegal(at) => {
                self.flush();
                self.class_valid = false;
                let pos = self.cursor.source.pos(at);
                let byte = self.cursor.bytes()[at];
                self.error(
                    pos,
                    format!("Illegal character ({}) in a class predicate", [byte].as_bstr()),
                    Some("class names hold letters, digits and '_'; other characters become '_'".into()),
                );
            }
        }
        self.muted = false;
        true
    }

    /// Hands the current rule over.
    pub fn flush(&mut self) {
        let late = std::mem::take(&mut self.late);
        if let Some(rule) = self.rule.take()
            && self.class_valid
        {
            self.out.stmts.push(Stmt::Rule(rule, late));
        }
    }

    pub fn begin(&mut self, promiser: BString, quoted: bool, body: Body, pos: Pos) {
        self.flush();
        self.muted = false;
        self.rule = self.section.map(|section| Rule {
            section,
            class: self.class.clone(),
            promiser,
            quoted,
            attrs: Attrs::default(),
            body,
            pos,
        });
    }

    /// A quoted string at the cursor; an open one is reported and gives `None`. The quote that is missing may belong
    /// to an earlier text, which then ended where the next one should have begun: the hint names that.
    pub fn quoted(&mut self) -> Option<BString> {
        let pos = self.pos();
        let start = self.cursor.at;
        match self.cursor.quoted() {
            Quoted::Text(text) => {
                let next = self.cursor.peek();
                if text.contains(&b'\n')
                    && next.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"/$.".contains(&byte))
                {
                    // It ended at what opens the next text: `"/bin/a` newline `"/bin/b"`.
                    self.cursor.at = start;
                    self.cursor.skip_line();
                    let hint = Some("it would end in the middle of a later line".into());
                    self.error(pos, "syntax error: the quoted text has no end", hint);
                    return None;
                }
                if self.spans_lines.is_none() && text.contains(&b'\n') {
                    self.spans_lines = Some(pos.line);
                }
                Some(text)
            }
            Quoted::Open => {
                let hint = self
                    .spans_lines
                    .map(|line| format!("the text that begins in line {line} spans lines; is its quote missing?"));
                self.error(pos, "syntax error: the quoted text has no end", hint);
                None
            }
        }
    }

    /// An option at the cursor, resolved; wrong ones are reported and give `None`.
    pub fn option(&mut self, section: Section) -> Option<Attr> {
        let name = self.cursor.option_name()?;
        let pos = self.pos();
        self.cursor.at += name.len() + 1;
        let value = self.cursor.option_value();
        if self.full() {
            return None;
        }
        if value.is_empty() {
            let text = format!("{} attribute '{}=' with no value", section.name(), name.as_bstr());
            self.error(pos, text, Some("no blank may follow the '='".into()));
            return None;
        }
        if attr::allowed(section).is_none() {
            let text = format!("Options cannot be used in this context: {}=", name.as_bstr());
            self.error(pos, text, None);
            return None;
        }
        match attr::find(section, name) {
            Found::Name(name) => Some(Attr { name, value, pos }),
            Found::NotHere(full) => {
                let what = if full.as_bytes().eq_ignore_ascii_case(name) {
                    format!("'{full}='")
                } else {
                    format!("'{}=' (it stands for '{full}=')", name.as_bstr())
                };
                let text = format!("Illegal {} attribute: {what}", section.name());
                self.error(pos, text, attr::hint(section, name));
                None
            }
            Found::Unknown => {
                let text = format!("Illegal {} attribute: '{}='", section.name(), name.as_bstr());
                self.error(pos, text, attr::hint(section, name));
                None
            }
        }
    }

    /// Whether what is parsed now is kept (its predicate was understood).
    pub fn keeps(&self) -> bool {
        self.class_valid
    }
}
