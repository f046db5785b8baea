//! The format of a case file. Directives begin in the first column; their blocks are indented by two blanks or more.
//!
//! ```text
//! # A remark.
//! == a wrong mode is set right, and a second run is silent
//! ref: 14.2                       sections of the specification, ids of the checklist; every case has it
//! needs: root                     or a program's path: where it is not so, the case is left out
//! policy:                         @T@ is the directory of the objects, also on the lines below
//!   control:
//!     actionsequence = ( files )
//!   files:
//!     @T@/a mode=644 action=fixall
//! input cf.more:                  a further file beside the policy; input NAME MODE: gives it that mode (else 600)
//! module quick:                   a plug-in module:quick
//! env:                            more variables of the environment, NAME=VALUE
//! process p1: exec sleep 60       a helper, by /bin/sh; ended after the case
//! tree:                           the objects before the first run, parents are made
//!   file a 600 "text\n" age=3     mode 644, content empty and age 1 (days) unless said; owner=1:1 atime=2 size=3000
//!   file "odd \xff name"          names and contents in quotes know \n \t \\ \" \xNN
//!   file long
//!     | one line
//!     | another
//!   dir d 700
//!   link l -> @T@/a
//!   hard h -> a
//!   fifo f
//!   file /etc/resolv.conf "..."   a name with a slash in front lives under the prefix DSAU_ROOT
//! run -I:                         cfagent -K -q -I -f POLICY; the block is all of standard output, blank lines left out
//!   cfengine:HOST: Object T/a had permission 600, changed it to 644
//! error:                          all of standard error (default: nothing); exit: 1 is the status (default: 0)
//! never:                          texts that occur in no line
//! left:                           objects as they are now; what is not said (mode, content ...) may be anything
//!   file a 644 "text\n"
//!   gone b
//!   untouched c                   the same file, not written to or changed since before the run
//! left exactly:                   likewise, and nothing else is under @T@
//! alive: p1                       and dead: p1
//! change:                         lines as in tree:, and remove NAME, append NAME "text", mode NAME 600, age NAME 3
//! run locked:                     without -K; tool NAME ARGS: runs another program of the suite
//! ```
//!
//! In output a line `...` stands for any lines and `[..]` for anything in a line. The directory is `T`, its name with
//! underscores `_T`, the folder of the policy `I`, the prefix `R`, a time stamp in a name `STAMP`. `policy:` and `input:` after a run
//! replace the file. @I@, @R@, @U@ (underscores), @W@ (work directory), @HOST@ and @CFAGENT@ (its path) stand in all blocks that are given.

/// One case.
#[derive(Debug, Default)]
pub struct Case {
    pub name: String,
    pub line: usize,
    pub refs: String,
    pub needs: Vec<String>,
    pub env: Vec<(String, String)>,
    pub helpers: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

/// What is done in a case, in order.
#[derive(Debug)]
pub enum Step {
    /// A file beside the policy, or (absolute) under the prefix: name, mode, text.
    Input(String, u32, String),
    Change(Vec<Op>),
    Run(Run),
}

/// A line about an object: its kind or operation, its name, and what is said of it.
#[derive(Clone, Debug, Default)]
pub struct Op {
    pub word: String,
    pub name: Vec<u8>,
    pub mode: Option<u32>,
    pub content: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub number: Option<f64>,
    pub keys: Vec<(String, String)>,
    pub line: usize,
}

/// A run and what is expected of it.
#[derive(Debug, Default)]
pub struct Run {
    pub line: usize,
    pub tool: String,
    pub locked: bool,
    pub args: Vec<String>,
    pub out: Vec<String>,
    pub err: Vec<String>,
    pub exit: i32,
    pub never: Vec<String>,
    pub left: Vec<Op>,
    pub whole: bool,
    pub alive: Vec<String>,
    pub dead: Vec<String>,
}

impl Run {
    /// Whether anything could be wrong with it.
    fn asserts(&self) -> bool {
        self.out != ["..."]
            || self.whole
            || self.exit != 0
            || ![&self.never, &self.alive, &self.dead]
                .iter()
                .all(|list| list.is_empty())
            || !self.left.is_empty()
    }
}

/// A word of a line; quoted ones are never operators or keys.
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut out = Vec::new();
    let mut bytes = line.bytes().peekable();
    loop {
        while bytes.next_if(|b| *b == b' ').is_some() {}
        let Some(first) = bytes.peek().copied() else {
            return Ok(out);
        };
        let mut word = Vec::new();
        if first != b'"' {
            while let Some(byte) = bytes.next_if(|b| *b != b' ') {
                word.push(byte);
            }
            out.push(Word {
                bytes: word,
                quoted: false,
            });
            continue;
        }
        bytes.next();
        loop {
            match bytes.next().ok_or("a quote is not closed")? {
                b'"' => break,
                b'\\' => word.push(match bytes.next() {
                    Some(b'n') => b'\n',
                    Some(b't') => b'\t',
                    Some(b @ (b'\\' | b'"')) => b,
                    Some(b'x') => {
                        let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                        let digits = String::from_utf8_lossy(&digits).into_owned();
                        u8::from_str_radix(&digits, 16).map_err(|_| "\\x wants two digits")?
                    }
                    _ => return Err("unknown escape".into()),
                }),
                byte => word.push(byte),
            }
        }
        out.push(Word {
            bytes: word,
            quoted: true,
        });
    }
}

