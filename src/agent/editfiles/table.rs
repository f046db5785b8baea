//! The one table: every edit command of cfengine2.md 15.2 and what it does.

/// How lines are chosen: "Starting" and "Containing" are literal, "Matching" is a regular expression for the whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Starting,
    Containing,
    Matching,
    /// Equal to the text.
    Same,
}

/// What stands before and after a commented line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `SetCommentStart`, `SetCommentEnd`.
    Set,
    /// Fixed.
    Fixed(&'static str),
}

/// What must hold for a group to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The current line.
    Current,
    /// Some line.
    Line(Test),
    Defined,
    FileExists,
    FileIsNewer,
}

/// What a command says about the edit as a whole; read before the edit, not in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Audit,
    AutoCreate,
    Backup,
    DefineClasses,
    EditMode,
    ElseDefineClasses,
    Exclude,
    ExpireAfter,
    Filter,
    IfElapsed,
    Ignore,
    Include,
    Inform,
    Recurse,
    Repository,
    Syslog,
    Umask,
    UseShell,
}

/// What a command does, by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Setting(Setting),
    Flow(Flow),
    Add(Add),
    Delete(Delete),
    Comment(Comment),
    Place(Place),
    Replace(Replace),
    Whole(Whole),
    Warn(Warn),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Group { gate: Gate, not: bool },
    EndGroup,
    ForEach,
    EndLoop,
    Catch,
    BreakIf,
    AbortAt,
    UnsetAbort,
    EditSplit,
    SetLine,
    DefineInGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Add {
    Append,
    Prepend,
    AppendIfNoSuch,
    PrependIfNoSuch,
    AppendIfNoMatch,
    PrependIfNoMatch,
    AppendFromFile,
    AppendToLine,
    InsertLine,
    InsertFile,
    Automount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    Lines { not: bool, test: Test },
    Items { not: bool, test: Test },
    AfterThis,
    N,
    To,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comment {
    Lines(Mark, Test),
    To(Mark),
    N,
    UnLines(Test),
    UnN,
    UnTo,
    Start,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Locate,
    Increment,
    Reset,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    All,
    First,
    With,
    Line,
    Field,
    SplitOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    Expand,
    EndOfLine,
    Script,
    SetScript,
    ScriptIf { not: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warn {
    Line(Test),
    NoLine(Test),
    FileMissing,
    ContainsString,
    ContainsFile,
}

impl Op {
    /// Whether the argument may be a list (`EditSplit`). Groups, loops, replacements and settings take it whole.
    pub fn iterates(self) -> bool {
        match self {
            Op::Add(_) | Op::Delete(_) | Op::Warn(_) => true,
            Op::Comment(op) => !matches!(op, Comment::Start | Comment::End),
            _ => false,
        }
    }
}

/// Whether the engine knows a command.
pub fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// What a command does.
pub fn find(name: &str) -> Option<Op> {
    let at = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(TABLE[at].1)
}

const fn group(gate: Gate) -> Op {
    Op::Flow(Flow::Group { gate, not: false })
}

const fn group_not(gate: Gate) -> Op {
    Op::Flow(Flow::Group { gate, not: true })
}

const fn lines(test: Test) -> Op {
    Op::Delete(Delete::Lines { not: false, test })
}

const fn lines_not(test: Test) -> Op {
    Op::Delete(Delete::Lines { not: true, test })
}

const fn items(test: Test) -> Op {
    Op::Delete(Delete::Items { not: false, test })
}

const fn items_not(test: Test) -> Op {
    Op::Delete(Delete::Items { not: true, test })
}

const fn comment(sign: &'static str, test: Test) -> Op {
    Op::Comment(Comment::Lines(Mark::Fixed(sign), test))
}

const HASH: &str = "# ";

/// Every command, sorted by name.
pub static TABLE: &[(&str, Op)] = &[
    ("AbortAtLineMatching", Op::Flow(Flow::AbortAt)),
    ("Append", Op::Add(Add::Append)),
    ("AppendIfNoLineMatching", Op::Add(Add::AppendIfNoMatch)),
    ("AppendIfNoSuchLine", Op::Add(Add::AppendIfNoSuch)),
    ("AppendIfNoSuchLinesFromFile", Op::Add(Add::AppendFromFile)),
    ("AppendToLineIfNotContains", Op::Add(Add::AppendToLine)),
    ("Audit", Op::Setting(Setting::Audit)),
    ("AutoCreate", Op::Setting(Setting::AutoCreate)),
    ("AutomountDirectResources", Op::Add(Add::Automount)),
    ("Backup", Op::Setting(Setting::Backup)),
    ("BeginGroupIfDefined", group(Gate::Defined)),
    ("BeginGroupIfFileExists", group(Gate::FileExists)),
    ("BeginGroupIfFileIsNewer", group(Gate::FileIsNewer)),
    ("BeginGroupIfLineContaining", group(Gate::Line(Test::Containing))),
    ("BeginGroupIfLineMatching", group(Gate::Line(Test::Matching))),
    ("BeginGroupIfMatch", group(Gate::Current)),
    ("BeginGroupIfNoLineContaining", group_not(Gate::Line(Test::Containing))),
    ("BeginGroupIfNoLineMatching", group_not(Gate::Line(Test::Matching))),
    ("BeginGroupIfNoMatch", group_not(Gate::Current)),
    ("BeginGroupIfNoSuchLine", group_not(Gate::Line(Test::Same))),
    ("BeginGroupIfNotDefined", group_not(Gate::Defined)),
    ("BreakIfLineMatches", Op::Flow(Flow::BreakIf)),
    ("CatchAbort", Op::Flow(Flow::Catch)),
    (
        "CommentLinesContaining",
        Op::Comment(Comment::Lines(Mark::Set, Test::Containing)),
    ),
    (
        "CommentLinesMatching",
        Op::Comment(Comment::Lines(Mark::Set, Test::Matching)),
    ),
    (
        "CommentLinesStarting",
        Op::Comment(Comment::Lines(Mark::Set, Test::Starting)),
    ),
    ("CommentNLines", Op::Comment(Comment::N)),
    ("CommentToLineMatching", Op::Comment(Comment::To(Mark::Set))),
    ("DefineClasses", Op::Setting(Setting::DefineClasses)),
    ("DefineInGroup", Op::Flow(Flow::DefineInGroup)),
    ("DeleteLinesAfterThisMatching", Op::Delete(Delete::AfterThis)),
    ("DeleteLinesContaining", lines(Test::Containing)),
    ("DeleteLinesContainingFileItems", items(Test::Containing)),
    ("DeleteLinesMatching", lines(Test::Matching)),
    ("DeleteLinesMatchingFileItems", items(Test::Matching)),
    ("DeleteLinesNotContaining", lines_not(Test::Containing)),
    ("DeleteLinesNotContainingFileItems", items_not(Test::Containing)),
    ("DeleteLinesNotMatching", lines_not(Test::Matching)),
    ("DeleteLinesNotMatchingFileItems", items_not(Test::Matching)),
    ("DeleteLinesNotStarting", lines_not(Test::Starting)),
    ("DeleteLinesNotStartingFileItems", items_not(Test::Starting)),
    ("DeleteLinesStarting", lines(Test::Starting)),
    ("DeleteLinesStartingFileItems", items(Test::Starting)),
    ("DeleteNLines", Op::Delete(Delete::N)),
    ("DeleteToLineMatching", Op::Delete(Delete::To)),
    ("EditMode", Op::Setting(Setting::EditMode)),
    ("EditSplit", Op::Flow(Flow::EditSplit)),
    ("ElseDefineClasses", Op::Setting(Setting::ElseDefineClasses)),
    ("EmptyEntireFilePlease", Op::Delete(Delete::All)),
    ("EndGroup", Op::Flow(Flow::EndGroup)),
    ("EndLoop", Op::Flow(Flow::EndLoop)),
    ("Exclude", Op::Setting(Setting::Exclude)),
    ("ExpandVariables", Op::Whole(Whole::Expand)),
    ("ExpireAfter", Op::Setting(Setting::ExpireAfter)),
    ("Filter", Op::Setting(Setting::Filter)),
    ("FixEndOfLine", Op::Whole(Whole::EndOfLine)),
    ("ForEachLineIn", Op::Flow(Flow::ForEach)),
    ("GotoLastLine", Op::Place(Place::Last)),
    ("HashCommentLinesContaining", comment(HASH, Test::Containing)),
    ("HashCommentLinesMatching", comment(HASH, Test::Matching)),
    ("HashCommentLinesStarting", comment(HASH, Test::Starting)),
    ("HashCommentToLineMatching", Op::Comment(Comment::To(Mark::Fixed("#")))),
    ("IfElapsed", Op::Setting(Setting::IfElapsed)),
    ("Ignore", Op::Setting(Setting::Ignore)),
    ("Include", Op::Setting(Setting::Include)),
    ("IncrementPointer", Op::Place(Place::Increment)),
    ("Inform", Op::Setting(Setting::Inform)),
    ("InsertFile", Op::Add(Add::InsertFile)),
    ("InsertLine", Op::Add(Add::InsertLine)),
    ("LocateLineMatching", Op::Place(Place::Locate)),
    ("PercentCommentLinesContaining", comment("%", Test::Containing)),
    ("PercentCommentLinesMatching", comment("%", Test::Matching)),
    ("PercentCommentLinesStarting", comment("%", Test::Starting)),
    (
        "PercentCommentToLineMatching",
        Op::Comment(Comment::To(Mark::Fixed("%"))),
    ),
    ("Prepend", Op::Add(Add::Prepend)),
    ("PrependIfNoLineMatching", Op::Add(Add::PrependIfNoMatch)),
    ("PrependIfNoSuchLine", Op::Add(Add::PrependIfNoSuch)),
    ("Recurse", Op::Setting(Setting::Recurse)),
    ("ReplaceAll", Op::Replace(Replace::All)),
    ("ReplaceFirst", Op::Replace(Replace::First)),
    ("ReplaceLineWith", Op::Replace(Replace::Line)),
    ("ReplaceLinesMatchingField", Op::Replace(Replace::Field)),
    ("Repository", Op::Setting(Setting::Repository)),
    ("ResetSearch", Op::Place(Place::Reset)),
    ("RunScript", Op::Whole(Whole::Script)),
    ("RunScriptIfLineMatching", Op::Whole(Whole::ScriptIf { not: false })),
    ("RunScriptIfNoLineMatching", Op::Whole(Whole::ScriptIf { not: true })),
    ("SetCommentEnd", Op::Comment(Comment::End)),
    ("SetCommentStart", Op::Comment(Comment::Start)),
    ("SetLine", Op::Flow(Flow::SetLine)),
    ("SetScript", Op::Whole(Whole::SetScript)),
    ("SlashCommentLinesContaining", comment("//", Test::Containing)),
    ("SlashCommentLinesMatching", comment("//", Test::Matching)),
    ("SlashCommentLinesStarting", comment("//", Test::Starting)),
    ("SplitOn", Op::Replace(Replace::SplitOn)),
    ("Syslog", Op::Setting(Setting::Syslog)),
    ("Umask", Op::Setting(Setting::Umask)),
    (
        "UnCommentLinesContaining",
        Op::Comment(Comment::UnLines(Test::Containing)),
    ),
    ("UnCommentLinesMatching", Op::Comment(Comment::UnLines(Test::Matching))),
    ("UnCommentNLines", Op::Comment(Comment::UnN)),
    ("UnCommentToLineMatching", Op::Comment(Comment::UnTo)),
    ("UnsetAbort", Op::Flow(Flow::UnsetAbort)),
    ("UseShell", Op::Setting(Setting::UseShell)),
    ("WarnIfContainsFile", Op::Warn(Warn::ContainsFile)),
    ("WarnIfContainsString", Op::Warn(Warn::ContainsString)),
    ("WarnIfFileMissing", Op::Warn(Warn::FileMissing)),
    ("WarnIfLineContaining", Op::Warn(Warn::Line(Test::Containing))),
    ("WarnIfLineMatching", Op::Warn(Warn::Line(Test::Matching))),
    ("WarnIfLineStarting", Op::Warn(Warn::Line(Test::Starting))),
    ("WarnIfNoLineContaining", Op::Warn(Warn::NoLine(Test::Containing))),
    ("WarnIfNoLineMatching", Op::Warn(Warn::NoLine(Test::Matching))),
    ("WarnIfNoLineStarting", Op::Warn(Warn::NoLine(Test::Starting))),
    // A regular expression, in spite of its name (15.1).
    ("WarnIfNoSuchLine", Op::Warn(Warn::NoLine(Test::Matching))),
    ("With", Op::Replace(Replace::With)),
];
