//! Printed and parsed again, rules are the same but for their places.

use proptest::prelude::*;

use super::*;
use crate::policy::ast::Stmt;
use crate::policy::parse::{ClassCache, parse};
use crate::policy::source::Source;
use crate::policy::{attr, edit, print};

/// The rules of a text, nothing evaluated.
fn parsed(text: &[u8]) -> Vec<Rule> {
    let source = Source::new("p".into(), text.to_vec());
    let parsed = parse(&source, &mut ClassCache::new());
    assert!(parsed.errors.is_empty(), "{}\n{}", parsed.errors[0], text.as_bstr());
    let rules = parsed.stmts.into_iter().filter_map(|stmt| match stmt {
        Stmt::Rule(rule, _) => Some(rule.placeless()),
        _ => None,
    });
    rules.collect()
}

fn nowhere() -> Pos {
    let (line, col) = (1, 1);
    Pos {
        file: "".into(),
        line,
        col,
    }
}

/// Any bytes, those that mean something to the scanner more often.
fn text() -> impl Strategy<Value = BString> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"\"'`\\\n \t#${}():=,;/.-!>\0\r\xff".to_vec()),
        2 => prop::sample::select(b"abz019_".to_vec()),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..10).prop_map(BString::from)
}

fn word() -> impl Strategy<Value = BString> {
    "[/a-z$][a-zA-Z0-9_./*()$-]{0,8}"
        .prop_map(BString::from)
        .prop_filter("another word of the language", |word| {
            *word != "restart" && !word.contains_str("->") && !word.eq_ignore_ascii_case(b"setoptionstring")
        })
}

fn value() -> impl Strategy<Value = BString> {
    prop_oneof![
        "[!$-&(-~][!-~]{0,8}".prop_map(BString::from),
        "[ !#-&(-~]{1,8}".prop_map(BString::from),
        prop::sample::select(vec!["'x'", "\"x y\"", "\"x", "it's", "a \"b\" c", "#", "=", "x\\"])
            .prop_map(BString::from),
    ]
}

fn class() -> impl Strategy<Value = ClassExpr> {
    prop::sample::select(vec!["any", "linux", "a.b|!c", "(x|y).!z", "a..b", "\u{e4}"])
        .prop_map(|text| ClassExpr::parse(text).unwrap())
}

fn attrs(section: Section) -> BoxedStrategy<Attrs> {
    match attr::allowed(section) {
        None => Just(Attrs::default()).boxed(),
        // Every section that takes any takes these two.
        Some(own) => prop::collection::vec(
            (prop::sample::select([own, &["define", "ifelapsed"]].concat()), value()),
            0..4,
        )
        .prop_map(|all| {
            let pos = nowhere();
            Attrs(
                all.into_iter()
                    .map(|(name, value)| Attr {
                        name,
                        value,
                        pos: pos.clone(),
                    })
                    .collect(),
            )
        })
        .boxed(),
    }
}

fn call(names: Vec<&'static str>) -> impl Strategy<Value = (BString, bool, Body)> {
    (prop::sample::select(names), prop::collection::vec(text(), 0..4))
        .prop_map(|(name, args)| (name.into(), false, Body::Call(args)))
}

/// What a rule of a section may be: its object, whether that is quoted, and its body.
fn object(section: Section) -> BoxedStrategy<(BString, bool, Body)> {
    let plain = prop_oneof![
        text().prop_map(|text| (text, true)),
        word().prop_map(|word| (word, false))
    ];
    let quoted = text().prop_map(|text| (text, true));
    let with = |body: Body| move |(object, quoted)| (object, quoted, body.clone());
    let names = prop::collection::vec(text().prop_filter("empty", |text| !text.is_empty()), 0..4)
        .prop_map(|all| all.into_iter().map(|text| (text, nowhere())).collect::<Vec<_>>());
    match section {
        Section::EditFiles => {
            let command = (prop::sample::select(edit::COMMANDS), text()).prop_map(|((name, takes), arg)| EditCommand {
                name,
                arg: if takes { arg } else { BString::default() },
                pos: nowhere(),
            });
            (plain, prop::collection::vec(command, 0..6))
                .prop_map(|((a, b), all)| (a, b, Body::Edit(all)))
                .boxed()
        }
        Section::Acl => (plain, names)
            .prop_map(|((a, b), words)| (a, b, Body::Words(words)))
            .boxed(),
        Section::Filters | Section::Strategies => {
            let pair = ("[A-Za-z_]{1,6}", text()).prop_map(|(key, value)| (key.into(), value, nowhere()));
            (plain, prop::collection::vec(pair, 0..4))
                .prop_map(|((a, b), all)| (a, b, Body::Pairs(all)))
                .boxed()
        }
        Section::Links => (plain, text(), any::<(bool, bool)>())
            .prop_map(|((a, b), to, (children, force))| (a, b, Body::Link { to, children, force }))
            .boxed(),
        Section::MiscMounts => (plain, text(), "[a-z ]{0,4}", 0usize..3)
            .prop_map(|((a, b), at, how, count)| {
                let all = [(at, nowhere()), (how.into(), nowhere())];
                (a, b, Body::Members(all[..count].to_vec()))
            })
            .boxed(),
        Section::Processes => prop_oneof![
            plain.prop_map(with(Body::None)),
            (text(), text()).prop_map(|(object, command)| (object, true, Body::Restart(command))),
            text().prop_map(|options| (options, true, Body::SetOptionString)),
        ]
        .boxed(),
        Section::Alerts => prop_oneof![
            quoted.prop_map(with(Body::None)),
            call(vec!["ShowState", "SysLog", "PrintFile"])
        ]
        .boxed(),
        Section::Methods => prop_oneof![quoted.prop_map(with(Body::None)), call(vec!["M", "do_it", "X9"])].boxed(),
        _ => plain.prop_map(with(Body::None)).boxed(),
    }
}

