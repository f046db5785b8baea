//! `cfagent --explain WORD`: who has to do with a path, a class or a variable.

use super::desk::Desk;

const POLICY: &str = "control:
  actionsequence = ( copy files )
  parts = ( \"a:b\" )
groups:
  mine = ( any )
files:
  mine::
    @T@/d recurse=inf mode=640 action=fixall
copy:
  @T@/src/$(parts) dest=@T@/d/$(parts) mode=600
  nobody::
    @T@/other dest=@T@/d/a
";

fn lines(said: &[String]) -> Vec<&str> {
    said.iter()
        .map(|line| line.split("p.cf:").nth(1).unwrap_or(line))
        .collect()
}

#[test]
fn a_path_is_told_with_its_rules_in_order_and_which_has_the_last_word() {
    let desk = Desk::new();
    let file = desk.path("d/a").to_str().unwrap().to_string();
    let said = desk.run(&["--explain", &file], POLICY);
    let told = lines(&said.out);
    assert!(told[0].starts_with("8:5 has the last word, after copy at"), "{told:?}");
    assert_eq!(
        told[1..],
        [
            "10:3: copy: (any:: holds, turn 1 of 2) copies it from T/src/a: mode=600 [decides existence, content]",
            "12:5: copy: (nobody:: does not hold, turn 1 of 2) copies it from T/other:",
            "8:5: files: (mine:: holds, turn 2 of 2) checks it in the sweep of T/d: recurse=inf mode=640 action=fixall [decides mode]",
        ]
    );
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert!(!desk.path("d").exists(), "nothing is carried out");
    let said = desk.run(&["--explain", "/no/such/thing"], POLICY);
    assert_eq!(
        (said.status, lines(&said.out)),
        (1, vec!["no rule touches /no/such/thing"])
    );
}

#[test]
fn a_class_is_told_with_its_definers_and_the_rules_it_guards() {
    let desk = Desk::new();
    let said = desk.run(&["--explain", "mine"], POLICY);
    assert_eq!(
        lines(&said.out),
        [
            "class mine is set now",
            "5:3: defines groups: (any:: holds) mine = ( any )",
            "8:5: asks files: (mine:: holds) guards T/d",
        ]
    );
    assert_eq!(said.status, 0);
    let said = desk.run(&["--explain", "nobody"], POLICY);
    assert_eq!(said.out[0], "class nobody is not set now: no statement sets it");
    assert_eq!(said.status, 0, "a rule asks for it");
    let said = desk.run(&["-D", "nobody", "--explain", "nobody"], POLICY);
    assert!(said.out[0].ends_with("or given with -D"), "{:?}", said.out);
    let said = desk.run(&["--explain", "nothing_at_all"], POLICY);
    assert_eq!(said.status, 1);
    assert!(said.has("nothing sets or asks for nothing_at_all"), "{:?}", said.out);
}

#[test]
fn a_variable_is_told_with_its_value() {
    let said = Desk::new().run(&["--explain", "$(parts)"], POLICY);
    assert_eq!(said.out[0], "$(parts) is 'a:b' now");
    assert_eq!(said.out.len(), 5, "{:?}", said.out);
}

#[test]
fn the_answer_comes_as_json_too() {
    let said = Desk::new().run(&["--json", "--explain", "mine"], POLICY);
    let objects: Vec<serde_json::Value> = said
        .out
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["event"], "explained");
    assert_eq!(
        (&objects[0]["about"], &objects[0]["known"]),
        (&"class".into(), &true.into())
    );
    assert_eq!(
        (&objects[2]["relation"], &objects[2]["line"]),
        (&"asks".into(), &8.into())
    );
}
