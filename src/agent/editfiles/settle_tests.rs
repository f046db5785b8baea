//! Which programs settle: examples of both kinds, and that whoever is said to settle does.

use bstr::BString;
use proptest::prelude::*;

use super::tests::{Paper, commands, go};
use super::*;
use crate::policy::{EditCommand, Pos};

fn desk() -> Paper {
    let mut paper = Paper::default();
    paper.classes.push("yes".into());
    for (name, content) in [("/items", "aa\n\nb\n"), ("/a", "a\nb b\n")] {
        paper.files.insert(name.into(), content.into());
    }
    paper.variables.insert("v".into(), "a:$(v)".into());
    paper.variables.insert("n".into(), "\n".into());
    paper
}

fn says(program: &str) -> bool {
    let any = ClassExpr::any();
    let commands = commands(program);
    let block = Block {
        class: &any,
        commands: &commands,
    };
    settles(&[block], &desk())
}

#[test]
fn programs_that_pull_in_one_direction_settle() {
    for program in [
        "",
        "AppendIfNoSuchLine \"a\" PrependIfNoSuchLine \"b\" AppendIfNoSuchLinesFromFile \"/items\"",
        "DeleteLinesMatching \"a.*\" DeleteLinesContaining \"b\" DeleteLinesNotStarting \"c\"",
        "SetCommentStart \"; \" CommentLinesMatching \"a.*\" CommentLinesContaining \"b\"",
        "ReplaceAll \"a\" With \"b\"",
        "SetLine \"a:b\" AppendIfNoLineMatching \"ThisLine\"",
        "ForEachLineIn \"/items\" AppendIfNoLineMatching \"ThisLine\" EndLoop",
        "BeginGroupIfNoSuchLine \"a\" Append \"a\" Append \"b\" EndGroup",
        "BeginGroupIfNoLineMatching \"x.*\" Prepend \"xy\" EndGroup AppendIfNoSuchLine \"z\"",
        "BeginGroupIfLineMatching \"x\" DeleteLinesMatching \"y\" EndGroup DeleteLinesMatching \"x\"",
        "SetLine \"a:b\" SplitOn \":\" ReplaceLinesMatchingField \"1\"",
        "FixEndOfLine \"dos\"",
        "DeleteToLineMatching \"b\"",
        "EditSplit \":\" AppendIfNoSuchLine \"a:b\"",
    ] {
        assert!(says(program), "{program}");
    }
}

/// Each with a content that the second run changes: the definition is no stricter than it must be.
#[test]
fn what_does_it_again_each_time_does_not_settle() {
    for (content, program) in [
        ("a\n", "Prepend \"a\""),
        ("a\n", "InsertLine \"a\""),
        ("a\n", "InsertFile \"/a\""),
        ("aa\n", "ReplaceFirst \"a\" With \"b\""),
        (
            "a\n",
            "BeginGroupIfLineContaining \"a\" ReplaceAll \"a\" With \"aa\" EndGroup",
        ),
        ("a\nb\nc\n", "DeleteNLines \"1\""),
        ("a\nb\nc\nb\nc\n", "EditSplit \":\" DeleteToLineMatching \"b:c\""),
        ("##a\n", "SetCommentStart \"#\" UnCommentLinesContaining \"a\""),
        ("##a\n", "SetCommentStart \"#\" UnCommentNLines \"1\""),
        ("##a\n", "SetCommentStart \"#\" UnCommentToLineMatching \".*\""),
        ("$(v)\n", "ExpandVariables"),
        ("a\n", "SetLine \"b\" AppendIfNoLineMatching \"c\""),
        ("", "AppendIfNoSuchLine \"a\" ReplaceAll \"a\" With \"b\""),
        (
            "",
            "BeginGroupIfLineMatching \"x\" AppendIfNoSuchLine \"y\" EndGroup AppendIfNoSuchLine \"x\"",
        ),
        (
            "x\ny\n",
            "BeginGroupIfNoLineMatching \"x\" DeleteLinesMatching \"y\" EndGroup DeleteLinesMatching \"x\"",
        ),
        (
            "a\n",
            "HashCommentLinesMatching \"%a\" PercentCommentLinesContaining \"a\"",
        ),
        ("x\nx\n", "LocateLineMatching \"x\" CommentNLines \"1\""),
        (
            "b\na\n",
            "AbortAtLineMatching \"b\" DeleteLinesMatching \"a\" UnsetAbort \"\" DeleteLinesMatching \"b\"",
        ),
        (
            "",
            "SetLine \"b\" BeginGroupIfNoSuchLine \"a\" SetLine \"a\" EndGroup AppendIfNoLineMatching \"ThisLine\"",
        ),
        ("", "BeginGroupIfNoSuchLine \"a\" Append \"b\" EndGroup"),
    ] {
        assert!(!says(program), "{program}");
        let (once, _) = go(&mut desk(), content, program);
        let (twice, edited) = go(&mut desk(), &once, program);
        assert!(edited.changed && once != twice, "{program} settled: {once:?}");
    }
}

