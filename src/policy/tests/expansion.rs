//! Expansion and iteration (cfengine2.md 10), class sets.

use super::*;

fn context(variables: &[(&str, &str)]) -> Context {
    let mut context = host();
    for (name, value) in variables {
        context.set(name, *value);
    }
    context
}

fn expand(context: &Context, text: &str) -> String {
    context.expand(text.into()).to_string()
}

fn iterate(context: &Context, text: &str) -> Vec<String> {
    context.iterate(text.into()).iter().map(ToString::to_string).collect()
}

#[test]
fn known_variables_expand_and_everything_else_stays_as_text() {
    let context = context(&[
        ("a", "set"),
        ("k", "one"),
        ("arr[one]", "v"),
        ("late", "$(later) x"),
        ("later", "now"),
    ]);
    assert_eq!(
        expand(&context, "<$(a)> <${a}> <$(no)> <${no}> $a $ $5 $( a) $("),
        "<set> <set> <$(no)> <${no}> $a $ $5 $( a) $("
    );
    assert_eq!(
        expand(&context, "$(arr[$(k)]) ${arr[${k}]} $(arr[$(no)])"),
        "v v $(arr[$(no)])"
    );
    assert_eq!(expand(&context, "$(late)"), "now x");
    assert_eq!(expand(&context, "$(HOST) $(host) $(A)"), "orc orc $(A)");
    assert_eq!(
        expand(&context, "x$(quote)$(dblquote)$(tab)$(n)$(spc)$(dollar)(a)"),
        "x'\"\t\n $(a)"
    );
}

#[test]
fn contexts_are_named_before_a_dot_and_special_names_belong_to_none() {
    let mut context = context(&[("mine", "v")]);
    context.set("global.ipv4[eth0]", "10.0.0.1");
    context.set("global.host", "orc");
    assert_eq!(
        expand(&context, "$(main.mine) $(global.host) $(host)"),
        "v $(global.host) orc"
    );
    assert_eq!(
        expand(&context, "$(global.ipv4[eth0]) $(ipv4[eth0]) $(update.mine)"),
        "10.0.0.1 10.0.0.1 $(update.mine)"
    );
}

#[test]
fn the_environment_is_asked_last() {
    let mut context = context(&[("HOME", "mine")]);
    context.set_env([("HOME".into(), "theirs".into()), ("SHELL".into(), "/bin/sh".into())].into());
    assert_eq!(expand(&context, "$(HOME) ${SHELL}"), "mine /bin/sh");
    assert!(!context.is_set("SHELL"));
}

#[test]
fn a_dollar_made_by_a_variable_waits_until_the_text_is_used() {
    let program = loaded("control:\n  v = ( \"$(dollar)(HOME) a$(colon)b\" )\n");
    assert_eq!(program.context.get("v").unwrap(), "$(dollar)(HOME) a$(colon)b");
    assert_eq!(expand(&program.context, "$(v)"), "$(HOME) a:b");
    assert_eq!(iterate(&program.context, "$(v)"), ["$(HOME) a:b"]);
}

/// Q1, 22.2 and the fragment rule.
#[test]
fn lists_iterate_as_a_full_product_with_the_left_one_slowest() {
    let context = context(&[
        ("a", "x:y"),
        ("b", "1:2:3"),
        ("esc", "p\\:q:r"),
        ("gaps", ":p::q:"),
        ("one", "z"),
    ]);
    assert_eq!(iterate(&context, "$(a)$(b)"), ["x1", "x2", "x3", "y1", "y2", "y3"]);
    assert_eq!(iterate(&context, "$(a)-$(a)"), ["x-x", "x-y", "y-x", "y-y"]);
    assert_eq!(iterate(&context, "[$(esc)]"), ["[p:q]", "[r]"]);
    assert_eq!(iterate(&context, "[$(gaps)]"), ["[]", "[p]", "[]", "[q]", "[]"]);
    assert_eq!(iterate(&context, "-$(one) $(no) ${x:-d}"), ["-z $(no) ${x:-d}"]);
    assert_eq!(iterate(&context, "u:v$(a)"), ["ux", "uy", "vx", "vy"]);
    assert_eq!(iterate(&context, "u\\:v"), ["u:v"]);
    assert_eq!(iterate(&context, ""), [""]);
}

#[test]
fn lists_inside_of_a_name_iterate_too() {
    let context = context(&[("keys", "a:b"), ("v[a]", "1:2"), ("v[b]", "3")]);
    assert_eq!(iterate(&context, "$(v[$(keys)])"), ["1", "2", "3"]);
}

#[test]
fn split_chooses_the_separator() {
    let context = context(&[("split", ","), ("l", "a,b"), ("m", "p:q")]);
    assert_eq!(iterate(&context, "$(l)$(m)"), ["ap:q", "bp:q"]);
}

#[test]
fn an_ipv6_address_is_no_list() {
    let context = context(&[]);
    for address in ["2001:db8::53", "2001:db8::/32", "::1"] {
        assert_eq!(iterate(&context, address), [address]);
    }
    assert_eq!(iterate(&context, "10:20::x"), ["10", "20", "", "x"]);
    let program = loaded("resolve:\n  2001:db8::53\n");
    assert!(program.warnings.is_empty(), "{:?}", program.warnings);
}

