//! The bodies of the fuzz targets: what must hold for any input. `fuzz/targets` calls them under the fuzzer, and
//! `tests/cli/fuzz.rs` on everything that was found so far.
//!
//! An input is cut into parts at its zero bytes; what a part means stands with each body. Nothing here does I/O.

#[path = "chunks.rs"]
pub mod chunks;
#[path = "protocol.rs"]
pub mod protocol;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice};
use dsau::agent::editfiles::{self, Block, EditOptions, EditWorld, Edited, Tone};
use dsau::policy::{
    self, Body, ClassExpr, CommandOutput, Context, FileFacts, FileKind, MOST_PRODUCTS, Options, Phase, PolicyError,
    Program, Rule, Section, World,
};

/// Bytes that one expanded text may have, whatever the variables say.
const LONGEST_TEXT: usize = 8 << 20;
/// Bytes that all texts of one iteration may have.
const MOST_BYTES: usize = 160 << 20;

/// A machine that answers every question from the input.
struct Paper<'a> {
    parts: Vec<&'a [u8]>,
}

impl<'a> Paper<'a> {
    fn new(input: &'a [u8]) -> Self {
        Paper {
            parts: input.split(|byte| *byte == 0).collect(),
        }
    }

    /// The part that a name stands for: the last byte of the name chooses.
    fn part(&self, name: &[u8]) -> usize {
        name.last().copied().unwrap_or(0) as usize % self.parts.len()
    }
}

impl World for Paper<'_> {
    fn read_policy(&mut self, name: &BStr) -> io::Result<(PathBuf, Vec<u8>)> {
        let part = self.part(name);
        if name.starts_with(b"missing") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((PathBuf::from(format!("part{part}")), self.parts[part].to_vec()))
    }

    fn env(&self, name: &BStr) -> Option<BString> {
        name.starts_with(b"E").then(|| self.parts[self.part(name)].into())
    }

    fn run(&mut self, command: &BStr, shell: bool) -> io::Result<CommandOutput> {
        match command.starts_with(b"/") || shell {
            true => Ok(CommandOutput {
                text: self.parts[self.part(command)].into(),
                status: command.len() as i32 % 3,
            }),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lstat(&self, path: &BStr) -> Option<FileFacts> {
        let kinds = [FileKind::Plain, FileKind::Dir, FileKind::Link, FileKind::Other];
        let time = path.len() as i128;
        (!path.len().is_multiple_of(5)).then(|| FileFacts {
            kind: kinds[path.len() % 4],
            atime: time,
            mtime: -time,
            ctime: time * 7,
        })
    }

    fn read_file(&self, path: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        let part = self.parts[self.part(path)];
        Ok(part[..part.len().min(limit)].to_vec())
    }

    fn user_exists(&self, user: &BStr) -> bool {
        user.len().is_multiple_of(2)
    }

    fn group_exists(&self, group: &BStr) -> bool {
        group.len() % 2 == 1
    }

    fn in_netgroup(&self, group: &BStr) -> bool {
        group.len().is_multiple_of(3)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![[10, 1, 2, 3].into(), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])]
    }

    fn run_module(&mut self, name: &BStr, _: &BStr, _: &BStr) -> Option<io::Result<CommandOutput>> {
        (name.len().is_multiple_of(2)).then(|| self.run(name, true))
    }

    fn read_tcp(&mut self, host: &BStr, _: u16, _: &BStr, limit: usize) -> io::Result<Vec<u8>> {
        self.read_file(host, limit)
    }

    fn random(&mut self, low: u64, high: u64) -> u64 {
        low + (high - low) / 2
    }

    fn verbose(&mut self, _: &str) {}
}

fn host() -> Context {
    let mut context = Context::default();
    for class in ["linux", "orc", "undefined_domain"] {
        context.define(class);
    }
    context.set("host", "orc");
    context
}

fn load(input: &[u8], phase: Phase, context: Context) -> Result<Program, Vec<PolicyError>> {
    let options = Options {
        any_section: true,
        ..Options::default()
    };
    policy::load("\0".into(), phase, &options, context, &mut Paper::new(input))
}

