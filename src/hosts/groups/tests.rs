use super::*;
use crate::hosts::{self, Sources};
use std::fs;
use std::path::Path;

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Site {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Site { dir }
    }

    fn list(&self, text: &str) -> Result<String, String> {
        let mut groups = Only(Groups::new(Paths::under(self.dir.path()), members));
        let top = format!("{}/", self.dir.path().display());
        hosts::expand_with(text, &mut groups)
            .map(|set| hosts::fold(set.iter()))
            .map_err(|e| e.to_string().replace(&top, ""))
    }
}

struct Only(Groups);

impl Sources for Only {
    fn group(&mut self, group: GroupName<'_>) -> Result<GroupText, ListError> {
        self.0.group(group)
    }
    fn names(&mut self, source: Option<&str>) -> Result<Vec<String>, ListError> {
        self.0.names(source)
    }
    fn all(&mut self, source: Option<&str>) -> Result<Option<GroupText>, ListError> {
        self.0.all(source)
    }
}

fn members(paths: &Paths, which: &str) -> Result<Vec<String>, ListError> {
    assert_ne!(paths.at("/"), Path::new("/"));
    match which {
        "all" => Ok(vec!["m1".into(), "m2".into()]),
        "up" => Ok(vec!["m1".into()]),
        _ => Err(ListError::new("nobody knows")),
    }
}

const A: (&str, &str) = (
    "etc/dsau/groups.d/a.groups",
    "# sites\nweb: w[1-4]   # front\ndb: d[1-2],\n    d9\nrack1: @web\nrack2: @db !w1 @cluster\n\nempty:\n",
);

#[test]
fn files_give_groups_and_groups_name_groups() {
    let site = Site::new(&[A, ("etc/dsau/groups.d/old.bak", "junk\n")]);
    for (text, wanted) in [
        ("@web", "w[1-4]"),
        ("@db", "d[1-2,9]"),
        ("@files:db,x", "d[1-2,9],x"),
        ("@rack[1-2]", "d[1-2,9],m[1-2],w[1-4]"),
        ("@rack*!w1", "d[1-2,9],m[1-2],w[2-4]"),
        ("@web!@db&@web,-w2", "w[1,3-4]"),
        ("@empty", ""),
        ("@*", "d[1-2,9],m[1-2],w[1-4]"),
        ("w*[3-4]", "w[3-4]"),
        ("@cluster", "m[1-2]"),
        ("@up,@cluster:up", "m1"),
        ("@web,/[13]$/", "w[1,3]"),
        ("@web&/3/", "w3"),
        ("@web,-*2,-/4/", "w[1,3]"),
    ] {
        assert_eq!(site.list(text).unwrap(), wanted, "{text}");
    }
    let names = "db,empty,rack[1-2],web";
    assert_eq!(site.list("@@").unwrap(), names);
    assert_eq!(site.list("@@files").unwrap(), names);
    assert_eq!(site.list("@down").unwrap_err(), "nobody knows");
}

#[test]
fn what_is_wrong_with_a_group_is_told_with_its_place() {
    let b = |text: &'static str| Site::new(&[A, ("etc/dsau/groups.d/b.groups", text)]);
    for (text, list, wanted) in [
        ("", "@wen", "there is no group '@wen' in etc/dsau/groups.d/*.groups"),
        ("x: n[1-\n", "@x", "etc/dsau/groups.d/b.groups:1: '[' without ']'"),
        (
            "\n\nx: @y\n",
            "@x",
            "etc/dsau/groups.d/b.groups:3: there is no group '@y' in etc/dsau/groups.d/*.groups",
        ),
        (
            "x: @y\ny: @x\n",
            "@x",
            "etc/dsau/groups.d/b.groups:1: etc/dsau/groups.d/b.groups:2: '@files:x' names itself: @files:x names @files:y \
             names @files:x",
        ),
        (
            "\nweb: x\n",
            "@web",
            "etc/dsau/groups.d/b.groups:2: the group 'web' is there already, at etc/dsau/groups.d/a.groups:2",
        ),
        (
            "x\n",
            "@web",
            "etc/dsau/groups.d/b.groups:1: 'x' is not of the form 'name: hosts'",
        ),
        (
            "  x\n",
            "@web",
            "etc/dsau/groups.d/b.groups:1: the first line of a group begins with its name, not a blank",
        ),
        (
            "up: x\n",
            "@web",
            "etc/dsau/groups.d/b.groups:1: 'up' has a meaning of its own; choose another name",
        ),
        (
            "",
            "@no:web",
            "there is no group source 'no'; there is files, cfrun, cluster, net",
        ),
        ("", "@net:*", "netgroups cannot be listed, only asked for by name"),
        (
            "",
            "@a;b",
            "'a;b' is not a name of a group: letters, digits, '-', '_', '.' and '+'",
        ),
        ("", "@files:", "a group needs a name after the '@'"),
    ] {
        assert_eq!(b(text).list(list).unwrap_err(), wanted, "{text}");
    }
}

#[test]
fn commands_give_groups() {
    let conf = "[main]\ndefault: s\n[s]\nmap: case $GROUP in a) echo n[1-2]; echo @b;; b) echo n9;; up) echo u1;; esac\n\
                list: echo b a\n[t]\nmap: echo t1\nall: echo t[1-3]\n";
    let site = Site::new(&[A, ("etc/dsau/groups.conf", conf)]);
    for (text, wanted) in [
        ("@a", "n[1-2,9]"),
        ("@s:up,@up", "m1,u1"),
        ("@*", "n[1-2,9]"),
        ("@t:*", "t[1-3]"),
        ("@files:web", "w[1-4]"),
        ("@@", "a,b"),
    ] {
        assert_eq!(site.list(text).unwrap(), wanted, "{text}");
    }
    assert_eq!(site.list("@c").unwrap_err(), "there is no group 'c' in the source 's'");
    assert_eq!(
        site.list("@@t").unwrap_err(),
        "the source 't' has no command that lists its groups"
    );
    assert!(site.dir.path().join("var/opt/dsau/fanout/groups").is_dir());
}

#[test]
fn cfrun_hosts_are_a_group_without_their_ports() {
    let text = "domain=x.org\nw1:5309 -v\nw2\n";
    let site = Site::new(&[("var/opt/dsau/cfengine/inputs/cfrun.hosts", text)]);
    assert_eq!(site.list("@cfrun").unwrap(), "w[1-2].x.org");
    assert_eq!(site.list("@cfrun:*").unwrap(), "w[1-2].x.org");
    let none = Site::new(&[]);
    assert!(
        none.list("@cfrun")
            .unwrap_err()
            .contains("cfengine/inputs/cfrun.hosts: No such file")
    );
    assert_eq!(none.list("@*").unwrap(), "m[1-2]", "without groups, all is the cluster");
}

#[test]
fn commands_that_others_could_have_written_are_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(&[("etc/dsau/groups.conf", "[s]\nmap: echo n1\n")]);
    let file = site.dir.path().join("etc/dsau/groups.conf");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(site.list("@s:x").unwrap_err().contains("its commands are not run"));
}
