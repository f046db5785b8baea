//! `-n` and `--diff`: what every action says it would do, and that it does not.

use super::*;

/// A policy in which every action has something to do.
const EVERYTHING: &str = "
control:
  actionsequence = ( directories files links copy editfiles tidy disable rename processes shellcommands
                     packages resolve required )
  DefaultPkgMgr = ( dpkg )
  DPKGInstallCommand = ( '/usr/bin/touch W/installed' )
  domain = ( example.org )
directories:
  W/new/dir mode=750
files:
  W/mode mode=644 action=fixall
  W/made mode=600 action=create
  W/touched action=touch
  W/watched checksum=md5
links:
  W/link -> W/mode
  W/wrong ->! W/mode
copy:
  W/source dest=W/dest recurse=inf purge=true type=checksum
  W/source/fresh dest=W/nowhere/deep/copy
  W/source/mode dest=W/samecontent mode=600
editfiles:
  { W/edited
    AppendIfNoSuchLine 'added'
  }
  { W/born
    AutoCreate
    AppendIfNoSuchLine 'first'
  }
tidy:
  W/tidy pattern=* age=0
disable:
  W/disabled
  W/log rotate=3
  W/emptied rotate=empty
rename:
  W/renamed dest=W/other
processes:
  'no process is called like this' restart '/usr/bin/touch W/restarted'
shellcommands:
  '/usr/bin/touch W/ran'
packages:
  no-such-package-of-anybody action=install
resolve:
  10.9.8.7
required:
  W/mode
alerts:
 linux::
  SetState(dry_class,60,Reset)
";

fn everything() -> Lab {
    let lab = Lab::new();
    for (name, mode) in [
        ("mode", 0o600),
        ("touched", 0o644),
        ("watched", 0o644),
        ("source/fresh", 0o640),
        ("source/changed", 0o644),
        ("source/mode", 0o644),
        ("edited", 0o644),
        ("tidy/old", 0o644),
        ("disabled", 0o644),
        ("log", 0o644),
        ("emptied", 0o644),
        ("renamed", 0o644),
    ] {
        lab.file(name, &format!("{name}\n"), mode);
    }
    lab.file("dest/changed", "before\n", 0o600);
    lab.file("dest/surplus", "", 0o644);
    lab.file("samecontent", "source/mode\n", 0o644);
    symlink("/nowhere", lab.w().join("wrong")).unwrap();
    fs::create_dir_all(lab.top.path().join("etc")).unwrap();
    fs::write(lab.top.path().join("etc/resolv.conf"), "nameserver 10.0.0.1\n").unwrap();
    // An earlier run leaves a state directory; a damaged file in it stays where it is, too.
    lab.policy("cfagent.conf", "control:\n actionsequence = ( files )\n");
    assert_eq!(lab.run(&["-q"]).status, 0);
    fs::write(lab.work().join("state/digests"), "junk").unwrap();
    lab.policy("cfagent.conf", EVERYTHING);
    lab
}

#[test]
fn a_dry_run_changes_nothing_at_all_and_says_what_every_action_would_do() {
    let lab = everything();
    let before = tree(lab.top.path());
    let ran = lab.run(&["-n", "-q"]);
    assert_eq!(tree(lab.top.path()), before, "{}", ran.out);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    for wanted in [
        "Directory W/new/dir is to be made, permission 750",
        "Object W/mode had permission 600, changed it to 644",
        "Creating file W/made, mode = 600",
        "Touching W/touched",
        "File W/watched was not in md5 database - new file found",
        "Need to link W/link -> W/mode",
        "Need to link W/wrong -> W/mode",
        "Need this: W/dest/fresh wasn't at destination (copying)",
        "Need this: update of image W/dest/changed from master W/source/changed on localhost",
        "Purging W/dest/surplus in copy dest directory",
        "Need this: W/nowhere/deep/copy wasn't at destination (copying)",
        "Object W/samecontent had permission 644, changed it to 600",
        "Need to edit file W/edited",
        "Creating file W/born, mode 600",
        "Deleting file W/tidy/old",
        "Disabling/renaming file W/disabled to W/disabled.cfdisabled (pending repository move)",
        "Rotating files W/log by 3",
        "Truncating (emptying) W/emptied",
        "Disabling/renaming file W/renamed to W/other (pending repository move)",
        "execute script /usr/bin/touch W/restarted",
        "execute script /usr/bin/touch W/ran",
        "execute script /usr/bin/touch W/installed",
    ] {
        assert!(ran.out.contains(wanted), "{wanted}\n--\n{}", ran.out);
    }
    assert!(ran.out.contains("Saving edit changes to file"), "resolve: {}", ran.out);
}

#[test]
fn a_dry_run_with_diffs_shows_every_change_and_makes_none() {
    let lab = everything();
    let before = tree(lab.top.path());
    let ran = lab.run(&["-n", "-q", "--diff"]);
    assert_eq!(tree(lab.top.path()), before, "{}", ran.out);
    for wanted in [
        "diff W/new/dir\nnew directory mode 750\n",
        "diff W/mode\nold mode 600\nnew mode 644\n",
        "diff W/made\nnew file mode 600\n",
        "diff W/link\nnew link W/mode\n",
        "diff W/wrong\nold link /nowhere\nnew link W/mode\n",
        "--- W/dest/changed\n+++ W/dest/changed (new)\n@@ -1,1 +1,1 @@\n-before\n+source/changed\n",
        "diff W/dest/changed\nold mode 600\nnew mode 644\n",
        "+++ W/dest/fresh (new)\n@@ -0,0 +1,1 @@\n+source/fresh\ndiff W/dest/fresh\nnew file mode 640\n",
        "diff W/dest/surplus\ndeleted\n",
        "diff W/samecontent\nold mode 644\nnew mode 600\n",
        " edited\n+added\n",
        "diff W/born\nnew file mode 600\n",
        "@@ -0,0 +1,1 @@\n+first\n",
        "diff W/tidy/old\ndeleted file\n",
        "diff W/disabled\nrename to W/disabled.cfdisabled\n",
        "diff W/log\ncopy to W/log.1\nold size 4\nnew size 0\n",
        "diff W/emptied\nold size 8\nnew size 0\n",
        "diff W/renamed\nrename to W/other\n",
        "+nameserver 10.9.8.7\n",
    ] {
        assert!(ran.out.contains(wanted), "{wanted}\n--\n{}", ran.out);
    }
}

#[test]
fn a_run_with_diffs_shows_what_it_changes_and_a_second_one_nothing() {
    let lab = Lab::new();
    lab.file("mode", "x", 0o600);
    lab.policy(
        "p.cf",
        "control:\n actionsequence = ( files links )\nfiles:\n W/mode mode=644 action=fixall\nlinks:\n W/l -> W/mode\n",
    );
    let ran = lab.run(&["-K", "-q", "--diff", "-f", "p.cf"]);
    assert_eq!(
        ran.out,
        "diff W/mode\nold mode 600\nnew mode 644\ndiff W/l\nnew link W/mode"
    );
    assert_eq!(lab.run(&["-K", "-q", "--diff", "-f", "p.cf"]).out, "");
}
