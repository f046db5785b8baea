//! Parsing what stands in brackets: `name = ( … )` of `control:` and `groups:`, and the `{ … }` bodies of `editfiles:`,
//! `filters:`, `strategies:` and `acl:`.

use bstr::{BString, ByteSlice};

use super::ast::{Assignment, Stmt, Value};
use super::lexer::{is_blank, is_quote};
use super::parse::Parser;
use super::{Body, EditCommand, Pos, Section, call, edit};

impl<'a> Parser<'a> {
    /// `name = ( value … )`.
    pub(super) fn assignment(&mut self, groups: bool) {
        let pos = self.pos();
        let rest = self.cursor.rest();
        let len = name_len(rest);
        if len == 0 || !self.opens(len) {
            return self.no_assignment(pos, len);
        }
        let name: BString = rest[..len].into();
        self.cursor.at += len;
        self.cursor.skip_blank();
        self.cursor.at += 1; // '='
        self.cursor.skip_blank();
        let open = self.pos();
        self.cursor.at += 1; // '('
        let values = self.values(&open, &name);
        if self.keeps() {
            let class = self.class.clone();
            self.out.stmts.push(Stmt::Assign(Assignment {
                groups,
                class,
                name,
                values,
                pos,
            }));
        }
    }

    /// Whether `= (` follows behind a name of that length.
    fn opens(&mut self, len: usize) -> bool {
        let at = self.cursor.at;
        self.cursor.at += len;
        self.cursor.skip_blank();
        let mut found = false;
        if self.cursor.peek() == Some(b'=') {
            self.cursor.at += 1;
            self.cursor.skip_blank();
            found = self.cursor.peek() == Some(b'(');
        }
        self.cursor.at = at;
        found
    }

    fn no_assignment(&mut self, pos: Pos, len: usize) {
        let run = self.cursor.run();
        let word: BString = run.into();
        self.cursor.at += run.len();
        let line_end = self.cursor.rest().find_byte(b'\n').unwrap_or(self.cursor.rest().len());
        let line = &self.cursor.rest()[..line_end];
        let message = if word.ends_with(b":") {
            format!("There seems to be an action or class syntax error: {word}")
        } else if len > 0 && line.trim_start().starts_with(b"=") {
            format!("syntax error: the value of '{word}' does not stand in brackets")
        } else {
            format!("syntax error: '{word}' is no assignment")
        };
        let hint = Some("variables and classes are set by 'name = ( value )'".into());
        if self.fresh_line(&pos) {
            self.error(pos, message, hint);
        }
        if !word.ends_with(b":") {
            self.cursor.skip_line();
        }
    }

    fn values(&mut self, open: &Pos, name: &BString) -> Vec<Value> {
        let mut values = Vec::new();
        self.muted = false;
        loop {
            self.cursor.skip_blank();
            let pos = self.pos();
            let Some(byte) = self.cursor.peek() else {
                self.unclosed(open, name);
                return values;
            };
            if byte == b')' {
                self.cursor.at += 1;
                return values;
            }
            if self.next_statement() {
                self.unclosed(open, name);
                return values;
            }
            if is_quote(byte) {
                match self.quoted() {
                    Some(text) => values.push(Value::Text(text, pos)),
                    None => return values,
                }
                continue;
            }
            match call::read(&mut self.cursor) {
                Some(Ok(call)) => values.push(Value::Call(call)),
                Some(Err(message)) => {
                    self.error(pos, format!("syntax error: {message}"), None);
                    self.cursor.skip_line();
                    return values;
                }
                None => {
                    let word = self.cursor.list_word();
                    values.push(Value::Word(word.into(), pos));
                }
            }
        }
    }

    /// Whether a section, a predicate or the next assignment begins here: then the closing bracket was forgotten.
    fn next_statement(&mut self) -> bool {
        if let Some(word) = self.cursor.keyword()
            && Section::from_keyword(word).is_some()
            && self.cursor.first_on_line()
        {
            return true;
        }
        if !self.cursor.first_on_line() {
            return false;
        }
        let run = self.cursor.run();
        if run.ends_with(b"::")
            && run
                .iter()
                .all(|byte| super::class::is_class_byte(*byte) || *byte == b':')
        {
            return run.len() > 2;
        }
        let len = name_len(self.cursor.rest());
        len > 0 && self.opens(len)
    }

