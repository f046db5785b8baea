//! `ccp` on sixteen real hosts: all troubles at once, and copies that are broken off in the middle.

use std::io::Write;
use std::time::Instant;

use crate::copy::{quiet, strays};
use crate::harness::{Lab, Ran, ended};
use crate::sixteen::{CLUSTER, hosts, named, told, trouble};

/// The lines on standard output, but for those of the host that floods, each once.
fn calm(ran: &Ran) -> Vec<&str> {
    let (flood, mut lines): (Vec<&str>, Vec<&str>) = ran.out.lines().partition(|line| line.starts_with("client15: "));
    let told = flood.last().is_some_and(|line| line.ends_with(" is not shown)"));
    assert!(
        told && flood.len() < 40_000,
        "{} lines, the last: {:?}",
        flood.len(),
        flood.last()
    );
    lines.dedup();
    lines
}

/// The kinds of all hosts in the newest report, as `host kind`, in the order of their names.
fn kinds(lab: &Lab) -> Vec<(String, String)> {
    let report = lab.ok("master", "ccp --reports --json | head -n 1");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let hosts = report["hosts"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let mut kinds: Vec<_> = hosts.map(|host| (text(&host["host"]), text(&host["kind"]))).collect();
    kinds.sort_unstable_by_key(|(host, _)| host["client".len()..].parse::<u32>().unwrap());
    kinds
}

/// What a tree looks like: names, modes, sizes and content.
const LOOK: &str = "&& { find . -printf '%P %y %m %l\n' | sort; find . -type f -exec sha256sum {} + | sort; }";

#[test]
fn copies_to_sixteen_hosts_with_seven_troubles_serve_the_others_and_are_repeated_where_they_failed() {
    CLUSTER.last(|lab| {
        trouble(lab);
        // Its login never comes to an end, on both outputs.
        lab.ok("client15", "echo '[ -e /tmp/calm ] || { yes | head -c 1M >&2; yes; }' >/root/.bashrc");
        lab.ok(
            "master",
            "cd /root; mkdir -p t/sub got; seq 9999 >f; head -c 3000000 /dev/urandom >t/big; echo one >t/sub/one; ln -s one t/sub/link; chmod 640 t/big",
        );
        let well: Vec<String> = (1..=9).chain([14]).map(|number| format!("client{number}")).collect();
        // What is copied, and what of it shall be the same afterwards, there and here.
        for (words, here, there) in [
            ("f /srv/g", "sha256sum </root/f", "sha256sum </srv/g"),
            ("-r t /srv/", &format!("cd /root/t {LOOK}"), &format!("cd /srv/t {LOOK}")),
        ] {
            let begin = Instant::now();
            let ran = lab.sh("master", &format!("cd /root; ccp -t 9 -u 20 -w 'client[1-16]' {words}"));
            assert!(begin.elapsed().as_secs() < 30, "{words}: {:?}", begin.elapsed());
            let shown = ran.err.replace("client15: y\n", "");
            let ran = Ran { err: shown, ..ran };
            named(&ran, "ccp", "command time-out after 20 s");
            assert_eq!(told(&ran, "ccp", "client15"), "command time-out after 20 s", "{}", ran.err);
            assert!(
                ran.err.contains("client16: tar: ") && ran.err.contains("No space left on device\n"),
                "{}",
                ran.err
            );
            assert!(ran.err.contains("client16: the copy did not arrive whole\n"), "{}", ran.err);
            assert_eq!(told(&ran, "ccp", "client16"), "exit status 1", "{}", ran.err);
            assert_eq!(calm(&ran), ["client14: Welcome"], "{}", ran.err);
            assert_eq!(ran.err.matches("client14: Have a nice day\n").count(), 1, "{}", ran.err);
            assert_eq!(ran.code, 124);
            let wanted = lab.ok("master", here);
            for host in &well {
                assert_eq!(lab.ok(host, there), wanted, "{host}: {words}");
            }
            for number in [13, 15, 16] {
                let host = format!("client{number}");
                quiet(lab, &host);
                assert_eq!(strays(lab, &host, "/srv"), "", "{words}");
                assert_ne!(lab.sh(&host, there).code, 0, "{host}: {words}");
            }
            let kinds = kinds(lab);
            assert_eq!(kinds.len(), 16, "{kinds:?}");
            for (host, kind) in kinds {
                let wanted = match host.as_str() {
                    "client10" | "client11" | "client12" => "unreachable",
                    "client13" | "client15" | "client16" => "failed",
                    _ => "succeeded",
                };
                assert_eq!(kind, wanted, "{host}: {words}");
            }
        }
        let ran = lab.sh("master", "ccp --reports | head -n 2");
        assert!(ran.out.contains("  10 succeeded, 3 failed, 3 unreachable  --recursive t /srv/\n"), "{}", ran.out);

        // From them: down, refused, another key, hanging, junk, flood; each that answers gives what it has.
        let begin = Instant::now();
        let ran = lab.sh(
            "master",
            "cd /root; ccp --rcopy -t 9 -u 20 -w 'client[1-16]' -r /srv/t /etc/hostname got",
        );
        assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
        let ran = Ran { err: ran.err.replace("client15: y\n", ""), ..ran };
        named(&ran, "ccp", "command time-out after 20 s");
        assert_eq!(told(&ran, "ccp", "client15"), "command time-out after 20 s", "{}", ran.err);
        assert_eq!(told(&ran, "ccp", "client16"), "exit status 1", "{}", ran.err);
        assert!(ran.err.contains("client16: /srv/t: No such file or directory\n"), "{}", ran.err);
        assert_eq!((calm(&ran), ran.code), (vec!["client14: Welcome"], 124), "{}", ran.err);
        let mut wanted: Vec<String> = well.iter().flat_map(|host| [format!("hostname.{host}"), format!("t.{host}")]).collect();
        wanted.push("hostname.client16".into());
        wanted.sort_unstable();
        assert_eq!(lab.ok("master", "LC_ALL=C ls -A /root/got"), wanted.join("\n") + "\n");
        let tree = lab.ok("master", &format!("cd /root/t {LOOK}"));
        for host in &well {
            assert_eq!(lab.read("master", &format!("/root/got/hostname.{host}")), format!("{host}\n"));
            assert_eq!(lab.ok("master", &format!("cd /root/got/t.{host} {LOOK}")), tree, "{host}");
        }

        // Mended, all but the host key: what failed is made up for from another directory, and nothing else is done.
        lab.boot("client10");
        lab.ok("client11", "mv /root/keys /root/.ssh/authorized_keys");
        // What waited there all the time wakes up, and finds that nobody waits for it.
        lab.ok("client13", "pgrep -f '[h]ead -c' && touch /tmp/go");
        lab.wait("client13", "! pgrep -f '[h]ead -c'");
        assert_eq!(lab.ok("client13", "ls -A /srv"), "");
        lab.ok("client15", "touch /tmp/calm");
        lab.ok("client16", "umount /srv /dev/shm /tmp");
        let again = |which: &str, more: &str| lab.sh("master", &format!("ccp --retry {which} --report 2 {more}"));
        let listed = |which: &str| again(which, "-q").out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(listed("failed"), "client13 client15 client16");
        assert_eq!(listed("unreachable"), "client10 client11 client12");
        assert_eq!(listed("succeeded").split(' ').count(), 10);
        let ran = again("failed", "--report_loc");
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
        assert!(ran.err.starts_with("ccp: report: /var/opt/dsau/fanout/reports/ccp-"), "{}", ran.err);
        let report = ran.err.trim_end().trim_start_matches("ccp: report: ").to_string();
        assert_eq!(lab.ok("master", &format!("ccp --retry all --report {report} -q")), "client13\nclient15\nclient16\n");
        // The report that was the second is the third now.
        let ran = lab.sh("master", "ccp -t 5 --retry unreachable --report 3");
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
        assert!(ran.err.starts_with("ccp: client12: the host key has changed: "), "{}", ran.err);
        for number in [10, 11, 13, 15, 16] {
            assert_eq!(lab.ok(&format!("client{number}"), &format!("cd /srv/t {LOOK}")), tree, "client{number}");
        }
    });
}

#[test]
fn a_copy_to_sixteen_hosts_that_is_stopped_leaves_no_process_and_no_file_on_any_of_them() {
    CLUSTER.with(|lab| {
        lab.ok("master", "cexec --mux-exit");
        lab.ok(
            "master",
            "mkdir -p /root/many; cd /root/many; for n in $(seq 14); do head -c 8M /dev/urandom >$n; done; head -c 240M /dev/urandom >/root/large",
        );
        // Of many files nothing stays; of a large one what had arrived, for the next copy to go on with.
        let many = ("-r many /srv/", "[ -n \"$(find /srv/.ccp.*/d -type f)\" ]", "");
        let large = ("large /srv/large", "[ -n \"$(find /srv/.ccp.*/p -size +100k)\" ]", "/srv/.ccp.part.");
        for (way, end, (words, begun, left)) in
            [("--mux", "INT", many), ("--no-mux", "HUP", many), ("--no-mux", "INT", large), ("--mux", "HUP", large)]
        {
            let what = format!("{way} {end} {words}");
            let mut child = lab.type_to("master", &format!("cd /root; exec ccp {way} -w 'client[1-16]' {words}"));
            // At the same time: the first would be done before the last is looked at.
            std::thread::scope(|scope| {
                for host in hosts() {
                    scope.spawn(move || lab.wait(&host, begun));
                }
            });
            match end {
                "INT" => child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap(),
                _ => _ = lab.ok("master", "pkill -KILL -x script"),
            }
            let stopped = Instant::now();
            let ran = ended(child);
            if end == "INT" {
                assert_eq!(ran.code, 130, "{what}: {}", ran.all());
                let last = "ccp: stopped: 0 hosts done, 16 ended, 0 not begun\r\n";
                assert!(ran.out.ends_with(last), "{what}: {}", ran.all());
            }
            lab.wait("master", "! pgrep -x ccp && ! pgrep -af '[s]sh .*BatchMode' | grep -v -- ' -M '");
            assert!(stopped.elapsed().as_secs() < 20, "{what}: {:?}", stopped.elapsed());
            for host in hosts() {
                quiet(lab, &host);
                lab.wait(&host, "! pgrep -x tar && ! pgrep -x dd");
                let found = strays(lab, &host, "/srv");
                match left {
                    "" => assert_eq!(found, "", "{what}: {host}"),
                    left => assert!(
                        found.lines().count() == 1 && found.starts_with(left),
                        "{what}: {host}: {found}"
                    ),
                }
                assert_eq!(lab.ok(&host, "ls -A /srv | grep -v '^.ccp.part' || :"), "", "{what}: {host}");
                lab.ok(&host, "rm -f /srv/.ccp.part.*");
            }
            let kinds = kinds(lab);
            assert!(kinds.len() == 16 && kinds.iter().all(|(_, kind)| kind == "stopped"), "{what}: {kinds:?}");
        }
        // Fetched, nothing half stays here.
        lab.ok("master", "mkdir -p /root/got; ccp -w 'client[1-4]' /root/large /srv/large");
        for end in ["INT", "HUP"] {
            let line = "cd /root; exec ccp --rcopy -w 'client[1-4]' /srv/large got";
            let mut child = lab.type_to("master", line);
            lab.wait("master", "[ \"$(find /root/got -type f -size +100k | wc -l)\" = 4 ]");
            match end {
                "INT" => child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap(),
                _ => _ = lab.ok("master", "pkill -KILL -x script"),
            }
            ended(child);
            lab.wait("master", "! pgrep -x ccp && ! pgrep -af '[s]sh .*BatchMode' | grep -v -- ' -M '");
            assert_eq!(lab.ok("master", "ls -A /root/got"), "", "{end}");
            for number in 1..=4 {
                let host = format!("client{number}");
                quiet(lab, &host);
                lab.wait(&host, "! pgrep -x tar && ! pgrep -x sha256sum");
            }
        }
        // What was stopped is taken up where it was not reached.
        let ran = lab.sh("master", "ccp --retry unreachable");
        assert_eq!((ran.code, ran.all()), (0, String::new()));
        let wanted = lab.ok("master", "sha256sum </root/large");
        for number in 1..=4 {
            assert_eq!(lab.ok("master", &format!("sha256sum </root/got/large.client{number}")), wanted);
        }
        lab.ok("master", "rm -r /root/got; cexec rm -f /srv/large; cexec --mux-exit");
    });
}

#[test]
fn the_spellings_of_other_tools_copy_and_fetch() {
    CLUSTER.with(|lab| {
        lab.ok(
            "master",
            "mkdir /root/got /root/tree; echo text >/root/tree/file; chmod 750 /root/tree/file",
        );
        let run = |line: &str| {
            let ran = lab.sh(
                "master",
                &format!("cd /root; PATH=/opt/dsau/lib/spellings:$PATH; {line}"),
            );
            assert_eq!((ran.code, ran.all()), (0, String::new()), "{line}");
        };
        let fetched = |name: &str| {
            let list = lab.ok(
                "master",
                "cd /root/got && find . -type f | LC_ALL=C sort | xargs grep -H ''; rm -rf /root/got/*",
            );
            let wanted: String = (1..=3)
                .map(|n| format!("./{}\n", name.replace('N', &n.to_string())))
                .collect();
            assert_eq!(list, wanted);
        };
        run("rpdcp -w 'client[1-3]' /etc/hostname got");
        fetched("hostname.clientN:clientN");
        run("clush -w 'client[1-3]' --rcopy /etc/hostname --dest got");
        fetched("hostname.clientN:clientN");
        for line in [
            "pdcp -r -p -w 'client[1-3]' tree /srv/",
            "clush -p -w 'client[1-3]' --copy tree --dest /srv/",
        ] {
            run(line);
            for number in 1..=3 {
                let host = format!("client{number}");
                assert_eq!(
                    lab.ok(&host, "cat /srv/tree/file; stat -c %a /srv/tree/file; rm -r /srv/tree"),
                    "text\n750\n",
                    "{line}"
                );
            }
        }
        run("pdcp -r -w 'client[1-3]' tree /srv/");
        run("rpdcp -r -w 'client[1-3]' /srv/tree got");
        fetched("tree.clientN/file:text");
        run("clush -w 'client[1-3]' --rcopy /srv/tree --dest got");
        fetched("tree.clientN/file:text");
        // What fails is named, and is no success.
        for line in [
            "rpdcp -w 'client[1-2]' /no/file got",
            "clush -S -w 'client[1-2]' --rcopy /no/file --dest got",
        ] {
            let ran = lab.sh(
                "master",
                &format!("cd /root; PATH=/opt/dsau/lib/spellings:$PATH; {line}"),
            );
            assert_eq!(
                ran.err.matches(": /no/file: No such file or directory\n").count(),
                2,
                "{line}: {}",
                ran.all()
            );
            assert_eq!(ran.code, 1, "{line}: {}", ran.all());
        }
        lab.ok("master", "rm -r /root/got /root/tree; cexec rm -rf /srv/tree");
    });
}
