//! Power cuts in the middle of a sync of 2,000 files: every file is the old one or the new one, whole; the next run
//! completes; nothing stray stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::Lab;
use crate::site::{self, FILES, INPUTS};

const COUNT: usize = 2000;

/// Writes version `version` of the tree on the master: names stay, every content changes, with sizes from 0 to 40 KiB.
fn tree(lab: &Lab, version: usize) {
    lab.ok(
        "master",
        &format!(
            "perl -e '
                my ($dir, $version, $count) = @ARGV;
                for my $n (1 .. $count) {{
                    my $sub = sprintf(q(%s/d%02d), $dir, $n % 40);
                    mkdir $dir; mkdir $sub;
                    open(my $file, q(>), qq($sub/new)) or die;
                    my $line = qq(version $version of file $n\\n);
                    print $file $line, $line x ($n * 7919 % 1400), qq(end $version\\n);
                    close($file); rename(qq($sub/new), qq($sub/f$n)) or die;
                }}' {FILES}/tree {version} {COUNT}"
        ),
    );
}

/// Digest of every file of a tree, by name.
fn digests(lab: &Lab, host: &str, dir: &str) -> BTreeMap<String, String> {
    lab.ok(
        host,
        &format!("mkdir -p {dir}; cd {dir}; find . ! -type d -print0 | sort -z | xargs -0r sha256sum"),
    )
    .lines()
    .map(|line| {
        let (sum, name) = line.split_once("  ").unwrap();
        (name.to_string(), sum.to_string())
    })
    .collect()
}

/// Numbers that differ from run to run; the seed is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

#[test]
fn after_a_power_cut_at_any_moment_every_file_is_old_or_new_and_the_next_run_completes() {
    let Some(lab) = site::up(1) else { return };
    site::actions(
        &lab,
        "copy:\n  any::\n    $(master_files)/tree\n      dest=/srv/tree\n      server=$(policyhost)\n      \
         recurse=inf\n      type=checksum\n      backup=false\n      purge=true\n",
    );
    // A master that vanishes says nothing: this is how long the client waits for it.
    lab.ok(
        "master",
        &format!("cd {INPUTS} && sed -i 's/^control:/control:\\n   TimeOut = ( 4 )/' update.conf cfagent.conf && cfagent -p -f ./update.conf"),
    );
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    tree(&lab, 0);
    let start = Instant::now();
    site::converge(&lab, "client1");
    let mut full = start.elapsed();
    let mut old = digests(&lab, "master", &format!("{FILES}/tree"));
    assert_eq!(old.len(), COUNT);
    assert_eq!(digests(&lab, "client1", "/srv/tree"), old);

    let (mut mixed, mut cuts) = (0, 0);
    for round in 1..=60 {
        // Twenty kills; more only while chance has hit too few syncs in the middle to say anything.
        if round > 20 && cuts >= 5 && mixed >= 2 {
            break;
        }
        let victim = if round % 2 == 0 { "master" } else { "client1" };
        tree(&lab, round);
        let new = digests(&lab, "master", &format!("{FILES}/tree"));
        let mut run = lab.spawn("client1", "cfagent --exit-status --no-lock --no-splay");
        let moment = Duration::from_millis(dice.below(full.as_millis() as u64));
        std::thread::sleep(moment);
        let late = run.try_wait().unwrap().is_some();
        lab.kill(victim);
        // The machine comes back; a client that lost its master learns it from the first answer.
        lab.boot(victim);
        let status = run.wait().unwrap();
        // So that the next ones fall into a run: it takes less than this, or more.
        if late {
            full = moment;
        } else if status.success() {
            full = full * 5 / 4;
        }
        if !status.success() {
            cuts += 1;
        }
        let found = digests(&lab, "client1", "/srv/tree");
        let mut fresh = 0;
        for (name, sum) in &new {
            let got = found.get(name);
            assert!(
                got == Some(sum) || got == old.get(name),
                "round {round}, {victim} killed after {moment:?}: {name} is neither old nor new ({got:?})"
            );
            fresh += usize::from(got == Some(sum));
        }
        eprintln!("round {round}: {victim} killed after {moment:?}: {fresh} of {COUNT} files new");
        if fresh > 0 && fresh < COUNT {
            mixed += 1;
        }
        let said = site::converge(&lab, "client1");
        assert_eq!(
            digests(&lab, "client1", "/srv/tree"),
            new,
            "round {round}: the next run completes\n{said}"
        );
        let stray = lab.ok(
            "client1",
            "find /srv/tree /var/opt/dsau/cfengine /etc -name '*cfnew*' -o -name '.dsau*' -o -name '*.new'",
        );
        assert_eq!(stray, "", "round {round}: stray files");
        old = new;
    }
    assert!(
        cuts >= 5 && mixed >= 2,
        "of 60 kills {cuts} hit a run and {mixed} the middle of a sync: too few to say anything"
    );
}
