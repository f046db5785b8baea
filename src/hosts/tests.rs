use super::*;
use proptest::prelude::*;

fn names(text: &str) -> Vec<String> {
    expand(text).unwrap().iter().map(Host::to_string).collect()
}

fn why(text: &str) -> String {
    expand(text).unwrap_err().to_string()
}

#[test]
fn ranges_keep_their_zeros_and_count_the_last_bracket_fastest() {
    assert_eq!(names("n[1-3,10]"), ["n1", "n2", "n3", "n10"]);
    assert_eq!(names("n[08-11]"), ["n08", "n09", "n10", "n11"]);
    assert_eq!(names("n[098-101]"), ["n098", "n099", "n100", "n101"]);
    assert_eq!(names("n[9-11]"), ["n9", "n10", "n11"]);
    assert_eq!(
        names("r[1-2]n[0-4/2].x.org"),
        [
            "r1n0.x.org",
            "r1n2.x.org",
            "r1n4.x.org",
            "r2n0.x.org",
            "r2n2.x.org",
            "r2n4.x.org"
        ]
    );
    assert_eq!(names("a-[0]-[0-1]"), ["a-0-0", "a-0-1"]);
}

#[test]
fn commas_and_blanks_join_and_a_host_is_named_once() {
    assert_eq!(names("b,a  c,\tb\na"), ["b", "a", "c"]);
    assert_eq!(names(" , "), Vec::<String>::new());
}

#[test]
fn exclusions_hold_wherever_they_stand() {
    assert_eq!(names("-n3,n[1-4]"), ["n1", "n2", "n4"]);
    assert_eq!(names("n[1-4],!n[2-3]"), ["n1", "n4"]);
    assert_eq!(names("n[1-4]!n[2-3],n2"), ["n1", "n4", "n2"]);
}

#[test]
fn set_operations_go_from_left_to_right() {
    assert_eq!(names("n[1-4]&n[3-9]"), ["n3", "n4"]);
    assert_eq!(names("n[1-4]^n[3-5]"), ["n1", "n2", "n5"]);
    assert_eq!(names("a,b!b&a"), ["a"]);
}

#[test]
fn users_ports_and_addresses_are_understood() {
    let hosts: Vec<Host> = expand("root@n[1-2]:2222 [2001:db8::1]:22 fe80::1,joe@[::1],10.0.0.[1-2]")
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(hosts[0].user.as_deref(), Some("root"));
    assert_eq!((hosts[1].name.as_str(), hosts[1].port), ("n2", Some(2222)));
    assert_eq!((hosts[2].name.as_str(), hosts[2].port), ("2001:db8::1", Some(22)));
    let written: Vec<String> = hosts.iter().map(Host::to_string).collect();
    assert_eq!(
        written,
        [
            "root@n1:2222",
            "root@n2:2222",
            "[2001:db8::1]:22",
            "fe80::1",
            "joe@::1",
            "10.0.0.1",
            "10.0.0.2"
        ]
    );
}

#[test]
fn too_much_is_refused_before_memory_is_taken() {
    assert_eq!(
        why("n[1-999999999999]"),
        "the list names more than 1000000 hosts (999999999999)"
    );
    assert!(why("n[1-1000][1-1000][1-1000]").starts_with("the list names more than"));
    assert!(why("n[0-999999999999999999][0-999999999999999999][0-999999999999999999]").starts_with("the list names"));
    assert!(why("n[1-600000],m[1-600000]").starts_with("the list names more than"));
    assert!(why("n[1-9999999999999999999]").contains("more than 18 digits"));
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    assert_eq!(why("n[3-1]"), "'n[3-1]': '3-1' runs backwards");
    assert_eq!(why("n[1-3/0]"), "'n[1-3/0]': the step of '1-3/0' is 0");
    assert_eq!(
        why("n[1-010]"),
        "'n[1-010]': the two ends of '1-010' have different numbers of digits"
    );
    assert_eq!(why("n[a-b]"), "'n[a-b]': 'a-b' is not a range of numbers");
    assert_eq!(why("n[1-3"), "'[' without ']'");
    assert_eq!(why("n1-3]"), "']' without '['");
    assert_eq!(why("a!"), "nothing follows the '!'");
    assert_eq!(why("10.1.0.[255-256]"), "'10.1.0.256' is not a host name or address");
    assert_eq!(why("h:0"), "'h:0' has no port from 1 to 65535 after the colon");
    assert_eq!(why("h;reboot"), "'h;reboot' is not a host name or address");
    assert_eq!(
        why("x@-oProxyCommand=y"),
        "'-oProxyCommand=y' is not a host name or address"
    );
}

