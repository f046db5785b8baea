//! The commands of `editfiles:` (cfengine2.md 15.2) and the checks of their structure (section 8).

use super::source::did_you_mean;
use super::{EditCommand, Pos};

/// Every command and whether it takes one quoted argument.
pub(super) static COMMANDS: &[(&str, bool)] = &[
    ("AutoCreate", false),
    ("CatchAbort", false),
    ("EmptyEntireFilePlease", false),
    ("EndGroup", false),
    ("EndLoop", false),
    ("ExpandVariables", false),
    ("GotoLastLine", false),
    ("WarnIfFileMissing", false),
    ("AbortAtLineMatching", true),
    ("Append", true),
    ("AppendIfNoLineMatching", true),
    ("AppendIfNoSuchLine", true),
    ("AppendIfNoSuchLinesFromFile", true),
    ("AppendToLineIfNotContains", true),
    ("Audit", true),
    ("AutomountDirectResources", true),
    ("Backup", true),
    ("BeginGroupIfDefined", true),
    ("BeginGroupIfFileExists", true),
    ("BeginGroupIfFileIsNewer", true),
    ("BeginGroupIfLineContaining", true),
    ("BeginGroupIfLineMatching", true),
    ("BeginGroupIfMatch", true),
    ("BeginGroupIfNoLineContaining", true),
    ("BeginGroupIfNoLineMatching", true),
    ("BeginGroupIfNoMatch", true),
    ("BeginGroupIfNoSuchLine", true),
    ("BeginGroupIfNotDefined", true),
    ("BreakIfLineMatches", true),
    ("CommentLinesContaining", true),
    ("CommentLinesMatching", true),
    ("CommentLinesStarting", true),
    ("CommentNLines", true),
    ("CommentToLineMatching", true),
    ("DefineClasses", true),
    ("DefineInGroup", true),
    ("DeleteLinesAfterThisMatching", true),
    ("DeleteLinesContaining", true),
    ("DeleteLinesContainingFileItems", true),
    ("DeleteLinesMatching", true),
    ("DeleteLinesMatchingFileItems", true),
    ("DeleteLinesNotContaining", true),
    ("DeleteLinesNotContainingFileItems", true),
    ("DeleteLinesNotMatching", true),
    ("DeleteLinesNotMatchingFileItems", true),
    ("DeleteLinesNotStarting", true),
    ("DeleteLinesNotStartingFileItems", true),
    ("DeleteLinesStarting", true),
    ("DeleteLinesStartingFileItems", true),
    ("DeleteNLines", true),
    ("DeleteToLineMatching", true),
    ("EditMode", true),
    ("EditSplit", true),
    ("ElseDefineClasses", true),
    ("Exclude", true),
    ("ExpireAfter", true),
    ("Filter", true),
    ("FixEndOfLine", true),
    ("ForEachLineIn", true),
    ("HashCommentLinesContaining", true),
    ("HashCommentLinesMatching", true),
    ("HashCommentLinesStarting", true),
    ("HashCommentToLineMatching", true),
    ("IfElapsed", true),
    ("Ignore", true),
    ("Include", true),
    ("IncrementPointer", true),
    ("Inform", true),
    ("InsertFile", true),
    ("InsertLine", true),
    ("LocateLineMatching", true),
    ("PercentCommentLinesContaining", true),
    ("PercentCommentLinesMatching", true),
    ("PercentCommentLinesStarting", true),
    ("PercentCommentToLineMatching", true),
    ("Prepend", true),
    ("PrependIfNoLineMatching", true),
    ("PrependIfNoSuchLine", true),
    ("Recurse", true),
    ("ReplaceAll", true),
    ("ReplaceFirst", true),
    ("ReplaceLineWith", true),
    ("ReplaceLinesMatchingField", true),
    ("Repository", true),
    ("ResetSearch", true),
    ("RunScript", true),
    ("RunScriptIfLineMatching", true),
    ("RunScriptIfNoLineMatching", true),
    ("SetCommentEnd", true),
    ("SetCommentStart", true),
    ("SetLine", true),
    ("SetScript", true),
    ("SlashCommentLinesContaining", true),
    ("SlashCommentLinesMatching", true),
    ("SlashCommentLinesStarting", true),
    ("SplitOn", true),
    ("Syslog", true),
    ("Umask", true),
    ("UnCommentLinesContaining", true),
    ("UnCommentLinesMatching", true),
    ("UnCommentNLines", true),
    ("UnCommentToLineMatching", true),
    ("UnsetAbort", true),
    ("UseShell", true),
    ("WarnIfContainsFile", true),
    ("WarnIfContainsString", true),
    ("WarnIfLineContaining", true),
    ("WarnIfLineMatching", true),
    ("WarnIfLineStarting", true),
    ("WarnIfNoLineContaining", true),
    ("WarnIfNoLineMatching", true),
    ("WarnIfNoLineStarting", true),
    ("WarnIfNoSuchLine", true),
    ("With", true),
];

