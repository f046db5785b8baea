//! Tests of the engine against a world in memory.

use std::collections::BTreeMap;
use std::io;

use bstr::{BStr, BString, ByteSlice};
use proptest::prelude::*;

use super::*;
use crate::policy::Pos;

/// A machine in memory: variables, classes, files; scripts turn `x` into `X`.
#[derive(Default)]
pub struct Paper {
    pub variables: BTreeMap<String, String>,
    pub classes: Vec<String>,
    pub files: BTreeMap<String, String>,
    pub newer: Vec<String>,
    pub said: Vec<(Tone, String)>,
    pub scripts: Vec<String>,
    pub dry: bool,
}

impl Paper {
    fn parts(&self, text: &BStr) -> Vec<(bool, String)> {
        let mut parts = Vec::new();
        let mut rest = text.to_str().unwrap().to_string();
        while let Some(at) = rest.find("$(").or_else(|| rest.find("${")) {
            let Some(end) = rest[at..].find([')', '}']) else { break };
            let name = rest[at + 2..at + end].to_string();
            parts.push((false, rest[..at].to_string()));
            match self.variables.get(&name) {
                Some(value) => parts.push((true, value.clone())),
                None => parts.push((false, rest[at..=at + end].to_string())),
            }
            rest = rest[at + end + 1..].to_string();
        }
        parts.push((false, rest));
        parts
    }
}

impl EditWorld for Paper {
    fn expand(&self, text: &BStr) -> BString {
        self.parts(text)
            .into_iter()
            .map(|(_, part)| part)
            .collect::<String>()
            .into()
    }
    fn iterate(&self, text: &BStr, separator: u8) -> Vec<BString> {
        let mut all = vec![String::new()];
        for (_, part) in self.parts(text) {
            all = all
                .iter()
                .flat_map(|begin| {
                    part.split(separator as char)
                        .map(move |piece| format!("{begin}{piece}"))
                })
                .collect();
        }
        all.into_iter().map(BString::from).collect()
    }
    fn holds(&self, class: &ClassExpr) -> bool {
        self.holds_text(class.text())
    }
    fn holds_text(&self, class: &BStr) -> bool {
        match class.strip_prefix(b"!") {
            Some(class) => !self.holds_text(class.as_bstr()),
            None => class == "any" || self.classes.iter().any(|known| class == known.as_str()),
        }
    }
    fn define(&mut self, classes: &BStr) {
        self.classes
            .extend(classes.to_str().unwrap().split([':', ',', '.']).map(String::from));
    }
    fn exists(&self, path: &BStr) -> bool {
        self.files.contains_key(path.to_str().unwrap())
    }
    fn newer(&self, path: &BStr) -> bool {
        self.newer.iter().any(|known| path == known.as_str())
    }
    fn read(&self, path: &BStr) -> io::Result<Vec<u8>> {
        let file = self.files.get(path.to_str().unwrap());
        file.map(|text| text.clone().into_bytes())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn run_script(&mut self, command: &BStr, content: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.scripts.push(command.to_string());
        Ok((!self.dry).then(|| content.replace("x", "X")))
    }
    fn mountables(&self) -> Vec<BString> {
        vec!["srv:/export/a".into()]
    }
    fn say(&mut self, tone: Tone, text: &BStr) {
        self.said.push((tone, text.to_string()));
    }
}

/// Commands as a policy has them, one a line: `Name "arg"`.
pub fn commands(text: &str) -> Vec<EditCommand> {
    let pos = Pos {
        file: "t.cf".into(),
        line: 1,
        col: 1,
    };
    let mut all = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut rest = line;
        while !rest.is_empty() {
            let (name, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let after = after.trim_start();
            let (arg, after) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let mut arg = String::new();
                    let mut chars = after[1..].char_indices();
                    let mut end = after.len();
                    while let Some((at, c)) = chars.next() {
                        if c == quote {
                            end = at + 2;
                            break;
                        }
                        match c {
                            '\\' => match chars.clone().next() {
                                Some((_, next)) if next == quote || next == '\\' => {
                                    arg.push(next);
                                    chars.next();
                                }
                                _ => arg.push(c),
                            },
                            _ => arg.push(c),
                        }
                    }
                    (arg, &after[end..])
                }
                _ => (String::new(), after),
            };
            let at = table::TABLE.binary_search_by(|(known, _)| (*known).cmp(name));
            let name = table::TABLE[at.unwrap_or_else(|_| panic!("no command {name}"))].0;
            all.push(EditCommand {
                name,
                arg: arg.into(),
                pos: pos.clone(),
            });
            rest = after.trim_start();
        }
    }
    all
}