struct Table;
impl Sources for Table {
    fn file(&mut self, name: &str) -> Result<Vec<u8>, ListError> {
        match name {
            "/etc/web" => Ok(b"# front\nw[1-2]  # two\n\nw9,w10\n-w9\n".to_vec()),
            "loop" => Ok(b"^loop\n".to_vec()),
            "bad" => Ok(b"ok\nn[\n".to_vec()),
            deep if deep.starts_with("deep") => Ok(format!("^{deep}x").into()),
            _ => Err(ListError::new("no such file")),
        }
    }
    fn stdin(&mut self) -> Result<Vec<u8>, ListError> {
        Ok(b"s1 s2\r\ns3".to_vec())
    }
    fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        Ok(GroupText {
            text: format!("{}[1-2]", group.name).into(),
            place: "table".into(),
            source: "t".into(),
        })
    }
}

#[test]
fn files_input_and_groups_are_parts_of_a_list() {
    let set = |text: &str| expand_with(text, &mut Table).map(|set| fold(set.iter()));
    assert_eq!(set("^/etc/web,x1").unwrap(), "w[1-2,10],x1");
    assert_eq!(set("^/etc/web!w1").unwrap(), "w[2,10]");
    assert_eq!(set("^/etc/wob!w1").unwrap_err().to_string(), "no such file");
    assert_eq!(set("-").unwrap(), "s[1-3]");
    assert_eq!(set("@db,!@db&db1").unwrap(), "");
    assert_eq!(set("@db!db1").unwrap(), "db2");
    assert_eq!(set("x,-^/etc/web,w1,w10").unwrap(), "x");
    assert_eq!(
        set("^loop").unwrap_err().to_string(),
        "loop:1: '^loop' names itself: ^loop names ^loop"
    );
    assert!(set("^deep").unwrap_err().to_string().ends_with("more than 8 deep"));
    let bad = set("^bad").unwrap_err();
    assert_eq!(bad.to_string(), "bad:2: '[' without ']'");
    assert_eq!(bad.pointer(), Some("n[\n ^"));
}

#[test]
fn folding_is_short_and_sorted_by_number() {
    let folded = |text: &str| fold(expand(text).unwrap().iter());
    assert_eq!(folded("n10,n9,n1,n2,n3"), "n[1-3,9-10]");
    assert_eq!(folded("n08,n09,n10,n11"), "n[08-11]");
    assert_eq!(folded("r1n1,r1n2,r2n1,r2n2"), "r[1-2]n[1-2]");
    assert_eq!(folded("r1n1,r1n2,r2n1"), "r1n[1-2],r2n1");
    assert_eq!(folded("n1,n01,n2,n02"), "n[1-2,01-02]");
    assert_eq!(folded("b,a"), "a,b");
    assert_eq!(folded("n1:22,n2:22,n1"), "n1,n[1-2]:22");
    assert_eq!(folded("::1,[::2]:22"), "::1,[::2]:22");
    assert_eq!(folded("7,8"), "[7-8]");
}

