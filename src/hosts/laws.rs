//! What must hold for any list: the laws of sets, and bounds that no text gets past.

use std::time::{Duration, Instant};

use super::*;
use proptest::prelude::*;

fn any_part() -> impl Strategy<Value = HostSet> {
    let name = prop_oneof!["n[0-9]", "n0[0-9]", "r[0-3]n[0-3]"];
    let hosts = proptest::collection::vec(name, 0..25);
    hosts.prop_map(|names| names.iter().map(|name| Host::named(name).unwrap()).collect())
}

fn with(a: &HostSet, change: impl Fn(&mut HostSet)) -> HostSet {
    let mut set = a.clone();
    change(&mut set);
    set
}

fn or(a: &HostSet, b: &HostSet) -> HostSet {
    with(a, |set| set.add(b))
}

fn and(a: &HostSet, b: &HostSet) -> HostSet {
    with(a, |set| set.and(b))
}

fn less(a: &HostSet, b: &HostSet) -> HostSet {
    with(a, |set| set.minus(b))
}

fn xor(a: &HostSet, b: &HostSet) -> HostSet {
    with(a, |set| set.xor(b))
}

fn order(set: &HostSet) -> Vec<Host> {
    set.iter().cloned().collect()
}

/// Some of 0 to 29 as one word, `n[3,5]`, and the set that it means.
fn any_word() -> impl Strategy<Value = (String, HostSet)> {
    proptest::collection::btree_set(0..30u32, 1..20).prop_map(|numbers| {
        let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let hosts = texts.iter().map(|n| Host::named(&format!("n{n}")).unwrap());
        (format!("n[{}]", texts.join(",")), hosts.collect())
    })
}

proptest! {
    #[test]
    fn union_and_intersection_are_commutative_associative_and_absorb_each_other(
        a in any_part(), b in any_part(), c in any_part(),
    ) {
        prop_assert_eq!(or(&a, &b), or(&b, &a));
        prop_assert_eq!(and(&a, &b), and(&b, &a));
        prop_assert_eq!(xor(&a, &b), xor(&b, &a));
        prop_assert_eq!(or(&or(&a, &b), &c), or(&a, &or(&b, &c)));
        prop_assert_eq!(and(&and(&a, &b), &c), and(&a, &and(&b, &c)));
        prop_assert_eq!(xor(&xor(&a, &b), &c), xor(&a, &xor(&b, &c)));
        prop_assert_eq!(or(&a, &and(&a, &b)), a.clone());
        prop_assert_eq!(and(&a, &or(&a, &b)), a.clone());
        prop_assert_eq!(and(&a, &or(&b, &c)), or(&and(&a, &b), &and(&a, &c)));
        prop_assert_eq!(or(&a, &and(&b, &c)), and(&or(&a, &b), &or(&a, &c)));
        prop_assert_eq!(and(&a, &xor(&b, &c)), xor(&and(&a, &b), &and(&a, &c)));
    }

    #[test]
    fn minus_obeys_de_morgan_and_xor_is_what_one_side_alone_has(
        all in any_part(), a in any_part(), b in any_part(),
    ) {
        prop_assert_eq!(less(&all, &or(&a, &b)), and(&less(&all, &a), &less(&all, &b)));
        prop_assert_eq!(less(&all, &and(&a, &b)), or(&less(&all, &a), &less(&all, &b)));
        prop_assert_eq!(xor(&a, &b), or(&less(&a, &b), &less(&b, &a)));
        prop_assert_eq!(xor(&a, &b), less(&or(&a, &b), &and(&a, &b)));
        prop_assert!(xor(&a, &a).is_empty() && less(&a, &a).is_empty());
        prop_assert_eq!(or(&a, &a), a.clone());
        prop_assert_eq!(less(&a, &HostSet::new()), a.clone());
        prop_assert!(a.contains_all(&and(&a, &b)) && or(&a, &b).contains_all(&b));
        prop_assert_eq!(a.contains_all(&b), less(&b, &a).is_empty());
    }

    #[test]
    fn hosts_stay_in_the_order_in_which_they_were_named(a in any_part(), b in any_part()) {
        let kept = |wanted: &dyn Fn(&Host) -> bool| a.iter().filter(|host| wanted(host)).cloned().collect::<Vec<_>>();
        prop_assert_eq!(order(&and(&a, &b)), kept(&|host| b.contains(host)));
        prop_assert_eq!(order(&less(&a, &b)), kept(&|host| !b.contains(host)));
        let mut both = order(&a);
        both.extend(b.iter().filter(|host| !a.contains(host)).cloned());
        prop_assert_eq!(order(&or(&a, &b)), both);
        let mut either = kept(&|host| !b.contains(host));
        either.extend(b.iter().filter(|host| !a.contains(host)).cloned());
        prop_assert_eq!(order(&xor(&a, &b)), either);
        // Each once, and known as often as listed.
        prop_assert_eq!(or(&a, &b).into_iter().collect::<std::collections::HashSet<_>>().len(), or(&a, &b).len());
    }

    #[test]
    fn what_is_written_with_operators_is_what_the_operations_give_from_left_to_right(
        first in any_word(), rest in proptest::collection::vec((0..4usize, any_word()), 0..5),
    ) {
        let (mut text, mut set) = first;
        for (operator, (word, other)) in rest {
            text.push([',', '!', '&', '^'][operator]);
            text.push_str(&word);
            set = [or, less, and, xor][operator](&set, &other);
        }
        // A '^' right after an operator would begin the name of a file; none of these does.
        let read = expand(&text).unwrap();
        prop_assert_eq!(order(&read), order(&set), "{}", text);
    }

    #[test]
    fn a_fold_of_several_brackets_with_zeros_comes_back(
        words in proptest::collection::vec(("[ab]{1}", 0..4usize, 0..300u64, 0..3usize, 0..12u64), 0..80),
    ) {
        let name = |(text, w, n, v, m): &(String, usize, u64, usize, u64)| format!("{text}{n:0w$}-x{m:0v$}z{n}");
        let set: HostSet = words.iter().map(|word| Host::named(&name(word)).unwrap()).collect();
        let folded = fold(set.iter());
        let back = expand(&folded).unwrap();
        prop_assert_eq!(&back, &set, "{}", folded);
        prop_assert_eq!(back.len(), set.len());
        prop_assert_eq!(fold(back.iter()), folded);
    }

    #[test]
    fn no_product_of_ranges_takes_long_or_is_taken_for_less_than_it_is(
        brackets in proptest::collection::vec((0..3u64, 0..1_000_000_000_000u64, 1..4u64), 1..6), text in "[a-z]{0,40}",
    ) {
        let mut list = String::new();
        let mut count = 1u128;
        for (from, span, step) in brackets {
            let to = from + span;
            list.push_str(&format!("{text}[{from}-{to}/{step}]"));
            count = count.saturating_mul(u128::from(span / step) + 1);
        }
        // Those that may be are tried elsewhere: here is no time for a million names in every case.
        prop_assume!(!(20_000..=HOST_LIMIT as u128).contains(&count));
        match expand(&list) {
            Ok(set) => prop_assert_eq!(set.len() as u128, count),
            Err(error) => {
                let long = error.to_string().contains("at most 253 characters");
                let many = match u64::try_from(count) {
                    Ok(count) => error.to_string() == format!("the list names more than 1000000 hosts ({count})"),
                    Err(_) => error.to_string().starts_with("the list names more than 1000000 hosts ("),
                };
                prop_assert!(long || (many && count > HOST_LIMIT as u128), "{} {}", list, error);
            }
        }
    }
}