/// Runs one group for class `any`.
pub fn go(paper: &mut Paper, content: &str, program: &str) -> (String, Edited) {
    let any = ClassExpr::any();
    let commands = commands(program);
    let blocks = [Block {
        class: &any,
        commands: &commands,
    }];
    let options = EditOptions::read(&blocks, paper, 0o077).unwrap();
    let edited = edit(BStr::new("/f"), content.as_bytes(), &blocks, &options, paper);
    (edited.content.to_str().unwrap().to_string(), edited)
}

fn text(content: &str, program: &str) -> String {
    go(&mut Paper::default(), content, program).0
}

const ABC: &str = "alpha\nbeta\ngamma\n";

#[test]
fn the_table_is_sorted_and_without_doubles() {
    for pair in table::TABLE.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{} {}", pair[0].0, pair[1].0);
    }
    assert!(is_known("AppendIfNoSuchLine") && !is_known("PolishLines"));
}

#[test]
fn content_is_kept_byte_for_byte_unless_lines_change() {
    let (out, edited) = go(&mut Paper::default(), "a\nb", "AppendIfNoSuchLine \"b\"");
    assert_eq!((out.as_str(), edited.changed), ("a\nb", false));
    assert_eq!(text("a\nb", "AppendIfNoSuchLine \"c\""), "a\nb\nc\n");
    assert_eq!(text("", "AppendIfNoSuchLine \"c\""), "c\n");
    // Done and undone is not changed.
    let (_, edited) = go(
        &mut Paper::default(),
        ABC,
        "InsertLine \"x\"\nDeleteLinesMatching \"x\"",
    );
    assert!(!edited.changed);
}

#[test]
fn the_pointer_follows_its_line_and_never_leaves_the_file() {
    assert_eq!(
        text(ABC, "Prepend \"p\"\nInsertLine \"x\""),
        "p\nalpha\nx\nbeta\ngamma\n"
    );
    assert_eq!(text(ABC, "DeleteNLines \"1\"\nInsertLine \"x\""), "beta\nx\ngamma\n");
    assert_eq!(
        text(ABC, "GotoLastLine\nDeleteNLines \"1\"\nInsertLine \"x\""),
        "alpha\nbeta\nx\n"
    );
    assert_eq!(text("", "InsertLine \"a\"\nInsertLine \"b\""), "a\nb\n");
    assert_eq!(
        text(ABC, "IncrementPointer \"-9\"\nInsertLine \"x\""),
        "alpha\nx\nbeta\ngamma\n"
    );
    assert_eq!(
        text(ABC, "ResetSearch \"EOF\"\nInsertLine \"x\""),
        "alpha\nbeta\ngamma\nx\n"
    );
    assert_eq!(text(ABC, "EmptyEntireFilePlease\nInsertLine \"x\""), "x\n");
    assert_eq!(
        text(ABC, "GotoLastLine\nDeleteLinesStarting \"a\"\nReplaceLineWith \"G\""),
        "beta\nG\n"
    );
}