#[test]
fn folding_10000_shuffled_names_is_quick_and_exact() {
    let mut hosts: Vec<Host> = expand("n[00001-10000]").unwrap().into_iter().collect();
    // A fixed shuffle: multiply by a number prime to 10,000.
    hosts = (0..10_000).map(|i| hosts[i * 7919 % 10_000].clone()).collect();
    assert_eq!(fold(&hosts), "n[00001-10000]");
}

#[test]
fn steps_axes_and_runs_are_written_when_asked_for() {
    let parts = |text: &str, style: Style| fold_parts(expand(text).unwrap().iter(), &style).join(" ");
    let steps = |steps| Style {
        steps: Some(steps),
        ..Style::default()
    };
    assert_eq!(parts("n[2,4,6]", steps(Steps::Count(3))), "n[2-6/2]");
    assert_eq!(parts("n[2,4,6]", steps(Steps::Count(4))), "n[2,4,6]");
    assert_eq!(parts("n[2,4,6-7]", steps(Steps::Percent(100))), "n[2,4,6-7]");
    assert_eq!(parts("n[2,4,6-7,20]", steps(Steps::Percent(50))), "n[2-6/2,7,20]");
    assert_eq!(parts("n[004-104/20]", steps(Steps::Count(3))), "n[004-104/20]");
    let axes = |axes: &[i32]| Style {
        axes: Some(axes.to_vec()),
        ..Style::default()
    };
    let four = "dc[1-2]n[1-2]";
    assert_eq!(parts(four, axes(&[1])), "dc[1-2]n1 dc[1-2]n2");
    assert_eq!(parts(four, axes(&[2])), "dc1n[1-2] dc2n[1-2]");
    assert_eq!(parts(four, axes(&[-1])), "dc1n[1-2] dc2n[1-2]");
    assert_eq!(parts("n[1-3]", axes(&[7])), "n[1-3]");
    let contiguous = Style {
        contiguous: true,
        ..Style::default()
    };
    assert_eq!(
        parts("dc[1,3]n[1-2,4-5],x", contiguous),
        "dc1n[1-2] dc1n[4-5] dc3n[1-2] dc3n[4-5] x"
    );
}

#[test]
fn places_are_named_like_ranges() {
    assert_eq!(indices("0-3,9,2", 100).unwrap(), [0, 1, 2, 3, 9]);
    assert_eq!(indices("1-9/2", 6).unwrap(), [1, 3, 5]);
    assert_eq!(indices("0-999999999999999999", 3).unwrap(), [0, 1, 2]);
    assert_eq!(indices("7", 0).unwrap(), [0; 0]);
    assert!(indices("a", 5).is_err());
}

#[test]
fn filters_keep_and_choices_hold_what_matches() {
    assert_eq!(names("web[1-3],db1,/^web/,-/3/"), ["web1", "web2"]);
    assert_eq!(names("web[1-3],db1!web*"), ["db1"]);
    assert_eq!(why("a^/b/"), "an expression cannot follow a '^': it names no hosts");
    assert_eq!(why("web*"), "groups are not known here");
    let many = "-a*,".repeat(257);
    assert_eq!(why(&many), "more than 256 expressions or wildcard words");
    let choice = Choice::read("n1,w*,/9$/", &mut TextOnly).unwrap();
    let held: Vec<String> = names("n[1-2],web1,n9")
        .into_iter()
        .filter(|name| choice.holds(&Host::named(name).unwrap()))
        .collect();
    assert_eq!(held, ["n1", "web1", "n9"]);
    assert!(only_filters("-n1 /x/").unwrap() && !only_filters("-n1,n2").unwrap() && !only_filters("").unwrap());
}

#[test]
fn the_wrong_place_of_a_list_is_pointed_at() {
    let pointer = |text: &str| expand(text).unwrap_err().pointer().unwrap().to_string();
    assert_eq!(pointer("a,n[3-1],b"), "a,n[3-1],b\n  ^^^^^^");
    assert_eq!(pointer("a!b&"), "a!b&\n   ^");
    assert_eq!(pointer("a b[1"), "a b[1\n   ^");
}

