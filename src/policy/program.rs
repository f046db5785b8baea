//! Loading: a policy file with everything it imports becomes a [`Program`]. What is evaluated while reading stands in
//! `evaluate`.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use super::ast::Text;
use super::check;
use super::context::Scope;
use super::evaluate::Evaluation;
use super::parse::{ClassCache, parse};
use super::source::Source;
use super::{ClassExpr, Context, PolicyError, Pos, Rule, Section, World};
use crate::diag::plain;

/// Files one program may be made of.
const MOST_FILES: usize = 10_000;
/// The largest policy file.
const LARGEST: usize = 32 << 20;
/// All files of a program together.
const LARGEST_SUM: usize = 512 << 20;
/// More errors than this are not told.
const MOST_ERRORS: usize = 1_000;

/// Which program reads the policy, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `update.conf`, context `update`.
    Update,
    /// `cfagent.conf` or `-f FILE`, context `main`.
    Main,
    /// The file of a method, context `private-method`.
    Method,
    /// `cfservd.conf`: admit, grant and deny are in place, actions are not.
    Server,
}

/// How to read it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Accept agent and server sections alike, and what only a run refuses (checking any file with `-p`).
    pub any_section: bool,
    /// Keep what the files say besides their rules, for [`super::lint()`] and [`super::explain()`].
    pub keep_text: bool,
}

/// One entry of `actionsequence` (cfengine2.md 9.4): `copy.x.y`, `module:NAME args`.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceEntry {
    /// Holds it.
    pub class: ClassExpr,
    /// The whole entry as written.
    pub text: BString,
    /// Where it stands.
    pub pos: Pos,
}