#[test]
fn a_failed_pointer_command_goes_to_the_next_catch_and_keeps_what_was_done() {
    assert_eq!(
        text(
            ABC,
            "Prepend \"p\"\nLocateLineMatching \"none\"\nPrepend \"q\"\nCatchAbort\nPrepend \"r\""
        ),
        "r\np\nalpha\nbeta\ngamma\n"
    );
    assert_eq!(text(ABC, "DeleteNLines \"4\"\nPrepend \"x\""), ABC);
    assert_eq!(text(ABC, "DeleteToLineMatching \"none\"\nPrepend \"x\""), ABC);
    assert_eq!(text(ABC, "CommentNLines \"9\"\nPrepend \"x\""), ABC);
    assert_eq!(
        text(ABC, "LocateLineMatching \"beta\"\nDeleteToLineMatching \"gamma\""),
        "alpha\ngamma\n"
    );
}

#[test]
fn a_catch_beyond_a_loop_ends_the_loop() {
    let mut paper = Paper::default();
    paper.files.insert("/items".into(), "one\ntwo\n".into());
    let program =
        "ForEachLineIn \"/items\"\nLocateLineMatching \"none\"\nEndLoop\nCatchAbort\nAppendIfNoSuchLine \"x\"";
    assert_eq!(go(&mut paper, "", program).0, "x\n");
    let inside = "ForEachLineIn \"/items\"\nLocateLineMatching \"none\"\nCatchAbort\nAppendIfNoLineMatching \"ThisLine\"\nEndLoop";
    assert_eq!(go(&mut paper, "", inside).0, "one\ntwo\n");
}

#[test]
fn groups_nest_and_define_classes() {
    let mut paper = Paper::default();
    paper.files.insert("/here".into(), String::new());
    paper.newer.push("/here".into());
    let program = "BeginGroupIfFileExists \"/here\"\nDefineInGroup \"in:too\"\nBeginGroupIfNoLineMatching \"a.*\"\nAppend \"no\"\nEndGroup\n\
                   BeginGroupIfDefined \"too\"\nAppend \"yes\"\nEndGroup\nBeginGroupIfFileIsNewer \"/here\"\nAppend \"new\"\nEndGroup\nEndGroup";
    assert_eq!(go(&mut paper, ABC, program).0, "alpha\nbeta\ngamma\nyes\nnew\n");
    assert_eq!(paper.classes, ["in", "too"]);
    assert_eq!(
        text(ABC, "BeginGroupIfLineContaining \"et\"\nAppend \"c\"\nEndGroup"),
        "alpha\nbeta\ngamma\nc\n"
    );
    assert_eq!(
        text(ABC, "BeginGroupIfNoLineContaining \"et\"\nAppend \"c\"\nEndGroup"),
        ABC
    );
    assert_eq!(
        text(ABC, "BeginGroupIfLineMatching \"et\"\nAppend \"c\"\nEndGroup"),
        ABC
    );
}

#[test]
fn blocks_are_taken_in_order_each_with_its_class() {
    let mut paper = Paper::default();
    let any = ClassExpr::any();
    let first = commands("BeginGroupIfNoSuchLine \"x\"\nDefineInGroup \"later\"\nAppend \"x\"\nEndGroup");
    let second = commands("AppendIfNoSuchLine \"y\"\nDefineClasses \"c\"");
    let blocks = |class| {
        [
            Block {
                class: &any,
                commands: &first,
            },
            Block {
                class,
                commands: &second,
            },
        ]
    };
    let edited = edit(BStr::new("/f"), b"", &blocks(&any), &EditOptions::default(), &mut paper);
    assert_eq!(edited.content, b"x\ny\n");
    assert_eq!(EditOptions::read(&blocks(&any), &paper, 0o077).unwrap().define, ["c"]);
}