/// A policy: the first part is the entry file, the others are what it imports, reads and runs. It is a program or has
/// errors with a place; what is a program comes back from the printer as it was.
pub fn policy(input: &[u8]) {
    for phase in [Phase::Main, Phase::Server] {
        match load(input, phase, host()) {
            Ok(program) => {
                for rule in program.rules.iter().take(50) {
                    let _ = program.context.holds(&rule.class);
                }
                printed(input, phase, program);
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in errors {
                    assert!(error.pos.line >= 1 && error.pos.col >= 1, "{error}");
                    let _ = policy::format_error(&error, true);
                }
            }
        }
    }
}

fn placeless(rules: Vec<Rule>) -> Vec<Rule> {
    rules.into_iter().map(Rule::placeless).collect()
}

fn printed(input: &[u8], phase: Phase, program: Program) {
    if program.rules.is_empty() {
        return;
    }
    let text = policy::print(&program.rules).expect("what was parsed can be printed");
    // What a text means may hang on variables: then it is judged, and access rules are cut, by the values of its time.
    let floating = input.contains(&b'$') || input.to_ascii_lowercase().contains_str("split");
    let access = |rule: &Rule| matches!(rule.section, Section::Admit | Section::Deny);
    // A zero byte would end the part; none is left in it.
    match load(&text, phase, program.context.clone()) {
        Ok(_) if floating && program.rules.iter().any(access) => {}
        Ok(again) => assert_eq!(placeless(again.rules), placeless(program.rules), "{}", text.as_bstr()),
        Err(errors) => assert!(floating, "{}\n{}", errors[0], text.as_bstr()),
    }
}

/// A class expression: what is parsed is kept as written and means what a plain reading of the text means; what holds
/// could hold.
pub fn class(input: &[u8]) {
    let Ok(class) = ClassExpr::parse(input) else { return };
    assert_eq!(class.text(), input.as_bstr());
    let name = policy::canonify(input);
    assert!(name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'));
    for salt in 0..4u8 {
        let known = |name: &[u8]| name.iter().fold(salt, |sum, byte| sum.rotate_left(1) ^ byte) & 2 != 0;
        let value = class.eval(&|name| known(name));
        assert_eq!(Some(value), plain(input, &known), "{}", input.as_bstr());
        assert!(!value || class.could(&|name| known(name)));
    }
}

/// The value of a predicate by cutting the text: at `|` outside brackets, then at `.` and `&`. `None`: an empty term,
/// which is false and so is its negation.
fn cut(text: &[u8], known: &dyn Fn(&[u8]) -> bool) -> Option<bool> {
    for signs in [b"|".as_slice(), b".&"] {
        let mut depth = 0usize;
        let terms: Vec<&[u8]> = text
            .split(|byte| {
                depth += usize::from(*byte == b'(');
                depth -= usize::from(*byte == b')');
                depth == 0 && signs.contains(byte)
            })
            .collect();
        if terms.len() > 1 {
            let mut values = terms.iter().map(|term| cut(term, known).unwrap_or(false));
            return Some(match signs {
                b"|" => values.any(|value| value),
                _ => values.all(|value| value),
            });
        }
    }
    if let Some(inner) = text.strip_prefix(b"!") {
        let bangs = 1 + inner.iter().take_while(|byte| **byte == b'!').count();
        return cut(&text[bangs..], known).map(|value| value != (bangs % 2 == 1));
    }
    match text {
        [] => None,
        [b'(', inner @ .., b')'] => cut(inner, known),
        name => Some(known(&policy::canonify(name))),
    }
}

fn plain(text: &[u8], known: &dyn Fn(&[u8]) -> bool) -> Option<bool> {
    Some(cut(text, known).unwrap_or(false))
}

/// Expansion: the parts are `name=value` variables but the last two, which are texts. Nothing grows beyond its bounds,
/// and an iteration that is no error is the whole product.
pub fn expand(input: &[u8]) {
    let mut parts: Vec<&[u8]> = input.split(|byte| *byte == 0).collect();
    let text = parts.pop().unwrap_or_default().as_bstr();
    let other = parts.pop().unwrap_or_default().as_bstr();
    let mut context = host();
    for part in parts.into_iter().take(64) {
        match part.split_once_str("=") {
            Some((name, value)) => context.set(name, value),
            None => {
                context.apply_module_output(part.as_bstr());
            }
        }
    }
    for text in [text, other] {
        let expanded = context.expand(text);
        assert!(expanded.len() <= LONGEST_TEXT, "{}", expanded.len());
        if !text.contains(&b'$') {
            assert_eq!(expanded, text);
        }
        assert!(context.expand_value(text).len() <= LONGEST_TEXT);
        let texts = context.iterate(text);
        assert!(!texts.is_empty() && texts.len() <= MOST_PRODUCTS);
        assert!(texts.iter().map(|text| text.len()).sum::<usize>() <= MOST_BYTES);
        if let Ok(all) = context.try_iterate(text) {
            assert_eq!(all, texts);
        }
    }
    let pairs = context.iterate_tied(text, other);
    assert!(!pairs.is_empty() && pairs.len() <= MOST_PRODUCTS);
    assert!(pairs.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>() <= 2 * MOST_BYTES);
    let _ = context.list(text);
}

/// A machine for edits: the real expansion, files from the parts of the input.
struct Desk<'a> {
    context: Context,
    paper: Paper<'a>,
}

