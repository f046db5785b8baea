//! dpkg: the whole life of the package on a machine without systemd.

use std::process::Command;

use crate::harness::{VERSION, able, deb, on_a_machine, project, run};

const PROGRAMS: &[&str] = &["dpkg-buildpackage", "dh", "unshare", "strip"];

#[test]
fn lintian_has_nothing_to_say_but_what_an_override_explains() {
    if !able(&[PROGRAMS, &["lintian"]].concat()) {
        return;
    }
    let dir = deb();
    let packages = [
        format!(
            "dsau_{VERSION}-1_{}.deb",
            run(Command::new("dpkg").arg("--print-architecture")).trim()
        ),
        format!("dsau-spellings_{VERSION}-1_all.deb"),
    ];
    let said = run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .args(packages)
        .current_dir(dir));
    assert_eq!(said, "");
    for name in ["dsau", "dsau-spellings"] {
        let text = std::fs::read_to_string(project().join(format!("pkg/debian/{name}.lintian-overrides"))).unwrap();
        let mut explained = false;
        for line in text.lines().filter(|line| !line.is_empty()) {
            explained |= line.starts_with('#');
            assert!(explained, "{name}: '{line}' has no reason above it");
        }
    }
}

#[test]
fn the_package_has_the_version_of_the_project_and_every_tool_says_the_same() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        same "$(dpkg-query -W -f '${Version}' dsau)" "$VERSION-1" "the version of the package"
        for tool in dsau $(dsau --list); do
            same "$($tool --version)" "$tool $VERSION" "$tool --version"
            man -w "$tool" >/dev/null || fail "$tool has no page"
        done
        modes"#,
    );
}

#[test]
fn what_the_administrator_wrote_outlives_everything_but_purge() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        rests cfservd "nobody configured it"
        live
        sed -i '/CSYNC/!s/^CFEXECD_CONFIGURED=0/CFEXECD_CONFIGURED=0 # by hand/' /etc/rc.config.d/cfexecd

        dpkg --force-confold -i /packages/next.deb
        untouched "over an upgrade"
        grep -qx CSYNC_CONFIGURED=1 /etc/rc.config.d/cfservd || fail "the upgrade undid CSYNC_CONFIGURED=1"
        grep -q 'of the next version' /etc/rc.config.d/cfservd.dpkg-dist || fail "the new rc file is not beside the old"
        grep -q 'by hand' /etc/rc.config.d/cfexecd || fail "a file that did not change in the package was replaced"

        dpkg -r dsau
        untouched "over a removal"
        there /etc/rc.config.d/cfservd /etc/logrotate.d/dsau
        gone /opt/dsau /usr/bin/cexec /usr/sbin/cfagent /usr/sbin/init.d/cfservd /usr/share/man/man7/dsau.7.gz $work/bin

        dpkg -i --force-confold /packages/next.deb
        untouched "over another installation"
        grep -qx CSYNC_CONFIGURED=1 /etc/rc.config.d/cfservd || fail "coming back undid CSYNC_CONFIGURED=1"
        there $work/bin/cfagent
        modes

        dpkg -P dsau
        gone /var/opt/dsau /etc/rc.config.d/cfservd /etc/rc.config.d/cfexecd /etc/logrotate.d/dsau /opt/dsau
        gone /etc/init.d/cfservd /etc/systemd/system/multi-user.target.wants/cfservd.service /usr/sbin/init.d
        [ -z "$(find /etc/rc?.d -name '*cfservd' -o -name '*cfexecd')" ] || fail "links of boot scripts are left""#,
    );
}

#[test]
fn a_purge_does_not_reach_into_what_is_mounted_or_linked() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        mkdir -p $master /srv/keys
        mount -t tmpfs tmpfs $master
        echo golden >$master/file
        echo key >/srv/keys/file
        rmdir $work/ppkeys && ln -s /srv/keys $work/ppkeys
        dpkg -P dsau
        same "$(cat $master/file)" golden "a mounted master tree"
        same "$(cat /srv/keys/file)" key "what a link pointed to"
        gone $work"#,
    );
}