#[test]
fn comments_are_put_once_and_taken_away() {
    let once = text(ABC, "CommentNLines \"2\"");
    assert_eq!(once, "# alpha\n# beta\ngamma\n");
    assert_eq!(text(&once, "CommentNLines \"2\""), once);
    assert_eq!(text(&once, "UnCommentNLines \"2\""), ABC);
    assert_eq!(text("#telnet\n", "HashCommentLinesContaining \"telnet\""), "#telnet\n");
    let program = "SetCommentStart \"/* \"\nSetCommentEnd \" */\"\nCommentLinesMatching \"b.*\"";
    assert_eq!(text(ABC, program), "alpha\n/* beta */\ngamma\n");
    let back = "SetCommentStart \"/* \"\nSetCommentEnd \" */\"\nUnCommentLinesContaining \"eta\"";
    assert_eq!(text("alpha\n/* beta */\n", back), "alpha\nbeta\n");
    assert_eq!(text("# a\n", "UnCommentLinesMatching \"a\""), "# a\n");
    assert_eq!(text("# a\n", "UnCommentLinesMatching \"# a\""), "a\n");
}

#[test]
fn commenting_to_a_line_ends_at_the_same_line_again() {
    let program = "HashCommentToLineMatching \"beta\"";
    let once = text("alpha\nbeta\ngamma\nbeta\n", program);
    assert_eq!(once, "#alpha\n#beta\ngamma\nbeta\n");
    assert_eq!(text(&once, program), once);
    assert_eq!(
        text(&once, "SetCommentStart \"#\"\nUnCommentToLineMatching \"beta\""),
        "alpha\nbeta\ngamma\nbeta\n"
    );
}

#[test]
fn a_replacement_that_never_settles_is_refused_outside_groups() {
    let mut paper = Paper::default();
    let (out, edited) = go(
        &mut paper,
        "alpha\nbeta\n",
        "ReplaceAll \"a\" With \"aa\"\nAppendIfNoSuchLine \"x\"",
    );
    assert_eq!((out.as_str(), edited.failed), ("alpha\nbeta\n", true));
    assert_eq!(
        paper.said[0].1,
        "WARNING: Non-convergent edit operation ReplaceAll [a] With [aa]"
    );
    assert_eq!(paper.said[1].1, "Line begins [alpha]");
    assert_eq!(paper.said[3].1, "Error editing file /f");
    let grouped = "BeginGroupIfNoSuchLine \"aalphaa\"\nReplaceAll \"a\" With \"aa\"\nEndGroup";
    assert_eq!(text("alpha\n", grouped), "aalphaa\n");
    // Quirk Q7: one character is replaced everywhere.
    assert_eq!(text("banana\n", "ReplaceAll \"a\" With \"o\""), "bonono\n");
    assert_eq!(
        text("Port 22\n", "ReplaceAll \"Port.*\" With \"Port 2222\""),
        "Port 2222\n"
    );
}