/// A command by name, in any case: its spelling in the manual and whether it takes an argument.
pub(super) fn find(word: &[u8]) -> Option<(&'static str, bool)> {
    COMMANDS
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
        .copied()
}

/// The command a wrong word was probably meant to be.
pub(super) fn hint(word: &[u8]) -> Option<String> {
    did_you_mean(word, COMMANDS.iter().map(|(name, _)| *name))
}

/// Structure errors of one `{ … }` body: where and what.
pub(super) fn check(commands: &[EditCommand]) -> Vec<(Pos, String)> {
    let mut errors = Vec::new();
    let mut groups: Vec<&Pos> = Vec::new();
    let mut loops: Vec<&Pos> = Vec::new();
    let mut wants_with: Option<&EditCommand> = None;
    let mut say = |pos: &Pos, text: &str| errors.push((pos.clone(), text.to_string()));
    for command in commands {
        if let Some(replace) = wants_with.take() {
            if command.name != "With" {
                say(
                    &replace.pos,
                    &format!("{}/With mismatch: With does not follow", replace.name),
                );
            }
        } else if command.name == "With" {
            say(
                &command.pos,
                "ReplaceAll/With mismatch: With without ReplaceAll or ReplaceFirst",
            );
        }
        match command.name {
            "ReplaceAll" | "ReplaceFirst" => wants_with = Some(command),
            "EndGroup" if groups.pop().is_none() => say(&command.pos, "EndGroup without Begin"),
            "ForEachLineIn" => {
                if !loops.is_empty() {
                    say(&command.pos, "Nested ForEach loops");
                }
                loops.push(&command.pos);
            }
            "EndLoop" if loops.pop().is_none() => say(
                &command.pos,
                "ForEachLineIn/EndLoop mismatch before or at line: EndLoop without ForEachLineIn",
            ),
            "SetLine" if !loops.is_empty() => say(&command.pos, "SetLine inside ForEachLineIn"),
            "DefineInGroup" if groups.is_empty() => say(&command.pos, "DefineInGroup outside a group"),
            "DefineClasses" | "ElseDefineClasses" if !groups.is_empty() || !loops.is_empty() => {
                say(&command.pos, "Class definitions inside conditionals or loops");
            }
            "Append" if groups.is_empty() => say(&command.pos, "Append used outside of Group - non-convergent"),
            name if name.starts_with("BeginGroup") => groups.push(&command.pos),
            _ => {}
        }
    }
    if let Some(replace) = wants_with {
        say(
            &replace.pos,
            &format!("{}/With mismatch: With does not follow", replace.name),
        );
    }
    for pos in groups {
        say(
            pos,
            "Editfiles Begin/End mismatch before or at line: EndGroup is missing",
        );
    }
    for pos in loops {
        say(
            pos,
            "ForEachLineIn/EndLoop mismatch before or at line: EndLoop is missing",
        );
    }
    errors
}