#[test]
fn the_list_of_all_classes_is_one_text() {
    let context = context(&[]);
    assert_eq!(
        iterate(&context, "$(allclasses)"),
        ["CFALLCLASSES=any:linux:orc:undefined_domain"]
    );
}

#[test]
fn source_and_destination_go_in_step() {
    let context = context(&[("h", "a:b"), ("l", "1:2:3"), ("m", "x:y")]);
    let tied = |a: &str, b: &str| {
        let pairs = context.iterate_tied(a.into(), b.into());
        pairs.iter().map(|(a, b)| format!("{a}>{b}")).collect::<Vec<_>>()
    };
    assert_eq!(tied("$(h).conf", "/d/$(h)/f"), ["a.conf>/d/a/f", "b.conf>/d/b/f"]);
    assert_eq!(tied("/s/$(h)", "/d"), ["/s/a>/d", "/s/b>/d"]);
    assert_eq!(tied("/s", "/d/$(h)"), ["/s>/d/a", "/s>/d/b"]);
    assert_eq!(tied("$(h)", "$(m)"), ["a>x", "b>y"]);
    assert_eq!(tied("$(h)$(m)", "$(m)/$(h)"), ["ax>x/a", "ay>y/a", "bx>x/b", "by>y/b"]);
    assert_eq!(tied("$(h)", "$(h)$(m)"), ["a>ax", "a>ay", "b>bx", "b>by"]);
    assert_eq!(
        tied("$(h)", "$(l)").len(),
        6,
        "lists of different length do not go in step"
    );
}

#[test]
fn too_many_combinations_are_an_error_where_the_rule_stands() {
    let list = vec!["x"; 400].join(":");
    let policy = format!("control:\n  l = ( \"{list}\" )\nfiles:\n  /a$(l)$(l)\n  /b$(l)$(l)$(l)\n");
    assert_eq!(errors(&policy).len(), 1 + 1, "160,000 and 64,000,000 are both too many");
    let policy = format!("control:\n  l = ( \"{list}\" )\nfiles:\n  /a$(l)\n");
    let program = loaded(&policy);
    assert_eq!(program.context.try_iterate("$(l)$(l)$(l)".into()), Err(TooMany));
    assert_eq!(program.context.iterate("$(l)$(l)$(l)".into()).len(), MOST_PRODUCTS);
    assert_eq!(program.context.try_iterate("$(l)".into()).unwrap().len(), 400);
}

#[test]
fn values_that_name_each_other_end() {
    let mut context = context(&[("x", "<$(y)>"), ("y", "[$(x)]")]);
    assert!(expand(&context, "$(x)").contains("$(x)"));
    // Doubling forty times would make a terabyte.
    context.set("v0", "ab");
    for level in 1..40 {
        context.set(format!("v{level}"), format!("$(v{0})$(v{0})", level - 1));
    }
    let text = context.expand("$(v39)".into());
    assert!(text.len() < 64 << 20);
    assert!(iterate(&context, "$(v39)").len() == 1);
}

#[test]
fn classes_are_canonified_when_defined_and_negation_wins() {
    let mut context = Context::default();
    context.define("web-1.example.org");
    assert!(context.has("web_1_example_org") && context.has("any"));
    assert_eq!(context.define_list("a.b:c,d"), ["a", "b", "c", "d"]);
    context.negate("b");
    context.define("b");
    assert!(!context.has("b"));
    assert_eq!(context.classes(), ["a", "any", "c", "d", "web_1_example_org"]);
    assert_eq!(context.negated(), ["b"]);
    context.undefine("a");
    assert!(!context.has("a"));
    context.negate("any");
    assert!(!context.holds(&ClassExpr::any()));
    assert!(context.all_classes().starts_with(b"CFALLCLASSES=c:d"));
}

#[test]
fn the_output_of_a_module_defines_negates_sets_and_is_shown() {
    let mut context = context(&[]);
    context.define("old");
    let rest = context.apply_module_output("+new.other:third\n-old\n=mv=a = b\n\n stray\n".into());
    assert_eq!(rest, [" stray"]);
    assert!(context.has("new") && context.has("other") && context.has("third") && !context.has("old"));
    assert_eq!(context.get("mv").unwrap(), "a = b");
}

#[test]
fn pairs_of_long_texts_stay_within_the_bounds_of_one_iteration() {
    let mut context = Context::default();
    context.set("big", "x".repeat(1 << 20));
    context.set("l", vec!["1"; 40].join(":"));
    context.set("m", vec!["2"; 50].join(":"));
    for (a, b) in [
        ("$(big)$(l)", "$(m)"),
        ("$(big)$(l)", "$(l)$(m)"),
        ("$(big)", "$(l)$(m)"),
    ] {
        let pairs = context.iterate_tied(a.into(), b.into());
        let bytes: usize = pairs.iter().map(|(a, b)| a.len() + b.len()).sum();
        assert!(
            pairs.len() > 40 && bytes < 80 << 20,
            "{a} {b}: {} pairs, {bytes} bytes",
            pairs.len()
        );
    }
}