#[test]
fn back_references_and_bad_numbers_are_refused_with_a_sentence() {
    let mut paper = Paper::default();
    let (_, edited) = go(&mut paper, ABC, r#"DeleteLinesMatching "(a)\1""#);
    assert!(edited.failed && paper.said[0].1.contains("back-references"));
    let mut paper = Paper::default();
    assert!(go(&mut paper, ABC, "DeleteNLines \"many\"").1.failed);
    assert_eq!(paper.said[0].1, "DeleteNLines needs a number of lines, not \"many\"");
}

#[test]
fn items_of_a_file_choose_lines_and_empty_items_are_skipped() {
    let mut paper = Paper::default();
    paper.files.insert("/items".into(), "alp\n\ngam\n".into());
    assert_eq!(
        go(&mut paper, ABC, "DeleteLinesStartingFileItems \"/items\"").0,
        "beta\n"
    );
    assert_eq!(
        go(&mut paper, ABC, "DeleteLinesNotContainingFileItems \"/items\"").0,
        "alpha\ngamma\n"
    );
    assert_eq!(go(&mut paper, ABC, "DeleteLinesMatchingFileItems \"/items\"").0, ABC);
    assert_eq!(
        go(&mut paper, ABC, "DeleteLinesNotContainingFileItems \"/none\"").0,
        ABC
    );
    assert_eq!(
        go(&mut paper, "gam\n", "AppendIfNoSuchLinesFromFile \"/items\"").0,
        "gam\nalp\n"
    );
    assert_eq!(
        go(&mut paper, ABC, "InsertFile \"/items\"\nInsertLine \"x\"").0,
        "alpha\nx\nalp\n\ngam\nbeta\ngamma\n"
    );
}

#[test]
fn a_script_works_on_what_was_edited_so_far() {
    let mut paper = Paper::default();
    let (out, edited) = go(
        &mut paper,
        "a\n",
        "AppendIfNoSuchLine \"x\"\nRunScript \"/fix\"\nAppendIfNoSuchLine \"y\"",
    );
    assert_eq!(out, "a\nX\ny\n");
    assert!(edited.changed && edited.by_script);
    let (_, edited) = go(
        &mut paper,
        "x\n",
        "SetScript \"/fix\"\nRunScriptIfNoLineMatching \"q\"\nRunScriptIfLineMatching \"q\"",
    );
    assert!(!edited.changed && edited.by_script);
    assert_eq!(paper.scripts.len(), 2);
}

#[test]
fn line_ends_fields_and_warnings() {
    assert_eq!(text("a\r\nb\n", "FixEndOfLine \"unix\""), "a\nb\n");
    assert_eq!(text("a\r\nb\n", "FixEndOfLine \"dos\""), "a\r\nb\r\n");
    let program = "SplitOn \":\"\nSetLine \"bob:new\"\nReplaceLinesMatchingField \"1\"";
    assert_eq!(text("ann:x\nbob:x\n", program), "ann:x\nbob:new\n");
    let mut paper = Paper::default();
    paper.files.insert("/part".into(), "beta\n".into());
    go(
        &mut paper,
        ABC,
        "WarnIfNoSuchLine \"ome.*\"\nWarnIfNoSuchLine \"al.*\"\nWarnIfLineStarting \"gam\"\nWarnIfContainsFile \"/part\"\nWarnIfContainsString \"zz\"",
    );
    let said: Vec<&str> = paper.said.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        said,
        [
            "Warning, file /f has no line matching ome.*",
            "Warning, file /f has a line starting gam",
            "Warning, file /f has the content of file /part",
        ]
    );
}

#[test]
fn mountables_become_automount_lines_once() {
    let once = text("", "AutomountDirectResources \"-ro\"");
    assert_eq!(once, "/export/a\t-ro\tsrv:/export/a\n");
    assert_eq!(text(&once, "AutomountDirectResources \"-ro\""), once);
}

#[test]
fn binary_mode_keeps_the_length() {
    let mut paper = Paper::default();
    let mode = "EditMode \"Binary\"\n";
    let (out, edited) = go(
        &mut paper,
        "a\nhello\0b",
        &format!("{mode}ReplaceAll \"hello\" With \"hi\""),
    );
    assert_eq!((out.as_str(), edited.changed), ("a\nhi   \0b", true));
    let (out, edited) = go(&mut paper, "abc", &format!("{mode}ReplaceAll \"b\" With \"long\""));
    assert_eq!((out.as_str(), edited.failed), ("abc", true));
    assert!(
        go(&mut paper, "abc", &format!("{mode}AppendIfNoSuchLine \"x\""))
            .1
            .failed
    );
}