fn why(text: &str) -> String {
    expand(text).unwrap_err().to_string()
}

#[test]
fn what_would_take_all_memory_is_refused_with_the_limit_in_the_sentence() {
    assert_eq!(
        why("n[1-999999999999]"),
        "the list names more than 1000000 hosts (999999999999)"
    );
    assert_eq!(
        why("a[1-9999][1-9999][1-9999]"),
        "the list names more than 1000000 hosts (999700029999)"
    );
    let brackets = "a".to_string() + &"[1-9]".repeat(10_000);
    assert!(why(&brackets).ends_with("a host name has at most 253 characters"));
    // A million names of 100 kB each would be 100 GB.
    let long = "n".repeat(100_000) + "[1-1000000]";
    assert!(why(&long).ends_with("a host name has at most 253 characters"));
    let wide = format!("n[{}-{}]", "0".repeat(17) + "1", "0".repeat(12) + "200000");
    assert_eq!(expand(&wide).unwrap().len(), 200_000);
    let ranges = format!("n[{}]", "1,".repeat(1_000_000) + "1");
    assert!(why(&ranges).ends_with("more than 1000000 ranges"));
    assert_eq!(why(&"a,".repeat(1_000_001)), "more than 1000000 words on one line");
    let globs = "-n[1-6000]*,-m[1-6000]*";
    assert_eq!(why(globs), "more than 10000 wildcard words");
}

/// Files and groups that name each other again and again: `^N`, or the group `N`, names the next one ten thousand times.
struct Maze;

impl Sources for Maze {
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        let deep: usize = name.parse().unwrap();
        Ok(format!("^{} ", deep + 1).repeat(10_000).into())
    }
    fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        let text = match group.name {
            "all" => "n[1-20000]".to_string(),
            "ring1" => "@ring2".into(),
            "ring2" => "a,@ring1".into(),
            "same" => "@all ".repeat(10_000),
            other => format!("@{other}x").repeat(3),
        };
        Ok(GroupText {
            text: text.into(),
            place: "maze".into(),
            source: "t".into(),
        })
    }
}

#[test]
fn files_and_groups_that_name_each_other_come_to_an_end() {
    let why = |text: &str| {
        let begun = Instant::now();
        let error = expand_with(text, &mut Maze).unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(60), "{text}");
        error
    };
    assert!(why("^1").ends_with("more than 8 deep"));
    assert!(why("@ring1").ends_with("'@t:ring1' names itself: @t:ring1 names @t:ring2 names @t:ring1"));
    let work = "the list is too much work: its parts name or change the same hosts over and over";
    assert!(why("@same").ends_with(work));
    let again = "@all".to_string() + &"!n1".repeat(1000);
    assert!(why(&again).ends_with(work));
}

struct Wide;

impl Sources for Wide {
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        let deep: usize = name.parse().unwrap();
        match deep {
            6.. => Ok(Vec::new()),
            _ => Ok(format!("^{} ", deep + 1).repeat(10_000).into()),
        }
    }
}

#[test]
fn a_tree_of_empty_files_is_read_for_a_while_and_not_for_ever() {
    let error = expand_with("^1", &mut Wide).unwrap_err().to_string();
    assert!(error.contains("the list is too much work"), "{error}");
}
