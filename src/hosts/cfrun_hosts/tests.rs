use super::*;

fn parse(text: &str) -> Result<CfrunHosts, FileError> {
    CfrunHosts::parse(Path::new("cfrun.hosts"), text.as_bytes(), &mut |name, _| {
        Err(FileError::new(name, 0, "No such file or directory"))
    })
}

fn why(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn every_setting_and_host_form_is_read() {
    let list = parse(
        "# who\n domain = .example.org\naccess=root, mark\nmaxchild = 10\noutputdir=/var/out\noutputlevel=inform\n\
         hostnamekeys=yes\nbindtointerface=10.0.0.1\n\nhost1\nhost2:5309   -DNis -v  # slow one\nh3.other.net\n\
         [2001:db8::1]:5310\n2001:db8::2\n10.1.2.3\r\n",
    )
    .unwrap();
    assert_eq!(list.domain.as_deref(), Some("example.org"));
    assert_eq!(list.access, ["root", "mark"]);
    assert_eq!(list.max_child, Some(10));
    assert_eq!(list.output_dir.as_deref(), Some(Path::new("/var/out")));
    assert_eq!(list.output_level, OutputLevel::Inform);
    assert!(list.host_name_keys);
    assert_eq!(list.bind_to, Some("10.0.0.1".parse().unwrap()));
    let names: Vec<_> = list.hosts.iter().map(|h| (h.name.as_str(), h.port)).collect();
    assert_eq!(
        names,
        [
            ("host1.example.org", None),
            ("host2.example.org", Some(5309)),
            ("h3.other.net", None),
            ("2001:db8::1", Some(5310)),
            ("2001:db8::2", None),
            ("10.1.2.3", None)
        ]
    );
    assert_eq!(list.hosts[1].options, "-DNis -v");
    assert_eq!((list.hosts[0].line, list.hosts[1].line), (10, 11));
}

#[test]
fn the_domain_reaches_hosts_listed_before_it_as_well() {
    let list = parse("h1\ndomain=x.org\nh2\n").unwrap();
    let names: Vec<_> = list.hosts.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["h1.x.org", "h2.x.org"]);
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    assert_eq!(
        why("\n\nmaxchild=0\n"),
        "cfrun.hosts:3: maxchild= needs a number of at least 1, not '0'"
    );
    assert_eq!(why("h1\ncolour=red\n"), "cfrun.hosts:2: there is no setting 'colour'");
    assert_eq!(
        why("h1:99999\n"),
        "cfrun.hosts:1: 'h1:99999' has no port from 1 to 65535 after the colon"
    );
    assert_eq!(why("-rf\n"), "cfrun.hosts:1: '-rf' is not a host name or address");
    assert_eq!(
        why("web[1-9]\n"),
        "cfrun.hosts:1: 'web[1-9]' is not a host name or address"
    );
    assert_eq!(
        why("domain = <%DEFAULT_CLIENT_DNS_DOMAIN%>\n"),
        "cfrun.hosts:1: domain= still holds the template token <%DEFAULT_CLIENT_DNS_DOMAIN%>"
    );
    assert_eq!(
        why("domain=a.b\ndomain=c.d\n"),
        "cfrun.hosts:2: domain= is set a second time (first at cfrun.hosts:1)"
    );
    assert_eq!(
        why("include=gone\n"),
        "cfrun.hosts:1: cannot include gone: No such file or directory"
    );
    assert!(why("outputlevel=loud\n").contains("normal, inform or error"));
    assert!(why("bindtointerface=eth0\n").contains("needs an IP address"));
    assert!(why("outputdir=out\n").contains("absolute path"));
}

#[test]
fn included_files_are_read_beside_the_file_and_may_not_go_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("cfrun.hosts");
    std::fs::write(&top, "domain=x.org\ninclude=more\nlast\n").unwrap();
    std::fs::write(dir.path().join("more"), "first -v\n").unwrap();
    let list = CfrunHosts::read(&top).unwrap();
    let names: Vec<_> = list.hosts.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["first.x.org", "last.x.org"]);
    assert_eq!(list.hosts[0].file, dir.path().join("more"));

    std::fs::write(dir.path().join("more"), "h\ninclude=cfrun.hosts\n").unwrap();
    let error = CfrunHosts::read(&top).unwrap_err();
    assert_eq!(error.line, 2);
    assert!(error.why.ends_with("includes itself"), "{error}");
}

#[test]
fn adding_and_removing_leaves_every_other_byte() {
    let text = b"# my hosts \xff\ndomain = example.org\n\nh1  -v # keep\n  odd line?? \nh2:5309";
    let mut file = CfrunHostsFile::from_bytes(text);
    assert_eq!(file.to_bytes(), text);
    assert_eq!(file.add("H1.example.org"), Ok(false));
    assert_eq!(file.add("h3.example.org"), Ok(true));
    assert!(file.add("h 4").is_err());
    assert!(file.contains("h3"));
    assert!(file.remove("h2.example.org"));
    assert!(!file.remove("h2"));
    assert_eq!(
        file.to_bytes().as_bstr(),
        b"# my hosts \xff\ndomain = example.org\n\nh1  -v # keep\n  odd line?? \nh3.example.org\n".as_bstr()
    );
}

#[test]
fn a_commented_host_is_not_listed() {
    let mut file = CfrunHostsFile::from_bytes(b"#h1\n# h2\n");
    assert!(!file.contains("h1"));
    assert_eq!(file.add("h1"), Ok(true));
    assert_eq!(file.to_bytes(), b"#h1\n# h2\nh1\n");
}