    fn unclosed(&mut self, open: &Pos, name: &BString) {
        let text = format!("syntax error: the bracket of '{name} = (' is never closed");
        self.error(open.clone(), text, Some("')' closes a list".into()));
    }

    /// A `{ … }` body.
    pub(super) fn braces(&mut self, section: Section) {
        let open = self.pos();
        let run = self.cursor.run();
        if self.cursor.peek() != Some(b'{') {
            self.cursor.at += run.len();
            if run.ends_with(b":") {
                let text = format!("There seems to be an action or class syntax error: {}", run.as_bstr());
                self.error(open, text, None);
            } else if self.fresh_line(&open) {
                let text = format!("syntax error: '{}' stands outside of braces", run.as_bstr());
                let hint = format!("{}: holds {{ … }} groups", section.name());
                self.error(open, text, Some(hint));
            }
            self.muted = true;
            return;
        }
        self.muted = false;
        self.cursor.at += 1;
        self.cursor.skip_blank();
        let pos = self.pos();
        let quoted = self.cursor.peek().is_some_and(is_quote);
        let name: Option<BString> = match self.cursor.peek() {
            Some(b'}') | None => None,
            Some(_) if quoted => self.quoted(),
            Some(_) => Some(self.brace_word().into()),
        };
        let Some(name) = name else {
            let what = if section == Section::EditFiles { "file" } else { "name" };
            self.error(
                open,
                format!("syntax error: the braces do not begin with a {what}"),
                None,
            );
            self.cursor.skip_line();
            return;
        };
        let body = match section {
            Section::EditFiles => self.edit_body(&open),
            Section::Acl => self.word_body(&open),
            _ => self.pair_body(&open),
        };
        let late = std::mem::take(&mut self.late);
        self.begin(name, quoted, body, pos);
        self.late = late;
        self.flush();
    }