const OBJECTS: [&str; 5] = ["file", "dir", "link", "hard", "fifo"];
const CHANGES: [&str; 6] = ["remove", "append", "mode", "age", "owner", "wait"];
const STATES: [&str; 2] = ["gone", "untouched"];
const KEYS: [&str; 4] = ["owner", "age", "atime", "size"];

fn op(line: &str, number: usize, more: &[&str]) -> Result<Op, String> {
    let mut list = words(line)?.into_iter();
    let mut next = || list.next();
    let word = next().map(|w| String::from_utf8_lossy(&w.bytes).into_owned());
    let word = word.filter(|w| OBJECTS.contains(&w.as_str()) || more.contains(&w.as_str()));
    let mut op = Op {
        word: word.ok_or_else(|| format!("unknown: {}", line.trim()))?,
        line: number,
        ..Op::default()
    };
    op.name = next().ok_or("what?")?.bytes;
    while let Some(word) = next() {
        let text = String::from_utf8_lossy(&word.bytes).into_owned();
        let key = text.split_once('=').filter(|(key, _)| KEYS.contains(key));
        if word.quoted {
            op.content = Some(word.bytes);
        } else if text == "->" {
            op.target = Some(next().ok_or("a target is missing")?.bytes);
        } else if let Some((key, value)) = key {
            op.keys.push((key.into(), value.into()));
        } else if op.word == "age" || op.word == "owner" {
            op.keys.push((op.word.clone(), text));
        } else {
            let mode = u32::from_str_radix(&text, 8);
            op.mode = Some(mode.map_err(|_| format!("neither a mode nor KEY=VALUE nor quoted: {text}"))?);
        }
    }
    let linked = op.word == "link" || op.word == "hard";
    // What a link leads to need not be said of one that is looked at.
    let unsaid = op.word == "link" && more == STATES;
    if linked != op.target.is_some() && !unsaid {
        return Err(format!("{} and -> go together with link and hard only", op.word));
    }
    if op.word == "wait" {
        let seconds = String::from_utf8_lossy(&op.name).parse();
        op.number = Some(seconds.map_err(|_| "wait wants seconds")?);
    }
    Ok(op)
}

/// Object lines of a block, with contents on lines of their own that begin with a bar.
fn ops(block: &Block, more: &[&str]) -> Result<Vec<Op>, String> {
    let mut out: Vec<Op> = Vec::new();
    for (index, line) in block.lines.iter().enumerate() {
        let number = block.line + 1 + index;
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(rest) = text.strip_prefix('|') {
            let last = out.last_mut().ok_or("content without a file")?;
            let content = last.content.get_or_insert_default();
            content.extend(rest.strip_prefix(' ').unwrap_or(rest).bytes());
            content.push(b'\n');
            continue;
        }
        out.push(op(text, number, more).map_err(|fault| format!("line {number}: {fault}"))?);
    }
    Ok(out)
}

/// A directive with its block.
struct Block {
    line: usize,
    head: String,
    lines: Vec<String>,
}

impl Block {
    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The lines that say something.
    fn said(&self) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| !line.trim().is_empty());
        lines.cloned().collect()
    }

    fn list(&self) -> Vec<String> {
        self.text().split_whitespace().map(str::to_string).collect()
    }
}

/// Cuts a line in the first column into the directive and what stands behind it.
fn directive(line: &str, number: usize) -> Result<Block, String> {
    let (head, rest) = match line.strip_suffix(':') {
        Some(head) => (head, None),
        None => {
            let (head, rest) = line.split_once(": ").ok_or("a directive ends in a colon")?;
            (head, Some(rest.to_string()))
        }
    };
    Ok(Block {
        line: number,
        head: head.to_string(),
        lines: rest.into_iter().collect(),
    })
}

