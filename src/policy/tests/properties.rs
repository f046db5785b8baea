//! Properties: nothing panics or runs away on any bytes; predicates mean what a plain evaluator says.

use proptest::prelude::*;

use super::*;

/// Pieces that make almost-policies.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "control:",
        "classes:",
        "files:",
        "copy:",
        "links:",
        "editfiles:",
        "admit:",
        "import:",
        "alerts:",
        "processes:",
        "filters:",
        "strategies:",
        "acl:",
        "methods:",
        "miscmounts:",
        "shellcommands:",
        "any::",
        "a.!b::",
        "(a|::",
        "x-y::",
        "\n",
        " ",
        "\t",
        "a = (",
        "(",
        ")",
        "{",
        "}",
        "\"",
        "'",
        "`",
        "\\",
        "\"x y\"",
        "->",
        "+>!",
        "mode=644",
        "r=inf",
        "=",
        "#",
        "#line 3 \"f\"\n",
        "$(a)",
        "${b",
        "$(",
        "$(a[$(b)])",
        "ExecResult(/x)",
        "A(k,\"v",
        "ReadList(",
        "/path",
        "AutoCreate",
        "Append \"x\"",
        "restart",
        ":",
        ",",
        "::",
        "\r\n",
        "x = ( \"$(x)$(x)\" )",
        "Split = ( : )",
        "domain = ( a.b.c )",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![8 => known, 1 => prop::collection::vec(any::<u8>(), 0..6)]
}