/// A policy, ready to run.
#[derive(Debug, Default)]
pub struct Program {
    /// Every rule of every file, in text order (imports after the file that imports them).
    pub rules: Vec<Rule>,
    /// The action sequence, accumulated.
    pub sequence: Vec<SequenceEntry>,
    /// Classes and variables after reading.
    pub context: Context,
    /// The files read, in order; none when the entry file was not there, which is no error (cfengine2.md 5).
    pub files: Vec<PathBuf>,
    /// Warnings; they do not stop a run.
    pub warnings: Vec<PolicyError>,
    pub(super) text: Option<Box<Text>>,
    /// Variables that may be set once, and where they were.
    pub(super) declared: Vec<(&'static str, Pos)>,
    /// What names of control variables may have been meant: the variable, the name as written, the warning.
    pub(super) near_misses: Vec<(&'static str, BString, PolicyError)>,
    /// Bytes of the values of all variables.
    pub(super) held: usize,
}

impl Program {
    /// The rules of one section, in text order.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.section == section)
    }
}

impl Program {
    /// An error at a place of the policy, with the line when the text was kept.
    pub(super) fn error_at(&self, pos: &Pos, message: String) -> PolicyError {
        let sources = self.text.iter().flat_map(|text| &text.sources);
        match sources.into_iter().find(|source| source.holds(pos)) {
            Some(source) => source.error_at(pos.clone(), message),
            None => PolicyError {
                pos: pos.clone(),
                message,
                hint: None,
                excerpt: None,
            },
        }
    }
}

/// An import that waits for its turn.
pub(super) struct Import {
    pub class: ClassExpr,
    pub name: BString,
    pub from: PolicyError,
}

/// Reads `entry` and all it imports. Classes and variables in `context` are visible to it. All errors are reported, not
/// the first only.
pub fn load(
    entry: &BStr,
    phase: Phase,
    options: &Options,
    mut context: Context,
    world: &mut dyn World,
) -> Result<Program, Vec<PolicyError>> {
    context.set_scope(match phase {
        Phase::Update => Scope::Update,
        Phase::Main | Phase::Server => Scope::Main,
        Phase::Method => Scope::PrivateMethod,
    });
    context.clear_list("actionsequence");
    let mut program = Program {
        context,
        text: options.keep_text.then(Box::default),
        ..Program::default()
    };
    let mut errors = Vec::new();
    let mut cache = ClassCache::new();
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let mut sum = 0usize;
    let mut unlikely = 0;
    // Files that may use what is never set: an error about that is told with its line.
    let mut suspects: Vec<Source> = Vec::new();
    let mut queue: VecDeque<Import> = VecDeque::new();
    let mut next: Option<Import> = None;
    loop {
        let name: BString = match &next {
            None => entry.into(),
            Some(import) => import.name.clone(),
        };
        match world.read_policy(name.as_ref()) {
            Ok((path, bytes)) => {
                sum = sum.saturating_add(bytes.len());
                if bytes.len() > LARGEST || sum > LARGEST_SUM {
                    errors.push(told(&name, "the policy is too large (32 MiB a file, 512 MiB in all)"));
                    break;
                }
                if seen.insert(path.clone()) {
                    let source = Source::new(Arc::from(path.to_string_lossy().as_ref()), bytes);
                    program.files.push(path);
                    let parsed = parse(&source, &mut cache);
                    errors.extend(parsed.errors);
                    learn_env(&source.bytes, &mut program.context, world);
                    let mut evaluation = Evaluation::new(&source, phase, options, &mut program, world);
                    evaluation.run(parsed.stmts);
                    errors.append(&mut evaluation.errors);
                    unlikely += evaluation.unlikely;
                    queue.extend(evaluation.imports);
                    let suspect = check::undefined(&program.context, &source.bytes).is_some();
                    match &mut program.text {
                        Some(text) => {
                            text.predicates.extend(parsed.predicates);
                            text.sources.push(source);
                        }
                        None if suspect => suspects.push(source),
                        None => {}
                    }
                }
            }
            Err(error) => match &next {
                None if error.kind() == io::ErrorKind::NotFound => {}
                None => errors.push(told(&name, &plain(&format!("Can't open file {name}: {error}")))),
                Some(import) => errors.push(PolicyError {
                    message: plain(&format!("Can't open file {name}: {error}")),
                    hint: Some("imported files are looked up in the inputs directory (CFINPUTS)".into()),
                    ..import.from.clone()
                }),
            },
        }
        if errors.len() >= MOST_ERRORS || program.files.len() >= MOST_FILES {
            if program.files.len() >= MOST_FILES {
                errors.push(told(&name, "the policy imports more than 10,000 files"));
            }
            break;
        }
        // The predicate of an import is judged when its turn comes: the importing file has been read wholly then.
        next = loop {
            match queue.pop_front() {
                Some(import) if !program.context.holds(&import.class) => continue,
                other => break other,
            }
        };
        if next.is_none() {
            break;
        }
    }
    errors.extend(check::undefined_in_rules(&program).into_iter().map(|error| {
        let source = suspects.iter().find(|source| source.holds(&error.pos));
        match source {
            Some(source) => source.error_at(error.pos, error.message).with_hint(error.hint),
            None => program.error_at(&error.pos, error.message).with_hint(error.hint),
        }
    }));
    // A variable that is used is one of the policy's own, whatever its name is like.
    for (own, name, warning) in std::mem::take(&mut program.near_misses) {
        if !program.context.is_asked_for(&name) && !program.context.is_set(own) {
            let hint = format!("did you mean '{own}'?");
            program.warnings.push(warning.with_hint(Some(hint)));
        }
    }
    if unlikely > 0 {
        world.verbose(&format!(
            "{unlikely} rules are kept though nothing known so far makes their class true"
        ));
    }
    if !errors.is_empty() {
        sort(&mut errors, &program.files);
        errors.truncate(MOST_ERRORS);
        return Err(errors);
    }
    program.rules.shrink_to_fit();
    Ok(program)
}

/// Takes over the environment variables that a file names, for references the policy does not set (cfengine2.md 10).
fn learn_env(bytes: &[u8], context: &mut Context, world: &dyn World) {
    for at in bytes.find_iter(b"$") {
        let rest = &bytes[at + 1..];
        if !matches!(rest.first(), Some(b'(' | b'{')) {
            continue;
        }
        let name = &rest[1..];
        let len = name
            .iter()
            .take(256)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        if len > 0 && matches!(name.get(len), Some(b')' | b'}')) {
            context.learn_env(name[..len].as_bstr(), world);
        }
    }
}

/// Errors in the order of the files, then of the text.
fn sort(errors: &mut [PolicyError], files: &[PathBuf]) {
    let order = |error: &PolicyError| files.iter().position(|file| file.to_string_lossy() == *error.pos.file);
    errors.sort_by_cached_key(|error| (order(error), error.pos.line, error.pos.col));
}

fn told(name: &BString, message: &str) -> PolicyError {
    PolicyError {
        pos: Pos {
            file: Arc::from(name.to_str_lossy().as_ref()),
            line: 1,
            col: 1,
        },
        message: message.into(),
        hint: None,
        excerpt: None,
    }
}