/// The cases of a file, and what is wrong with it.
pub fn parse(text: &str) -> (Vec<Case>, Vec<String>) {
    let (mut cases, mut wrong) = (Vec::<Case>::new(), Vec::new());
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                name: name.trim().into(),
                line: number,
                ..Case::default()
            });
        } else if line.is_empty() || line.starts_with("  ") {
            if let Some((_, block)) = blocks.last_mut() {
                block.lines.push(line.get(2..).unwrap_or_default().into());
            }
        } else if !line.starts_with('#') {
            match directive(line, number) {
                Ok(_) if cases.is_empty() => wrong.push(format!("line {number}: no case was begun")),
                Ok(block) => blocks.push((cases.len() - 1, block)),
                Err(fault) => wrong.push(format!("line {number}: {fault}")),
            }
        }
    }
    for (at, mut block) in blocks {
        while block.lines.last().is_some_and(|line| line.trim().is_empty()) {
            block.lines.pop();
        }
        if let Err(fault) = take(&mut cases[at], &block) {
            wrong.push(format!("line {}: {fault}", block.line));
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        let mut fault = |what: &str| wrong.push(format!("line {}: {what}: {}", case.line, case.name));
        let runs = || {
            case.steps
                .iter()
                .filter_map(|step| if let Step::Run(run) = step { Some(run) } else { None })
        };
        if case.refs.is_empty() {
            fault("no ref:");
        }
        if !runs().any(Run::asserts) {
            fault("nothing is asserted");
        }
        if !names.insert(&case.name) {
            fault("the name is taken");
        }
    }
    (cases, wrong)
}

fn take(case: &mut Case, block: &Block) -> Result<(), String> {
    let heads: Vec<&str> = block.head.split(' ').collect();
    let mode = |at: usize, default| match heads.get(at) {
        Some(text) => u32::from_str_radix(text, 8).map_err(|_| format!("{text} is no mode")),
        None => Ok(default),
    };
    match heads.as_slice() {
        ["ref"] => case.refs = block.list().join(" "),
        ["needs"] => case.needs.extend(block.list()),
        ["policy", ..] => case
            .steps
            .push(Step::Input("policy.cf".into(), mode(1, 0o600)?, block.text())),
        ["input", name, ..] => case
            .steps
            .push(Step::Input((*name).into(), mode(2, 0o600)?, block.text())),
        ["module", name, ..] => {
            let path = format!("/var/opt/dsau/cfengine/modules/module:{name}");
            case.steps.push(Step::Input(path, mode(2, 0o755)?, block.text()));
        }
        ["env"] => {
            for line in block.said() {
                let (name, value) = line.trim().split_once('=').ok_or("NAME=VALUE")?;
                case.env.push((name.into(), value.into()));
            }
        }
        ["process", name] => case.helpers.push(((*name).into(), block.text())),
        ["tree" | "change"] => case.steps.push(Step::Change(ops(block, &CHANGES)?)),
        ["run" | "tool", ..] => case.steps.push(Step::Run(run(block, &heads)?)),
        _ => after(case, block)?,
    }
    Ok(())
}

fn run(block: &Block, heads: &[&str]) -> Result<Run, String> {
    let mut rest: Vec<String> = words(&block.head)?
        .into_iter()
        .skip(1)
        .map(|word| String::from_utf8_lossy(&word.bytes).into_owned())
        .collect();
    let mut run = Run {
        line: block.line,
        out: block.said(),
        ..Run::default()
    };
    if heads[0] == "tool" {
        if rest.is_empty() {
            return Err("which tool?".into());
        }
        run.tool = rest.remove(0);
    } else if rest.first().is_some_and(|word| word == "locked") {
        rest.remove(0);
        run.locked = true;
    }
    run.args = rest;
    Ok(run)
}

/// A directive that says what the last run left behind.
fn after(case: &mut Case, block: &Block) -> Result<(), String> {
    let known = ["error", "exit", "never", "left", "left exactly", "alive", "dead"];
    if !known.contains(&block.head.as_str()) {
        return Err(format!("unknown directive {}", block.head));
    }
    let Some(Step::Run(run)) = case.steps.last_mut() else {
        return Err(format!("{} stands behind a run", block.head));
    };
    let states: Vec<&str> = STATES.to_vec();
    match block.head.as_str() {
        "error" => run.err = block.said(),
        "never" => run
            .never
            .extend(block.said().iter().map(|line| line.trim().to_string())),
        "alive" => run.alive = block.list(),
        "dead" => run.dead = block.list(),
        "exit" => run.exit = block.text().trim().parse().map_err(|_| "exit: wants a number")?,
        head => {
            run.left.extend(ops(block, &states)?);
            run.whole |= head == "left exactly";
        }
    }
    Ok(())
}