    /// A word inside braces; a `}` that sticks to it ends it.
    fn brace_word(&mut self) -> &'a [u8] {
        let run = self.cursor.run();
        let mut len = run.len();
        if run.ends_with(b"}")
            && run.iter().filter(|b| **b == b'{').count() < run.iter().filter(|b| **b == b'}').count()
        {
            len -= 1;
        }
        self.cursor.at += len;
        &run[..len]
    }

    /// Skips blanks inside braces. False at the end: after `}`, or where it was forgotten (reported).
    fn inside(&mut self, open: &Pos) -> bool {
        self.cursor.skip_blank();
        match self.cursor.peek() {
            Some(b'}') => {
                self.cursor.at += 1;
                return false;
            }
            None => {}
            Some(b'{') => {
                let next = self.cursor.peek_at(1);
                if next.is_some_and(|byte| !is_blank(byte)) || !self.cursor.first_on_line() {
                    return true;
                }
            }
            Some(_) => {
                let keyword = self.cursor.first_on_line()
                    && self.cursor.keyword().is_some_and(|word| {
                        let rest = &self.cursor.rest()[word.len() + 1..];
                        let line = &rest[..rest.find_byte(b'\n').unwrap_or(rest.len())];
                        Section::from_keyword(word).is_some() && line.trim_start().first().is_none_or(|b| *b == b'#')
                    });
                if !keyword {
                    return true;
                }
            }
        }
        self.error(
            open.clone(),
            "syntax error: the brace is never closed",
            Some("'}' closes it".into()),
        );
        false
    }

    fn edit_body(&mut self, open: &Pos) -> Body {
        let mut commands = Vec::new();
        let errors_before = self.out.errors.len();
        while self.inside(open) {
            let pos = self.pos();
            if self.cursor.peek().is_some_and(is_quote) {
                let _ = self.quoted();
                self.edit_error(pos, "a quoted text that no edit command takes".into(), None);
                continue;
            }
            let word: BString = self.brace_word().into();
            if word.is_empty() {
                self.cursor.at += 1;
                continue;
            }
            match edit::find(&word) {
                Some((name, true)) => {
                    if let Some(arg) = self.edit_argument(name, &pos) {
                        commands.push(EditCommand { name, arg, pos });
                    }
                }
                Some((name, false)) => {
                    let at = self.cursor.at;
                    self.cursor.skip_blank();
                    if self.cursor.peek().is_some_and(is_quote) {
                        let _ = self.quoted();
                        self.edit_error(pos.clone(), format!("{name} takes no argument"), None);
                    } else {
                        self.cursor.at = at;
                    }
                    let arg = BString::default();
                    commands.push(EditCommand { name, arg, pos });
                }
                None if word.starts_with(b"/") => {
                    self.edit_error(pos, format!("Multiple filenames in editfiles: {word}"), None);
                }
                None => {
                    self.cursor.skip_blank();
                    if self.cursor.peek().is_some_and(is_quote) {
                        let _ = self.quoted();
                    }
                    let hint = if self.late.len() < 100 { edit::hint(&word) } else { None };
                    self.edit_error(pos, format!("Unknown edit action \"{word}\""), hint);
                }
            }
        }
        // What is missing because of an error above is not told again.
        if self.late.is_empty() && self.out.errors.len() == errors_before {
            for (pos, message) in edit::check(&commands) {
                self.edit_error(pos, message, None);
            }
        }
        commands.shrink_to_fit();
        Body::Edit(commands)
    }

    fn edit_argument(&mut self, name: &str, pos: &Pos) -> Option<BString> {
        let at = self.cursor.at;
        self.cursor.skip_blank();
        match self.cursor.peek() {
            Some(byte) if is_quote(byte) => self.quoted(),
            _ => {
                self.cursor.at = at;
                self.edit_error(pos.clone(), format!("{name} needs a quoted argument"), None);
                None
            }
        }
    }

    /// An error that counts only where the class of the group can become true.
    fn edit_error(&mut self, pos: Pos, message: String, hint: Option<String>) {
        if self.late.len() < 100 {
            let error = self.cursor.source.error_at(pos, message).with_hint(hint);
            self.late.push(error);
        }
    }

    /// `key: "value" …`
    fn pair_body(&mut self, open: &Pos) -> Body {
        let mut pairs = Vec::new();
        while self.inside(open) {
            let pos = self.pos();
            if self.cursor.peek().is_some_and(is_quote) {
                let _ = self.quoted();
                self.error(pos, "syntax error: a quoted text without a name before it", None);
                continue;
            }
            let word = self.brace_word();
            let (key, glued) = match word.find_byte(b':') {
                Some(at) => (BString::from(&word[..at]), BString::from(&word[at + 1..])),
                None => (BString::from(word), BString::default()),
            };
            let no_colon = !word.contains(&b':');
            if word.is_empty() {
                self.cursor.at += 1;
                continue;
            }
            if no_colon {
                self.cursor.skip_blank();
                if self.cursor.peek() != Some(b':') {
                    let text = format!("syntax error: '{key}' is not followed by ':'");
                    self.error(pos, text, Some("items are written name: \"value\"".into()));
                    continue;
                }
                self.cursor.at += 1;
            }
            let value: Option<BString> = if glued.is_empty() {
                self.cursor.skip_blank();
                match self.cursor.peek() {
                    Some(byte) if is_quote(byte) => self.quoted(),
                    Some(b'}') | None => {
                        self.error(pos.clone(), format!("'{key}:' has no value"), None);
                        None
                    }
                    Some(_) => Some(self.brace_word().into()),
                }
            } else {
                Some(glued)
            };
            if let Some(value) = value {
                pairs.push((key, value, pos));
            }
        }
        Body::Pairs(pairs)
    }

    fn word_body(&mut self, open: &Pos) -> Body {
        let mut words = Vec::new();
        while self.inside(open) {
            let pos = self.pos();
            let word: Option<BString> = if self.cursor.peek().is_some_and(is_quote) {
                self.quoted()
            } else {
                Some(self.brace_word().into())
            };
            match word {
                Some(word) if word.is_empty() => self.cursor.at += 1,
                Some(word) => words.push((word, pos)),
                None => {}
            }
        }
        Body::Words(words)
    }
}

fn name_len(rest: &[u8]) -> usize {
    rest.iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count()
}