fn check(bytes: Vec<u8>) {
    for phase in [Phase::Main, Phase::Server] {
        let mut world = Table::default();
        world.files.insert("p".into(), bytes.clone());
        match load(
            "p".into(),
            phase,
            &Options {
                any_section: true,
                ..Options::default()
            },
            host(),
            &mut world,
        ) {
            Ok(program) => {
                for rule in &program.rules {
                    let _ = program.context.holds(&rule.class);
                    let _ = program.context.iterate(rule.promiser.as_ref());
                }
            }
            Err(errors) => {
                for error in errors {
                    assert!(error.pos.line >= 1 && error.pos.col >= 1);
                    let _ = format_error(&error, true);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_policy_or_give_errors_with_a_place(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(bytes);
    }

    #[test]
    fn any_mixture_of_tokens_is_a_policy_or_gives_errors_with_a_place(pieces in prop::collection::vec(piece(), 0..40)) {
        check(pieces.concat());
    }

    #[test]
    fn expansion_ends_whatever_the_values_say(
        values in prop::collection::vec("[ab:$(){}\\[\\]v0-4\\\\]{0,24}", 5),
        text in "([$][(]v[0-4][)]|[a:$(){}]){0,12}",
    ) {
        let mut context = Context::default();
        for (number, value) in values.iter().enumerate() {
            context.set(format!("v{number}"), value.as_str());
        }
        let _ = context.expand(text.as_str().into());
        prop_assert!(context.iterate(text.as_str().into()).len() <= MOST_PRODUCTS);
    }

    #[test]
    fn a_predicate_means_what_a_plain_evaluator_says(tree in tree(), bits in 0u8..16) {
        let mut context = Context::default();
        for (bit, name) in NAMES.iter().enumerate() {
            if bits & (1 << bit) != 0 {
                context.define(name);
            }
        }
        let text = tree.text();
        let class = ClassExpr::parse(&text).unwrap();
        prop_assert_eq!(context.holds(&class), tree.value(bits), "{}", text);
    }

    #[test]
    fn any_predicate_parses_or_is_refused(text in prop::collection::vec(prop::sample::select(b"ab.|&!(),;-_\xff".to_vec()), 0..40)) {
        if let Ok(class) = ClassExpr::parse(&text) {
            let _ = Context::default().holds(&class);
        }
    }
}

static NAMES: [&str; 4] = ["a", "b", "c_1", "D"];

/// The reference: a tree that is written down with all its brackets.
#[derive(Clone, Debug)]
enum Tree {
    Name(usize),
    Not(Box<Tree>),
    And(Vec<Tree>, bool),
    Or(Vec<Tree>),
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Tree::Name(at) => NAMES[*at].into(),
            Tree::Not(inner) => format!("!{}", inner.bracketed()),
            Tree::And(terms, dot) => {
                terms
                    .iter()
                    .map(Tree::bracketed)
                    .collect::<Vec<_>>()
                    .join(if *dot { "." } else { "&" })
            }
            // No brackets round an AND: it binds tighter.
            Tree::Or(terms) => terms.iter().map(Tree::text).collect::<Vec<_>>().join("|"),
        }
    }

    fn bracketed(&self) -> String {
        match self {
            Tree::Name(_) | Tree::Not(_) => self.text(),
            _ => format!("({})", self.text()),
        }
    }

    fn value(&self, bits: u8) -> bool {
        match self {
            Tree::Name(at) => bits & (1 << at) != 0,
            Tree::Not(inner) => !inner.value(bits),
            Tree::And(terms, _) => terms.iter().all(|term| term.value(bits)),
            Tree::Or(terms) => terms.iter().any(|term| term.value(bits)),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    (0usize..4).prop_map(Tree::Name).prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            (prop::collection::vec(inner.clone(), 1..4), any::<bool>()).prop_map(|(terms, dot)| Tree::And(terms, dot)),
            prop::collection::vec(inner, 1..4).prop_map(Tree::Or),
        ]
    })
}

#[test]
fn empty_terms_make_an_and_false_but_not_an_or() {
    let mut context = Context::default();
    context.define("a");
    let holds = |text: &str| context.holds(&ClassExpr::parse(text).unwrap());
    for text in ["a..any", "a&&any", ".a", "a.", "!", "a.!", "()", "!()", "!(!())"] {
        assert!(!holds(text), "{text}");
    }
    for text in ["a||nix", "|a", "a|", "!!a", "a..x|a", "((a))"] {
        assert!(holds(text), "{text}");
    }
    assert!(ClassExpr::parse("(".repeat(100_000)).is_err());
    assert!(holds(&"!".repeat(100_000)) == holds(""));
}

/// Hostile shapes that would cost quadratic time if each token looked at the whole text.
#[test]
fn long_single_lines_and_unclosed_things_are_read_in_reasonable_time() {
    let shapes = [
        "files: ".to_string() + &"x ".repeat(50_000),
        "control: ".to_string() + &"a=(F( ".repeat(20_000),
        "control:\n".to_string() + &"a=(F(\n".repeat(2_000),
        "files: /x ".to_string() + &"a=\"b ".repeat(50_000),
        "files: ".to_string() + &"$(".repeat(10_000),
        "editfiles: ".to_string() + &"{ /x ".repeat(50_000),
        "control: a = ( ".to_string() + &"(".repeat(100_000),
    ];
    for shape in shapes {
        let head: String = shape.chars().take(30).collect();
        let start = std::time::Instant::now();
        check(shape.into_bytes());
        println!("{head} {:?}", start.elapsed());
        assert!(start.elapsed().as_secs() < 20, "{head} {:?}", start.elapsed());
    }
}

/// 100,000 rules in 200 files. Slow without optimization, so it runs on demand only:
/// `cargo test --release --lib hundred_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, of meaning in an optimized build only"]
fn a_hundred_thousand_rules_in_two_hundred_files_load_in_a_second() {
    let mut world = Table::default();
    let mut main = String::from("control:\n  actionsequence = ( files copy editfiles )\n  d = ( /srv )\nimport:\n");
    for file in 0..200 {
        main.push_str(&format!("  cf.{file}\n"));
        let mut text = String::new();
        for rule in 0..100 {
            text.push_str(&format!(
                "files:\n linux.group{rule}::\n  $(d)/tree/{file}/{rule} mode=644 owner=root group=root action=fixall recurse=inf\n  \
                 /etc/x{rule} mode=600 action=fixplain\ncopy:\n any::\n  /master/{file}/{rule} dest=/local/{file}/{rule} type=checksum \
                 server=$(policyhost) define=copied_{rule}\nshellcommands:\n copied_{rule}::\n  \"/sbin/restart {rule}\" timeout=60\n\
                 editfiles:\n {{ /etc/conf.{rule}\n  AppendIfNoSuchLine \"line {rule}\"\n  DefineClasses \"edited\"\n }}\n"
            ));
        }
        world.files.insert(format!("cf.{file}"), text.into_bytes());
    }
    let cpu = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    let start = cpu();
    let program = try_load(&main, &mut world).unwrap();
    let took = std::time::Duration::from(cpu()) - std::time::Duration::from(start);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    println!("{} rules, {took:?} of CPU, {peak}", program.rules.len());
    assert_eq!(program.rules.len(), 100_000);
    assert!(took.as_millis() < 1_000, "{took:?}");
}
