use super::super::judge::UNFINISHED;
use super::super::{Limits, Will};
use super::*;
use crate::fsx::{Wanted, write_whole};
use std::fs;
use std::os::unix::fs::PermissionsExt;

struct Desk {
    top: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let top = tempfile::tempdir().unwrap();
        for dir in ["state", "t"] {
            fs::create_dir(top.path().join(dir)).unwrap();
        }
        Desk { top }
    }
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.top.path().join("t").join(name)
    }
    fn dir(&self) -> Dir {
        Dir::open(&self.path("")).unwrap()
    }
    fn pen(&self) -> Undo {
        Undo::below(&self.top.path().join("state"), jiff::Timestamp::now().as_second())
    }
    fn put(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }
    /// Replaces a file as the actions do.
    fn replace(&self, undo: &Undo, name: &str, text: &str) {
        let dir = self.dir();
        let begun = undo.loses(&dir, name.into(), &self.path(name));
        let wanted = Wanted {
            mode: 0o600,
            ..Wanted::default()
        };
        write_whole(&dir, name.into(), text.as_bytes(), &wanted, None).unwrap();
        undo.done(
            &begun,
            &dir,
            name.into(),
            Some(*blake3::hash(text.as_bytes()).as_bytes()),
        );
    }
    fn open(&self, run: u32) -> Back {
        Back::open(&self.top.path().join("state"), run, self.pen())
            .unwrap()
            .unwrap()
    }
    fn verdicts(&self, run: u32) -> Vec<Verdict> {
        let back = self.open(run);
        back.changes().map(|change| back.look(change).unwrap()).collect()
    }
    /// Puts all of a run back, and gives the number of the run that did so.
    fn back(&self, run: u32) -> Option<u32> {
        let back = self.open(run);
        for change in back.changes() {
            back.put(change, false).unwrap();
        }
        back.undo.close();
        back.undo.run()
    }
}

#[test]
fn a_run_that_changed_nothing_leaves_nothing() {
    let desk = Desk::new();
    desk.pen().close();
    assert_eq!(fs::read_dir(desk.top.path().join("state")).unwrap().count(), 0);
    let off = desk.pen();
    off.set_limits(Limits {
        days: 0,
        ..Limits::default()
    });
    desk.replace(&off, "f", "new");
    assert_eq!(off.run(), None);
    assert_eq!(fs::read_dir(desk.top.path().join("state")).unwrap().count(), 0);
}

#[test]
fn what_was_replaced_made_removed_and_linked_comes_back_and_an_undo_can_be_undone() {
    let desk = Desk::new();
    desk.put("f", "old", 0o640);
    desk.put("gone", "was here", 0o604);
    std::os::unix::fs::symlink("a", desk.path("l")).unwrap();
    let (dir, undo) = (desk.dir(), desk.pen());
    desk.replace(&undo, "f", "new");
    desk.replace(&undo, "made", "fresh");
    let begun = undo.loses(&dir, "gone".into(), &desk.path("gone"));
    dir.unlink("gone".into()).unwrap();
    undo.done(&begun, &dir, "gone".into(), None);
    let begun = undo.loses(&dir, "l".into(), &desk.path("l"));
    place_symlink(&dir, "l".into(), "b".into()).unwrap();
    undo.done(&begun, &dir, "l".into(), None);
    undo.close();
    let after = || {
        (
            desk.read("f"),
            desk.read("made"),
            desk.read("gone"),
            fs::read_link(desk.path("l")).unwrap(),
        )
    };
    let text = |text: &str| Some(text.to_string());
    let changed = (text("new"), text("fresh"), None, "b".into());
    let before = (text("old"), None, text("was here"), "a".into());
    assert_eq!(after(), changed);
    assert_eq!(
        desk.verdicts(1),
        [Verdict::Can, Verdict::Can, Verdict::Can, Verdict::Can]
    );
    assert_eq!(desk.back(1), Some(2));
    assert_eq!(after(), before);
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("f"), mode("gone")), (0o640, 0o604));
    // Once more does nothing, and leaves nothing.
    assert_eq!(
        desk.verdicts(1),
        [Verdict::Already, Verdict::Already, Verdict::Already, Verdict::Already]
    );
    assert_eq!(desk.back(1), None);
    assert_eq!(desk.open(2).record.header.undo_of, Some(1));
    assert_eq!(desk.back(2), Some(3));
    assert_eq!(after(), changed);
    assert_eq!(desk.back(3), Some(4));
    assert_eq!(after(), before);
}