#[test]
fn a_mark_of_blanks_is_put_once() {
    let program = "SetCommentStart \"  \" CommentLinesContaining \"a\"";
    let (once, _) = go(&mut desk(), "a\n", program);
    assert_eq!(once, "  a\n");
    assert_eq!(go(&mut desk(), &once, program).0, once);
}

#[test]
fn a_text_of_several_lines_is_found_again() {
    for program in ["AppendIfNoSuchLine \"b\nc\"", "PrependIfNoSuchLine \"b\nc\""] {
        let (once, _) = go(&mut desk(), "a\nb\n", &program.replace('\n', "$(n)"));
        let (twice, _) = go(&mut desk(), &once, &program.replace('\n', "$(n)"));
        assert_eq!(once, twice);
        assert_eq!(once.lines().count(), 4);
    }
}

/// The replaced line matches wholly, and the expression would change it again.
#[test]
fn a_replacement_that_matches_wholly_but_changes_again_is_refused() {
    let program = "ReplaceAll \"x|yz\" With \"y\"";
    let (once, edited) = go(&mut desk(), "xz\n", program);
    assert!(edited.failed && once == "xz\n", "{once:?}");
    let (once, edited) = go(&mut desk(), "any\n", "ReplaceAll \".*\" With \"y\"");
    assert!(!edited.failed && once == "y\n", "{once:?}");
}

/// A command of the table with an argument that may fit it.
fn command() -> impl Strategy<Value = EditCommand> {
    let line = prop::sample::select(vec![
        "a", "b", "aa", "a b", "# a", "#", "", "a:b", ".*", "a.*", "[ab]", "(", "1", "2", "-1", "/items", "/a",
        "/none", "ThisLine", "yes", "dos", "$(v)", "x", "EOF",
    ]);
    (prop::sample::select(table::TABLE), line).prop_map(|((name, op), line)| {
        let arg = match op {
            table::Op::Setting(table::Setting::Backup) => "off",
            table::Op::Setting(table::Setting::EditMode) => "Binary",
            table::Op::Setting(table::Setting::Umask) => "022",
            table::Op::Setting(table::Setting::Recurse) => "inf",
            table::Op::Setting(table::Setting::IfElapsed | table::Setting::ExpireAfter) => "1",
            table::Op::Setting(_) => "on",
            _ => line,
        };
        let (line, col) = (1, 1);
        EditCommand {
            name,
            arg: BString::from(arg),
            pos: Pos {
                file: "t".into(),
                line,
                col,
            },
        }
    })
}

fn run(content: &[u8], commands: &[EditCommand]) -> Edited {
    let any = ClassExpr::any();
    let blocks = [Block { class: &any, commands }];
    let mut paper = desk();
    let options = EditOptions::read(&blocks, &paper, 0o077).unwrap();
    edit(BStr::new("/f"), content, &blocks, &options, &mut paper)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_second_run_of_a_program_that_settles_changes_nothing(
        content in "((# ?|%)?[ab]{0,2}( b|:a)?\r?\n){0,6}",
        program in prop::collection::vec(command(), 1..5),
        keep in any::<bool>(),
    ) {
        let any = ClassExpr::any();
        let mut program = program;
        // Half of the programs are made to settle by leaving out what does not, one command after the other.
        if keep {
            let mut kept: Vec<EditCommand> = Vec::new();
            for command in program {
                kept.push(command);
                if !settles(&[Block { class: &any, commands: &kept }], &desk()) {
                    kept.pop();
                }
            }
            program = kept;
        }
        let once = run(content.as_bytes(), &program);
        if settles(&[Block { class: &any, commands: &program }], &desk()) {
            let twice = run(&once.content, &program);
            prop_assert!(!twice.changed, "{:?} {:?}", program, once);
            prop_assert_eq!(twice.content, once.content);
        }
    }
}