fn any_style() -> impl Strategy<Value = Style> {
    let steps = prop_oneof![
        Just(None),
        (3..6usize).prop_map(|n| Some(Steps::Count(n))),
        (1..101u8).prop_map(|n| Some(Steps::Percent(n)))
    ];
    let axes = proptest::option::of(proptest::collection::vec(-2..4i32, 1..3));
    (steps, axes, any::<bool>()).prop_map(|(steps, axes, contiguous)| Style {
        steps,
        axes,
        contiguous,
    })
}

fn any_host() -> impl Strategy<Value = Host> {
    let name = prop_oneof![
        8 => "[a-c]{0,2}[0-9]{1,3}(-[0-9]{1,2})?(\\.x[0-9]?)?",
        1 => "[a-z][a-z0-9_.-]{0,12}",
        1 => Just("2001:db8::1".to_string()),
        1 => "n[0-9]{17,21}",
    ];
    let user = proptest::option::weighted(0.1, "[a-c]");
    let port = proptest::option::weighted(0.1, 1..4u16);
    (name, user, port).prop_map(|(name, user, port)| Host { name, user, port })
}

fn any_set() -> impl Strategy<Value = HostSet> {
    proptest::collection::vec(any_host(), 0..60).prop_map(HostSet::from_iter)
}

proptest! {
    #[test]
    fn expanding_what_was_folded_gives_the_same_set(set in any_set()) {
        let folded = fold(set.iter());
        prop_assert_eq!(expand(&folded).unwrap(), set, "{}", folded);
    }

    #[test]
    fn whatever_the_style_the_set_stays_the_same(set in any_set(), style in any_style()) {
        let parts = fold_parts(set.iter(), &style);
        prop_assert_eq!(expand(&parts.join(",")).unwrap(), set.clone(), "{:?}", parts);
        let sum: usize = parts.iter().map(|part| expand(part).unwrap().len()).sum();
        prop_assert_eq!(sum, set.len(), "a host is in two lists: {:?}", parts);
    }

    #[test]
    fn products_of_several_brackets_come_back_as_written(
        a in 0..30u64, b in 0..5u64, c in 0..200u64, d in 1..9u64, width in 1..4usize,
    ) {
        let list = format!("r[{a}-{}]n[{c:0width$}-{:0width$}].x", a + b, c + d);
        let set = expand(&list).unwrap();
        prop_assert_eq!(set.len() as u64, (b + 1) * (d + 1));
        let folded = fold(set.iter());
        prop_assert_eq!(expand(&folded).unwrap(), set);
        prop_assert!(folded.len() <= list.len(), "{} {}", folded, list);
    }

    #[test]
    fn the_set_operations_obey_the_laws(a in any_set(), b in any_set()) {
        let (mut union, mut both, mut either, mut left) = (a.clone(), a.clone(), a.clone(), a.clone());
        union.add(&b);
        both.and(&b);
        either.xor(&b);
        left.minus(&b);
        let mut rebuilt = either.clone();
        rebuilt.add(&both);
        prop_assert_eq!(&rebuilt, &union);
        rebuilt = left.clone();
        rebuilt.and(&b);
        prop_assert!(rebuilt.is_empty());
        left.add(&both);
        prop_assert_eq!(&left, &a);
        either.xor(&b);
        prop_assert_eq!(&either, &a);
    }

    #[test]
    fn no_text_makes_the_parser_fall_over(text in "[-a-c0-9\\[\\],!&^@:/.*?\\\\ ]{0,40}") {
        if let Ok(set) = expand(&text) {
            prop_assert!(set.len() <= HOST_LIMIT);
            prop_assert!(set.iter().all(|host| !host.name.starts_with('-') && !host.name.is_empty()));
        }
    }
}