#[test]
fn what_somebody_changed_since_is_named_and_only_overwritten_by_force() {
    let desk = Desk::new();
    desk.put("f", "old", 0o600);
    let undo = desk.pen();
    desk.replace(&undo, "f", "new");
    undo.close();
    let verdict = || desk.verdicts(1).pop().unwrap();
    assert_eq!(verdict(), Verdict::Can);
    desk.put("f", "new", 0o640);
    assert_eq!(
        verdict(),
        Verdict::Changed("its mode is 640, and the run left 600".into())
    );
    // Written again with the same content: as the run left it.
    desk.put("f", "new", 0o600);
    assert_eq!(verdict(), Verdict::Can);
    desk.put("f", "own", 0o600);
    assert_eq!(verdict(), Verdict::Changed("its content was changed".into()));
    fs::remove_file(desk.path("f")).unwrap();
    assert_eq!(verdict(), Verdict::Changed("it is gone".into()));
    fs::create_dir(desk.path("f")).unwrap();
    assert_eq!(verdict(), Verdict::Changed("it is a directory now".into()));
    let back = desk.open(1);
    let change = back.changes().next().unwrap();
    assert!(back.put(change, false).is_err());
    // Not even force removes a directory.
    assert!(back.put(change, true).is_err());
    fs::remove_dir(desk.path("f")).unwrap();
    desk.put("f", "own", 0o600);
    assert!(back.put(change, false).is_err());
    assert_eq!(back.put(change, true).unwrap(), Done::Back);
    assert_eq!(desk.read("f").as_deref(), Some("old"));
}

#[test]
fn what_is_not_kept_any_more_or_was_written_to_is_told_and_never_put_back() {
    let desk = Desk::new();
    desk.put("f", "old", 0o600);
    let undo = desk.pen();
    desk.replace(&undo, "f", "new");
    undo.close();
    let kept = desk.top.path().join("state/undo/1/1");
    let mut open = fs::OpenOptions::new().append(true).open(&kept).unwrap();
    io::Write::write_all(&mut open, b"!").unwrap();
    assert!(matches!(desk.verdicts(1).as_slice(), [Verdict::Lost(why)] if why.contains("written to")));
    fs::remove_file(kept).unwrap();
    assert!(matches!(desk.verdicts(1).as_slice(), [Verdict::Lost(why)] if why.contains("gone")));
    let back = desk.open(1);
    assert!(back.put(back.changes().next().unwrap(), true).is_err());
    assert_eq!(desk.read("f").as_deref(), Some("new"));
}

#[test]
fn a_run_that_was_killed_between_two_files_can_be_taken_back_and_one_in_the_middle_of_one_is_told() {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        desk.put(name, "old", 0o600);
    }
    let undo = desk.pen();
    desk.replace(&undo, "a", "new");
    let dir = desk.dir();
    // Written down, not done.
    let _ = undo.loses(&dir, "b".into(), &desk.path("b"));
    // Done, and no more written down.
    let _ = undo.loses(&dir, "c".into(), &desk.path("c"));
    let wanted = Wanted::default();
    write_whole(&dir, "c".into(), b"half", &wanted, None).unwrap();
    undo.flush();
    let verdicts = desk.verdicts(1);
    assert_eq!(
        verdicts,
        [Verdict::Changed(UNFINISHED.into()), Verdict::Already, Verdict::Can]
    );
}

