//! What killed runs left under temporary names goes with the next run that has to do with the directory.

use super::*;

/// Of a process that there cannot be: the highest number Linux can give is 2^22.
const LEFT: &str = ".dsau-new.4194305-0123456789abcdef";

fn names(lab: &Lab) -> Vec<String> {
    let names = fs::read_dir(lab.w().join("dst")).unwrap();
    let mut names: Vec<String> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A copy of two names of one file.
fn copied(attributes: &str) -> Lab {
    let lab = Lab::new();
    let copy = format!("control:\n actionsequence = ( copy )\ncopy:\n W/src dest=W/dst r=inf {attributes}\n");
    lab.policy("cfagent.conf", &copy);
    lab.file("src/one", "x", 0o644);
    fs::hard_link(lab.w().join("src/one"), lab.w().join("src/two")).unwrap();
    assert_eq!(lab.run(&["-K"]).status, 0);
    lab
}

#[test]
fn killed_between_making_a_second_name_and_placing_it() {
    let lab = copied("");
    let dst = lab.w().join("dst");
    fs::hard_link(dst.join("one"), dst.join(LEFT)).unwrap();
    fs::remove_file(dst.join("two")).unwrap();
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(names(&lab), ["one", "two"]);
}

#[test]
fn what_was_being_written_is_not_wanted_any_more() {
    let lab = copied("purge=true");
    lab.file(&format!("dst/{LEFT}"), "half", 0o600);
    assert_eq!(lab.run(&["-Kn"]).status, 0);
    assert_eq!(names(&lab), [LEFT, "one", "two"]);
    assert_eq!(lab.run(&["-K"]).status, 0);
    assert_eq!(names(&lab), ["one", "two"]);
}
