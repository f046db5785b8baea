//! Answers about a policy that is read and not run: `--lint` and `--explain`, as text or as JSON, one object a line.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;

use bstr::{BString, ByteSlice};
use clap::{Arg, ArgAction, ArgMatches};

use crate::diag::{Exit, Fail, Out, harmless};
use crate::policy::{self, Explained, Finding, Mention, Program, Tone};

/// `--lint`.
pub fn lint_arg() -> Arg {
    Arg::new("lint")
        .long("lint")
        .action(ArgAction::SetTrue)
        .help("With -p: also tell what is legal but hardly meant")
}

/// `--json`, for tools that have no other use for it.
pub fn json_arg() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Findings as JSON, one object a line")
}

/// `--explain`.
pub fn explain_arg() -> Arg {
    Arg::new("explain")
        .long("explain")
        .value_name("WORD")
        .value_parser(clap::value_parser!(OsString))
        .help("Tell which rules have to do with this path, class or variable, and leave")
}

/// What is asked.
pub struct Ask {
    what: What,
    json: bool,
}

enum What {
    Lint,
    Explain(BString),
}

impl Ask {
    /// The question on a command line, if there is one.
    pub fn from_matches(matches: &ArgMatches) -> Option<Ask> {
        let given = |name: &str| matches.try_contains_id(name).unwrap_or(false);
        let what = if given("explain") {
            let word = matches.get_one::<OsString>("explain")?;
            What::Explain(word.as_bytes().into())
        } else if matches.get_flag("lint") {
            What::Lint
        } else {
            return None;
        };
        let json = matches.get_flag("json");
        Some(Ask { what, json })
    }

    /// Answers from the programs a run would carry out, `update.conf` first. Status 1 when there is something to tell
    /// that should not be, or nothing where something was asked for.
    pub fn answer(&self, programs: &[Program]) -> Result<Exit, Fail> {
        if programs.is_empty() {
            let fail = Fail::new(Exit::Code(1), "there is no policy to look at");
            return Err(fail.hint("name one with -f, or put cfagent.conf into the inputs directory"));
        }
        let terminal = std::io::stdout().is_terminal();
        let mut out = Out::stdout();
        let mut say = |text: String| {
            let line = if terminal {
                bstr::join("\n", text.lines().map(|line| harmless(line.as_bytes())))
            } else {
                text.into_bytes()
            };
            out.line(line)
                .map_err(|e| Fail::new(Exit::Failed, "cannot write").because(e))
        };
        match &self.what {
            What::Lint => {
                let findings: Vec<Finding> = programs.iter().flat_map(policy::lint).collect();
                for finding in &findings {
                    say(if self.json {
                        finding_json(finding)
                    } else {
                        finding_text(finding, terminal)
                    })?;
                }
                let clean = findings.iter().all(|finding| finding.tone == Tone::Note);
                Ok(Exit::Code(u8::from(!clean)))
            }
            What::Explain(word) => {
                let all: Vec<Explained> = programs
                    .iter()
                    .map(|program| policy::explain(program, word.as_bstr()))
                    .collect();
                let known = all.iter().any(|explained| explained.known);
                for (program, explained) in programs.iter().zip(&all).filter(|(_, one)| one.known || !known) {
                    for line in self.explained(program, explained, programs.len() > 1) {
                        say(line)?;
                    }
                }
                Ok(Exit::Code(u8::from(!known)))
            }
        }
    }

    fn explained(&self, program: &Program, explained: &Explained, several: bool) -> Vec<String> {
        if self.json {
            return explained_json(explained);
        }
        let mut lines = Vec::new();
        if several && let Some(file) = program.files.first() {
            lines.push(format!("{}:", file.display()));
        }
        if !explained.known {
            let text = match explained.about {
                policy::About::Path => format!("no rule touches {}", explained.word),
                _ => format!("nothing sets or asks for {}", explained.word),
            };
            lines.push(text);
        }
        lines.extend(explained.facts.iter().cloned());
        lines.extend(
            explained
                .mentions
                .iter()
                .map(|mention| mention_text(mention, explained.about, program.sequence.len())),
        );
        lines
    }
}

fn finding_text(finding: &Finding, excerpt: bool) -> String {
    let rendered = policy::format_error(&finding.what, excerpt);
    let tone = if finding.tone == Tone::Note { "note: " } else { "" };
    let (first, rest) = match rendered.split_once('\n') {
        Some((first, rest)) => (first, format!("\n{rest}")),
        None => (rendered.as_str(), String::new()),
    };
    let place = finding.what.pos.to_string();
    let message = first.strip_prefix(&place).unwrap_or(first).trim_start_matches(": ");
    format!("{place}: {tone}{message} [{}]{rest}", finding.check)
}

fn finding_json(finding: &Finding) -> String {
    let pos = &finding.what.pos;
    serde_json::json!({
        "event": "finding",
        "file": &*pos.file,
        "line": pos.line,
        "col": pos.col,
        "check": finding.check,
        "tone": if finding.tone == Tone::Note { "note" } else { "warning" },
        "message": finding.what.message,
        "hint": finding.what.hint,
    })
    .to_string()
}

fn mention_text(mention: &Mention, about: policy::About, entries: usize) -> String {
    let holds = if mention.holds { "holds" } else { "does not hold" };
    let acts = about == policy::About::Path;
    let turn = match mention.turn {
        Some(turn) if acts => format!(", turn {turn} of {entries}"),
        None if acts && mention.relation == "touches" => ", no turn".into(),
        _ => String::new(),
    };
    let decides = match mention.decides.is_empty() {
        true => String::new(),
        false => format!(" [decides {}]", mention.decides.join(", ")),
    };
    let relation = if acts {
        String::new()
    } else {
        format!("{} ", mention.relation)
    };
    format!(
        "{}: {relation}{}: ({}:: {holds}{turn}) {}{decides}",
        mention.pos,
        mention.section,
        mention.class.text(),
        mention.does
    )
}

fn explained_json(explained: &Explained) -> Vec<String> {
    let word = explained.word.to_str_lossy();
    let about = explained.about.name();
    let mut lines = vec![
        serde_json::json!({
            "event": "explained",
            "word": word,
            "about": about,
            "known": explained.known,
            "facts": explained.facts,
        })
        .to_string(),
    ];
    lines.extend(explained.mentions.iter().map(|mention| {
        serde_json::json!({
            "event": "mention",
            "word": word,
            "about": about,
            "relation": mention.relation,
            "file": &*mention.pos.file,
            "line": mention.pos.line,
            "col": mention.pos.col,
            "section": mention.section,
            "class": mention.class.text().to_str_lossy(),
            "holds": mention.holds,
            "turn": mention.turn,
            "does": mention.does,
            "decides": mention.decides,
        })
        .to_string()
    }));
    lines
}