#[test]
fn files_that_come_together_are_written_down_before_the_first_one_comes() {
    let desk = Desk::new();
    desk.put("a", "old", 0o640);
    let (dir, undo) = (desk.dir(), desk.pen());
    let wanted = Wanted {
        mode: 0o600,
        ..Wanted::default()
    };
    for name in ["a", "b"] {
        let will = Will::of(&wanted, blake3::hash(b"new").as_bytes());
        let _ = undo.becomes(&dir, name.into(), &desk.path(name), will);
    }
    undo.flush();
    // Killed here: nothing was changed.
    assert_eq!(desk.verdicts(1), [Verdict::Already, Verdict::Already]);
    for name in ["a", "b"] {
        write_whole(&dir, name.into(), b"new", &wanted, None).unwrap();
    }
    assert_eq!(desk.verdicts(1), [Verdict::Can, Verdict::Can]);
    desk.put("b", "own", 0o600);
    assert_eq!(desk.verdicts(1)[0], Verdict::Changed("its content was changed".into()));
    desk.put("b", "new", 0o600);
    desk.back(1);
    assert_eq!((desk.read("a").as_deref(), desk.read("b")), (Some("old"), None));
}

#[test]
fn a_directory_that_the_run_made_stays_while_it_holds_what_came_since() {
    let desk = Desk::new();
    let undo = desk.pen();
    fs::create_dir_all(desk.path("d/e")).unwrap();
    undo.made(&[desk.path("d"), desk.path("d/e")]);
    undo.close();
    desk.put("d/own", "mine", 0o600);
    let back = desk.open(1);
    let done: Vec<Done> = back.changes().map(|change| back.put(change, false).unwrap()).collect();
    assert_eq!(done, [Done::Back, Done::Stays]);
    assert_eq!(desk.read("d/own").as_deref(), Some("mine"));
    assert!(!desk.path("d/e").exists());
}

#[test]
fn mode_alone_comes_back_whatever_became_of_the_content() {
    let desk = Desk::new();
    desk.put("f", "text", 0o644);
    let (dir, undo) = (desk.dir(), desk.pen());
    let held = dir.object("f".into()).unwrap();
    let begun = undo.rights(&held.meta().unwrap(), &desk.path("f"));
    held.chmod(0o600).unwrap();
    undo.done_rights(&begun, held.meta());
    undo.close();
    fs::write(desk.path("f"), "other").unwrap();
    assert_eq!(desk.verdicts(1), [Verdict::Can]);
    desk.put("f", "other", 0o640);
    assert!(matches!(desk.verdicts(1).as_slice(), [Verdict::Changed(_)]));
    desk.put("f", "other", 0o600);
    desk.back(1);
    let mode = fs::metadata(desk.path("f")).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode, desk.read("f").as_deref()), (0o644, Some("other")));
}

#[test]
fn a_directory_that_was_moved_aside_gets_its_name_again() {
    let desk = Desk::new();
    fs::create_dir(desk.path("d")).unwrap();
    desk.put("d/f", "inside", 0o600);
    let (dir, undo) = (desk.dir(), desk.pen());
    let begun = undo.moves(&dir, "d".into(), &desk.path("d"), &desk.path("d.cfsaved"));
    dir.rename("d".into(), &dir, "d.cfsaved".into()).unwrap();
    undo.done(&begun, &dir, "d".into(), None);
    desk.replace(&undo, "d", "a file");
    undo.close();
    assert_eq!(desk.verdicts(1), [Verdict::Can]);
    assert_eq!(desk.back(1), Some(2));
    assert_eq!(desk.read("d/f").as_deref(), Some("inside"));
    assert!(!desk.path("d.cfsaved").exists());
    assert_eq!(desk.back(2), Some(3));
    assert_eq!(desk.read("d").as_deref(), Some("a file"));
    assert_eq!(desk.read("d.cfsaved/f").as_deref(), Some("inside"));
}