impl EditWorld for Desk<'_> {
    fn expand(&self, text: &BStr) -> BString {
        self.context.expand(text)
    }

    fn iterate(&self, text: &BStr, separator: u8) -> Vec<BString> {
        let mut context = self.context.clone();
        context.set("Split", [separator].as_slice());
        context.iterate(text)
    }

    fn holds(&self, class: &ClassExpr) -> bool {
        self.context.holds(class)
    }

    fn holds_text(&self, class: &BStr) -> bool {
        ClassExpr::parse(class).is_ok_and(|class| self.context.holds(&class))
    }

    fn define(&mut self, classes: &BStr) {
        self.context.define_list(classes);
    }

    fn exists(&self, path: &BStr) -> bool {
        path.len().is_multiple_of(2)
    }

    fn newer(&self, path: &BStr) -> bool {
        path.len().is_multiple_of(3)
    }

    fn read(&self, path: &BStr) -> io::Result<Vec<u8>> {
        match path.starts_with(b"/") {
            true => self.paper.read_file(path, usize::MAX),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn run_script(&mut self, command: &BStr, content: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match command.len() % 3 {
            0 => Err(io::ErrorKind::NotFound.into()),
            1 => Ok(None),
            _ => Ok(Some(content.replace("a", "b"))),
        }
    }

    fn mountables(&self) -> Vec<BString> {
        vec!["srv:/export/a".into()]
    }

    fn say(&mut self, _: Tone, _: &BStr) {}
}

/// An edit: the first part is a policy, or commands alone, the second the content of the file. Nothing grows beyond what
/// its commands can add, and a program that settles changes nothing the second time.
pub fn editfiles(input: &[u8]) {
    let (policy, rest) = input.split_once_str("\0").unwrap_or((input, b""));
    let content = rest.split_once_str("\0").map_or(rest, |(content, _)| content);
    let policy = match policy.contains_str("editfiles:") {
        true => policy.to_vec(),
        false => [b"editfiles: { /f\n".as_slice(), policy, b"\n}\n"].concat(),
    };
    let Ok(program) = load(&policy, Phase::Main, host()) else {
        return;
    };
    let mut blocks = Vec::new();
    for rule in program.section(Section::EditFiles).take(8) {
        if let Body::Edit(commands) = &rule.body {
            let class = &rule.class;
            blocks.push(Block { class, commands });
        }
    }
    let desk = || Desk {
        context: program.context.clone(),
        paper: Paper::new(rest),
    };
    let run = |content: &[u8]| -> Option<Edited> {
        let mut desk = desk();
        let options = EditOptions::read(&blocks, &desk, 0o077).ok()?;
        Some(editfiles::edit("/f".into(), content, &blocks, &options, &mut desk))
    };
    let Some(once) = run(content) else { return };
    assert!(once.changed || once.by_script || once.content == content);
    if editfiles::settles(&blocks, &desk()) {
        let Some(twice) = run(&once.content) else { return };
        assert!(
            !twice.changed,
            "{}\n-- then --\n{}",
            once.content.as_bstr(),
            twice.content.as_bstr()
        );
        assert_eq!(twice.content, once.content);
    }
}