/// Sections whose entries are rules as they stand.
fn section() -> impl Strategy<Value = Section> {
    let all: Vec<Section> = Section::keywords()
        .filter_map(|word| Section::from_keyword(word.as_bytes()))
        .filter(|section| !section.in_both() && !matches!(section, Section::Admit | Section::Deny))
        .collect();
    prop::sample::select(all)
}

fn rule() -> impl Strategy<Value = Rule> {
    section()
        .prop_flat_map(|section| (Just(section), class(), object(section), attrs(section)))
        .prop_map(|(section, class, (promiser, quoted, body), attrs)| Rule {
            section,
            class,
            promiser,
            quoted,
            attrs: match body {
                Body::SetOptionString => Attrs::default(),
                _ => attrs,
            },
            body,
            pos: nowhere(),
        })
}

fn access() -> impl Strategy<Value = Rule> {
    let member =
        prop_oneof!["[a-z0-9.*]{1,6}", "[a-z] [a-z\n#]{0,3}"].prop_map(|text| (BString::from(text), nowhere()));
    (
        prop::sample::select(vec![Section::Admit, Section::Deny]),
        class(),
        "/[a-z /#\"']{0,6}",
        prop::collection::vec(member, 0..4),
        prop::sample::select(vec![None, Some("root=h,i"), Some("encrypt=true")]),
    )
        .prop_map(|(section, class, path, members, attr)| {
            let attr = attr.and_then(|text| text.split_once('='));
            Rule {
                section,
                class,
                promiser: path.into(),
                quoted: true,
                attrs: Attrs(
                    attr.into_iter()
                        .map(|(name, value)| Attr {
                            name,
                            value: value.into(),
                            pos: nowhere(),
                        })
                        .collect(),
                ),
                body: Body::Members(members),
                pos: nowhere(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rules_of_every_section_come_back_from_the_printer(rules in prop::collection::vec(rule(), 1..5)) {
        let text = print(&rules).expect("a parser could have made it");
        prop_assert_eq!(parsed(&text), rules, "{}", text.as_bstr());
    }

    #[test]
    fn access_rules_come_back_from_the_printer(rules in prop::collection::vec(access(), 1..5)) {
        let mut world = Table::default();
        world.files.insert("p".into(), print(&rules).expect("a parser could have made it"));
        let program = load("p".into(), Phase::Server, &Options::default(), host(), &mut world).unwrap();
        let back: Vec<Rule> = program.rules.into_iter().map(Rule::placeless).collect();
        prop_assert_eq!(back, rules);
    }
}

#[test]
fn a_printed_policy_looks_as_one_would_write_it() {
    let policy = "files: linux:: /etc/passwd o=root m=644 /x act='a b'\nlinks: \"/a b\" ->! /c\n\
                  processes: \"x\" restart \"/r \\\"q\\\"\" editfiles: { /f Append 'l\"1' AutoCreate }\n\
                  strategies: { s a:1 } alerts: any:: ShowState(x, \"y z\")\n";
    let wanted = "files:\n linux::\n  /etc/passwd\n    owner=root\n    mode=644\n  /x\n    action=\"a b\"\n\
                  links:\n  \"/a b\" ->! /c\n\
                  processes:\n  \"x\"\n    restart \"/r \\\"q\\\"\"\n\
                  editfiles:\n  { /f\n    Append \"l\\\"1\"\n    AutoCreate\n  }\n\
                  strategies:\n  { s\n    a: \"1\"\n  }\n\
                  alerts:\n  ShowState(\"x\",\"y z\")\n";
    assert_eq!(print(&parsed(policy.as_bytes())).unwrap().as_bstr(), wanted);
}

#[test]
fn a_bare_name_that_ends_in_a_brace_keeps_it() {
    let rules = parsed(b"editfiles: { a}} { b{} AutoCreate }\n");
    assert_eq!(rules[0].promiser, "a}");
    assert_eq!(parsed(&print(&rules).unwrap()), rules);
}

#[test]
fn what_no_text_gives_is_not_printed() {
    let mut rule = parsed(b"files: /x mode=644\n").remove(0);
    rule.attrs.0[0].value = "6\n4".into();
    assert_eq!(print([&rule]), None);
    rule.attrs.0.clear();
    rule.promiser = "a b".into();
    assert_eq!(print([&rule]), None);
    rule.quoted = true;
    assert!(print([&rule]).is_some());
    rule.body = Body::SetOptionString;
    assert_eq!(print([&rule]), None);
}