#[test]
fn a_file_gets_set_id_bits_and_its_old_owner_only_if_nobody_wrote_to_it_since() {
    let desk = Desk::new();
    desk.put("f", "program", 0o4755);
    let (dir, undo) = (desk.dir(), desk.pen());
    let held = dir.object("f".into()).unwrap();
    let begun = undo.rights(&held.meta().unwrap(), &desk.path("f"));
    held.chmod(0o755).unwrap();
    undo.done_rights(&begun, held.meta());
    undo.close();
    assert_eq!(desk.verdicts(1), [Verdict::Can]);
    fs::write(desk.path("f"), "other!!").unwrap();
    assert_eq!(
        desk.verdicts(1),
        [Verdict::Changed("its content may have been changed".into())]
    );
    let back = desk.open(1);
    let change = back.changes().next().unwrap();
    assert!(back.put(change, false).is_err());
    assert_eq!(back.put(change, true).unwrap(), Done::Back);
    let mode = fs::metadata(desk.path("f")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        mode, 0o755,
        "not even force makes a program of somebody's a set-id program"
    );
}

#[test]
fn what_a_killed_undo_had_begun_is_its_own_doing_and_not_somebodys_change() {
    use bstr::ByteSlice;
    let desk = Desk::new();
    let pen = desk.pen();
    let dir = desk.dir();
    // The run removed a directory, made a file, and took the set-id bit of a program away.
    fs::create_dir(desk.path("gone")).unwrap();
    fs::set_permissions(desk.path("gone"), fs::Permissions::from_mode(0o711)).unwrap();
    desk.put("program", "x", 0o4755);
    let begun = pen.loses(&dir, "gone".into(), &desk.path("gone"));
    fs::remove_dir(desk.path("gone")).unwrap();
    pen.done(&begun, &dir, "gone".into(), None);
    let begun = pen.loses(&dir, "made".into(), &desk.path("made"));
    desk.put("made", "by the run", 0o644);
    pen.done(&begun, &dir, "made".into(), None);
    let held = dir.object("program".into()).unwrap();
    let begun = pen.rights(&held.meta().unwrap(), &desk.path("program"));
    held.chmod(0o755).unwrap();
    pen.done_rights(&begun, held.meta());
    pen.close();

    // Half done by hand, as one leaves it who is killed there: the directory has not its mode yet, the file has a second
    // name, the program another stamp.
    fs::create_dir(desk.path("gone")).unwrap();
    fs::set_permissions(desk.path("gone"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(desk.path("made"), desk.path("../kept")).unwrap();
    fs::set_permissions(desk.path("program"), fs::Permissions::from_mode(0o754)).unwrap();
    let changed = |verdict: &Verdict| matches!(verdict, Verdict::Changed(_));
    assert!(
        desk.verdicts(1).iter().all(changed),
        "nobody has begun to put anything back"
    );
    let killed = desk.open(1);
    for name in ["gone", "made", "program"] {
        killed
            .undo
            .comes_next(desk.path(name).as_os_str().as_encoded_bytes().as_bstr());
    }
    drop(killed);
    let verdicts = desk.verdicts(1);
    assert!(
        changed(&verdicts[0]),
        "a program gets no set-id bit on the word of a log: {verdicts:?}"
    );
    assert_eq!(verdicts[1..], [Verdict::Can, Verdict::Can]);

    // Somebody who writes into the file afterwards is still somebody.
    fs::write(desk.path("made"), "by somebody").unwrap();
    assert!(changed(&desk.verdicts(1)[1]));
    desk.put("made", "by the run", 0o644);
    fs::remove_file(desk.path("../kept")).unwrap();
    let back = desk.open(1);
    let gone = back.changes().last().unwrap();
    assert_eq!(back.put(gone, false).unwrap(), Done::Back);
    assert_eq!(
        fs::metadata(desk.path("gone")).unwrap().permissions().mode() & 0o7777,
        0o711
    );
    back.undo.close();
    // It is whole now: whoever changes it from here on is asked.
    fs::set_permissions(desk.path("gone"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(changed(desk.verdicts(1).last().unwrap()));
}
