//! rpm: the same rules, and its database.

use std::process::Command;

use crate::harness::{able, on_a_machine, project, rpm, run};

const PROGRAMS: &[&str] = &["rpmbuild", "rpm", "unshare", "strip"];

#[test]
fn rpmlint_has_nothing_to_say_but_what_a_filter_explains() {
    if !able(&[PROGRAMS, &["rpmlint"]].concat()) {
        return;
    }
    let said = run(Command::new("sh")
        .args(["-c", "rpmlint -r \"$0\" ./*.rpm"])
        .arg(project().join("pkg/rpm/dsau-rpmlintrc"))
        .current_dir(rpm()));
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(": E: ") || line.contains(": W: "))
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(said.contains("2 packages and 0 specfiles checked"), "{said}");
}

/// Debian's rpm wants a word before it installs anything, and knows no package of this machine.
const RPM: &str = "
    rpm --initdb
    as_rpm() { rpm --force-debian --nodeps \"$@\"; }
    next() { as_rpm -U --replacepkgs /packages/dsau-[0-9]*.rpm; }
";

#[test]
fn the_database_knows_every_file_and_every_tool_says_the_version_of_the_package() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        rpm(),
        &format!(
            "{RPM}{}",
            r#"
        as_rpm -i /packages/dsau-[0-9]*.rpm
        rpm -V --nodeps dsau || fail "what is installed is not what the database says"
        same "$(rpm -q --qf '%{VERSION}' dsau)" "$VERSION" "the version of the package"
        for tool in dsau $(dsau --list); do same "$($tool --version)" "$tool $VERSION" "$tool --version"; done
        same "$(rpm -qc dsau | sort | tr '\n' ' ')" \
            "/etc/bash_completion.d/dsau /etc/logrotate.d/dsau /etc/rc.config.d/cfexecd /etc/rc.config.d/cfservd " "the configuration files"
        modes
        as_rpm -i --replacefiles /packages/dsau-spellings-*.rpm
        same "$(readlink -f /usr/bin/pdsh)" /opt/dsau/bin/dsau pdsh
        [ -z "$(rpm -qal | sort | uniq -d)" ] || fail "files of both packages: $(rpm -qal | sort | uniq -d)""#
        ),
    );
}

#[test]
fn what_the_administrator_wrote_outlives_upgrade_and_removal() {
    if !able(PROGRAMS) {
        return;
    }
    on_a_machine(
        rpm(),
        &format!(
            "{RPM}{}",
            r#"
        as_rpm -i /packages/dsau-[0-9]*.rpm
        rests cfservd "nobody configured it"
        live
        /sbin/init.d/cfservd start
        before=$(pid_of cfservd)
        next
        runs cfservd "it ran before the upgrade"
        [ "$(pid_of cfservd)" != "$before" ] || fail "the old program still runs"
        untouched "over an upgrade"
        grep -qx CSYNC_CONFIGURED=1 /etc/rc.config.d/cfservd || fail "the upgrade undid CSYNC_CONFIGURED=1"
        /sbin/init.d/cfservd stop
        next
        rests cfservd "the administrator had stopped it"
        /sbin/init.d/cfservd start

        as_rpm -e dsau
        ! pgrep -x cfservd || fail "it runs on after the package has gone"
        untouched "over a removal"
        grep -qx CSYNC_CONFIGURED=1 /etc/rc.config.d/cfservd.rpmsave || fail "the rc file is not kept"
        gone /opt/dsau /usr/bin/cexec /usr/sbin/cfagent /usr/sbin/init.d
        ! rpm -q dsau || fail "the database still knows it"
        as_rpm -i /packages/dsau-[0-9]*.rpm
        untouched "over another installation"
        modes"#
        ),
    );
}