#[test]
fn settings_are_read_and_checked() {
    let paper = Paper::default();
    let any = ClassExpr::any();
    let read = |program: &str| {
        let commands = commands(program);
        EditOptions::read(
            &[Block {
                class: &any,
                commands: &commands,
            }],
            &paper,
            0o077,
        )
    };
    let options =
        read("AutoCreate\nUmask \"022\"\nBackup \"single\"\nRecurse \"inf\"\nInclude \"*.c\"\nInform \"on\"").unwrap();
    assert_eq!(
        (options.umask, options.backup, options.recurse),
        (0o022, EditBackup::Single, Some(u32::MAX))
    );
    assert!(options.auto_create && options.inform == Some(true));
    assert_eq!(read("Umask \"9\"").unwrap_err(), "t.cf:1:1: Umask cannot be \"9\"");
}

fn word() -> impl Strategy<Value = String> {
    "(#|# )?[ab]{1,2}( [ab])?"
}

/// Commands whose second run has nothing left to do, whatever came before.
fn settled() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "AppendIfNoSuchLine",
        "PrependIfNoSuchLine",
        "AppendIfNoSuchLinesFromFile",
    ]);
    let delete = prop::sample::select(vec![
        "DeleteLinesStarting",
        "DeleteLinesContaining",
        "DeleteLinesMatching",
    ]);
    let comment = prop::sample::select(vec![
        "HashCommentLinesContaining",
        "HashCommentLinesStarting",
        "HashCommentLinesMatching",
        "SlashCommentLinesContaining",
        "PercentCommentLinesStarting",
        "CommentLinesContaining",
        "CommentLinesMatching",
        "CommentLinesStarting",
        "HashCommentToLineMatching",
    ]);
    let of = |name: String, arg: String| format!("{name} \"{arg}\"");
    prop_oneof![
        (name, word()).prop_map(move |(name, arg)| {
            of(
                name.into(),
                if name.ends_with("FromFile") {
                    "/items".into()
                } else {
                    arg
                },
            )
        }),
        (delete, word()).prop_map(move |(name, arg)| of(name.into(), arg)),
        (comment, word()).prop_map(move |(name, arg)| of(name.into(), arg)),
        (word(), word()).prop_map(|(line, _)| format!("SetLine \"{line}\"\nAppendIfNoLineMatching \"ThisLine\"")),
    ]
}

proptest! {
    #[test]
    fn a_second_run_of_a_convergent_command_changes_nothing(content in prop::collection::vec(word(), 0..8), program in settled()) {
        let content: String = content.iter().map(|line| format!("{line}\n")).collect();
        let mut paper = Paper::default();
        paper.files.insert("/items".into(), "aa\n\nb\n".into());
        let (once, _) = go(&mut paper, &content, &program);
        let (twice, edited) = go(&mut paper, &once, &program);
        prop_assert_eq!(&once, &twice);
        prop_assert!(!edited.changed);
    }

    #[test]
    fn a_program_that_only_takes_away_settles_in_one_run(
        content in prop::collection::vec(word(), 0..8),
        program in prop::collection::vec((prop::sample::select(vec!["DeleteLinesStarting", "DeleteLinesContaining", "DeleteLinesMatching"]), word()), 1..5),
    ) {
        let content: String = content.iter().map(|line| format!("{line}\n")).collect();
        let program: String = program.iter().map(|(name, arg)| format!("{name} \"{arg}\"\n")).collect();
        let once = text(&content, &program);
        prop_assert_eq!(text(&once, &program), once);
    }

    #[test]
    fn no_program_panics_and_the_pointer_stays_inside(
        content in "[ab\n]{0,20}",
        program in prop::collection::vec((0..table::TABLE.len(), "[ab0-9.*-]{0,3}"), 0..12),
    ) {
        let program: String = program
            .iter()
            .filter(|(at, _)| !matches!(table::TABLE[*at].1, table::Op::Setting(_)))
            .map(|(at, arg)| format!("{} \"{arg}\"\n", table::TABLE[*at].0))
            .collect();
        let mut paper = Paper::default();
        paper.files.insert("a".into(), "b\na\n".into());
        let (out, edited) = go(&mut paper, &content, &program);
        prop_assert_eq!(edited.changed || edited.by_script || out == content, true);
    }
}
