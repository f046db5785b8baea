//! Parsing the entries of sections without brackets: an object with its options, arrows, calls, imports, access rules.

use bstr::{BString, ByteSlice};

use super::ast::{Access, Stmt};
use super::lexer::is_quote;
use super::parse::Parser;
use super::source::did_you_mean;
use super::{Body, Pos, Section, call, functions};

impl Parser<'_> {
    /// One token of a section without braces.
    pub(super) fn entry(&mut self, section: Section) {
        let pos = self.pos();
        if self.cursor.option_name().is_some() {
            let muted = self.muted || self.rule.is_none();
            let before = self.out.errors.len();
            let attr = self.option(section);
            match (&mut self.rule, attr) {
                (Some(rule), Some(attr)) => rule.attrs.0.push(attr),
                (None, Some(_)) if !self.muted => {
                    self.error(pos, "an attribute without an object before it", None);
                    self.muted = true;
                }
                (_, None) if muted && self.muted => self.out.errors.truncate(before),
                _ => {}
            }
            return;
        }
        if self.cursor.peek().is_some_and(is_quote) {
            match self.quoted() {
                Some(text) => self.object(section, text, true, pos),
                None => self.muted = true,
            }
            return;
        }
        if matches!(section, Section::Alerts | Section::Methods) {
            return self.call_entry(section, pos);
        }
        let word = self.cursor.run();
        self.cursor.at += word.len();
        if section == Section::Processes && word == b"restart" {
            return self.restart(pos);
        }
        if section == Section::Processes && word.eq_ignore_ascii_case(b"SetOptionString") {
            self.flush();
            if let Some(text) = self.argument("SetOptionString") {
                self.begin(text, true, Body::SetOptionString, pos);
                self.flush();
            }
            return;
        }
        if word.ends_with(b":") {
            self.flush();
            self.muted = true;
            let text = format!("There seems to be an action or class syntax error: {}", word.as_bstr());
            self.error(
                pos,
                text,
                Some("a class predicate ends in '::', a section keyword stands alone".into()),
            );
            return;
        }
        self.object(section, word.into(), false, pos);
    }

    /// The quoted argument of a word such as `restart`.
    fn argument(&mut self, what: &str) -> Option<BString> {
        let at = self.cursor.at;
        self.cursor.skip_blank();
        if self.cursor.peek().is_some_and(is_quote) {
            return self.quoted();
        }
        let pos = self.cursor.source.pos(at);
        self.error(pos, format!("{what} needs a quoted argument"), None);
        None
    }

    fn restart(&mut self, pos: Pos) {
        let at = self.cursor.at;
        self.cursor.skip_blank();
        let word = self.cursor.run();
        let command = if word.starts_with(b"/") {
            self.cursor.at += word.len();
            Some(word.into())
        } else {
            self.cursor.at = at;
            self.argument("restart")
        };
        let Some(command) = command else {
            return;
        };
        match &mut self.rule {
            Some(rule) => rule.body = Body::Restart(command),
            None => self.error(pos, "restart without a process expression before it", None),
        }
    }

    fn call_entry(&mut self, section: Section, pos: Pos) {
        match call::read(&mut self.cursor) {
            Some(Ok(call)) => {
                if section == Section::Alerts && !matches!(functions::find(&call.name), Some(functions::Work::Alert)) {
                    let hint = did_you_mean(&call.name, functions::alerts());
                    let text = functions::out_of_place(&call.name, "alerts");
                    self.error(pos, text, hint);
                    self.flush();
                    self.muted = true;
                    return;
                }
                self.begin(call.name, false, Body::Call(call.args), pos);
            }
            Some(Err(message)) => {
                self.error(pos, format!("syntax error: {message}"), None);
                self.flush();
                self.muted = true;
                self.cursor.skip_line();
            }
            None => {
                let word = self.cursor.run();
                self.cursor.at += word.len();
                self.flush();
                if self.fresh_line(&pos) {
                    let text = format!("Unknown command or name out of context: {}", word.as_bstr());
                    let hint = match section {
                        Section::Alerts => "an alert is a quoted message or a function call",
                        _ => "a method is written Name(arguments)",
                    };
                    self.error(pos, text, Some(hint.into()));
                }
                self.muted = true;
            }
        }
    }

    /// An object: the beginning of a rule, with what belongs to it in irregular sections.
    fn object(&mut self, section: Section, text: BString, quoted: bool, pos: Pos) {
        match section {
            Section::Links => self.link(text, quoted, pos),
            Section::MiscMounts => self.misc_mount(text, quoted, pos),
            _ => self.begin(text, quoted, Body::None, pos),
        }
    }

    fn link(&mut self, from: BString, quoted: bool, pos: Pos) {
        let line_end = self.cursor.at;
        self.cursor.skip_blank();
        let (children, force) = match self.cursor.run() {
            b"->" => (false, false),
            b"->!" => (false, true),
            b"+>" => (true, false),
            b"+>!" => (true, true),
            _ => {
                self.flush();
                if self.fresh_line(&pos) {
                    let text = format!("syntax error: '{from}' is not followed by '->' or '+>'");
                    self.error(pos, text, Some("a link is written FROM -> TO".into()));
                }
                self.muted = true;
                self.cursor.at = line_end;
                return;
            }
        };
        let len = self.cursor.run().len();
        self.cursor.at += len;
        let after = self.cursor.at;
        self.cursor.skip_blank();
        let to = match self.cursor.peek() {
            Some(byte) if is_quote(byte) => self.quoted(),
            Some(_) if self.cursor.option_name().is_none() && self.cursor.keyword().is_none() => {
                let word = self.cursor.run();
                self.cursor.at += word.len();
                Some(word.into())
            }
            _ => {
                self.cursor.at = after;
                None
            }
        };
        match to {
            Some(to) => self.begin(from, quoted, Body::Link { to, children, force }, pos),
            None => {
                self.error(pos, format!("the link '{from}' has no target"), None);
                self.flush();
                self.muted = true;
            }
        }
    }

    /// `host:/source /mount/point`, then options; the old form `ro` or `rw` as a word.
    fn misc_mount(&mut self, text: BString, quoted: bool, pos: Pos) {
        if let Some(rule) = &mut self.rule
            && let Body::Members(words) = &mut rule.body
        {
            let room = words.is_empty() || (words.len() == 1 && !text.contains(&b'/'));
            if room {
                words.push((text, pos));
                return;
            }
        }
        self.begin(text, quoted, Body::Members(Vec::new()), pos);
    }

    pub(super) fn import(&mut self) {
        let pos = self.pos();
        if self.cursor.option_name().is_some() {
            let _ = self.option(Section::Import);
            return;
        }
        let name: Option<BString> = if self.cursor.peek().is_some_and(is_quote) {
            self.quoted()
        } else {
            let word = self.cursor.run();
            self.cursor.at += word.len();
            if word.ends_with(b":") {
                let text = format!("There seems to be an action or class syntax error: {}", word.as_bstr());
                self.error(pos, text, None);
                return;
            }
            Some(word.into())
        };
        if let (Some(name), true) = (name, self.class_valid) {
            let class = self.class.clone();
            self.out.stmts.push(Stmt::Import { class, name, pos });
        }
    }

    pub(super) fn access(&mut self, section: Section) {
        let pos = self.pos();
        let part = if self.cursor.option_name().is_some() {
            self.option(section).map(Access::Attr)
        } else if self.cursor.peek().is_some_and(is_quote) {
            self.quoted().map(|text| Access::Word(text, true, pos))
        } else {
            let word = self.cursor.run();
            self.cursor.at += word.len();
            Some(Access::Word(word.into(), false, pos))
        };
        let (Some(part), true) = (part, self.class_valid) else {
            return;
        };
        match self.out.stmts.last_mut() {
            Some(Stmt::Access {
                section: before,
                class,
                parts,
            }) if *before == section && *class == self.class => {
                parts.push(part);
            }
            _ => {
                let class = self.class.clone();
                let parts = vec![part];
                self.out.stmts.push(Stmt::Access { section, class, parts });
            }
        }
    }
}