#[test]
fn an_upgrade_restarts_what_runs_and_leaves_stopped_what_was_stopped() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        live
        /sbin/init.d/cfservd start
        runs cfservd "after start"
        before=$(pid_of cfservd)

        dpkg --force-confold -i /packages/next.deb
        runs cfservd "it ran before the upgrade"
        [ "$(pid_of cfservd)" != "$before" ] || fail "the old program still runs"
        rests cfexecd "it is not configured"

        /sbin/init.d/cfservd stop
        dpkg -i /packages/next.deb
        rests cfservd "the administrator had stopped it"

        # What runs and is not configured was started by hand: it is not ended by an upgrade.
        sed -i 's/^CSYNC_CONFIGURED=1/CSYNC_CONFIGURED=0/' /etc/rc.config.d/cfservd
        cfservd
        for i in $(seq 100); do [ -z "$(pid_of cfservd)" ] || break; sleep 0.1; done
        before=$(pid_of cfservd)
        [ -n "$before" ] || fail "cfservd did not start by hand"
        dpkg -i /packages/next.deb
        same "$(pid_of cfservd)" "$before" "what was started by hand"
        sed -i 's/^CSYNC_CONFIGURED=0/CSYNC_CONFIGURED=1/' /etc/rc.config.d/cfservd

        dpkg -r dsau
        ! pgrep -x cfservd || fail "it runs on after the package has gone"
        dpkg --force-confold -i /packages/next.deb
        runs cfservd "it is configured, and its package came back"
        untouched "in the end""#,
    );
}

#[test]
fn a_site_that_forbids_starting_services_is_obeyed() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        live
        /sbin/init.d/cfservd start
        before=$(pid_of cfservd)
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        dpkg --force-confold -i /packages/next.deb
        same "$(pid_of cfservd)" "$before" "the process""#,
    );
}

#[test]
fn the_boot_script_of_debian_does_what_its_policy_asks() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        there /etc/rc2.d/S*cfservd /etc/rc0.d/K*cfservd
        /etc/init.d/cfservd start || fail "'not configured' is no failure at boot"
        rests cfservd "it is not configured"
        live
        /etc/init.d/cfservd start
        runs cfservd "after start"
        before=$(pid_of cfservd)
        /etc/init.d/cfservd force-reload
        [ "$(pid_of cfservd)" != "$before" ] || fail "force-reload kept the process"
        /etc/init.d/cfservd stop
        /etc/init.d/cfservd stop || fail "stopping what is stopped is no failure"
        rests cfservd "after stop"
        status=0; /etc/init.d/cfservd frobnicate || status=$?
        same "$status" 2 "the status of a wrong word""#,
    );
}

#[test]
fn the_names_of_other_tools_are_a_package_of_their_own_and_never_beside_the_others() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        dpkg -i /packages/dsau_*.deb
        if dpkg-query -W -f '${Status}' pdsh 2>/dev/null | grep -q 'ok installed'; then
            ! dpkg -i /packages/dsau-spellings_*.deb || fail "it was installed beside pdsh"
            dpkg --force-depends -r pdsh clustershell python3-clustershell
        fi
        dpkg -i /packages/dsau-spellings_*.deb
        for name in pdsh pdcp rpdcp dshbak clush clubak nodeset cluset; do
            same "$(readlink -f /usr/bin/$name)" /opt/dsau/bin/dsau "$name"
            man -w $name >/dev/null || fail "$name has no page"
        done
        same "$(nodeset -f n1 n2 n3)" "n[1-3]" "nodeset"
        dpkg -r dsau-spellings
        gone /usr/bin/pdsh /usr/share/man/man1/pdsh.1.gz
        there /usr/bin/cexec /opt/dsau/lib/spellings/pdsh"#,
    );
}

#[test]
fn bash_completes_our_cfagent_beside_the_package_that_has_another() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        deb(),
        r#"
        there /usr/share/bash-completion/completions/cfagent
        dpkg -i /packages/dsau_*.deb
        bash --norc -c '
            . /usr/share/bash-completion/bash_completion
            status=0; _dsau cfagent || status=$?
            [ $status = 124 ] || exit 1
            complete -p cfagent | grep -q -- "-F _cfagent" || exit 2
            COMP_WORDS=(cfagent --expl) COMP_CWORD=1
            _cfagent cfagent --expl cfagent
            [ "${COMPREPLY[*]}" = --explain ]' || fail "bash does not complete cfagent --expl: $?""#,
    );
}

#[test]
fn the_packages_name_the_version_and_the_spellings_of_the_project() {
    let text = |path: &str| std::fs::read_to_string(project().join(path)).unwrap();
    assert!(text("pkg/debian/changelog").starts_with(&format!("dsau ({VERSION}-1) ")));
    assert!(text("pkg/rpm/dsau.spec").contains(&format!("The dsau developers - {VERSION}-1\n")));
    let makefile = text("Makefile");
    let (_, names) = makefile.split_once("SPELLINGS := ").unwrap();
    let names: Vec<&str> = names.lines().next().unwrap().split(' ').collect();
    let links = text("pkg/debian/dsau-spellings.links");
    let linked: Vec<&str> = links.lines().filter_map(|line| line.split("usr/bin/").nth(1)).collect();
    assert_eq!(linked, names);
}
