//! The package on machines with systemd as pid 1: from `apt install` to a boot that brings the server up, and what an upgrade does.

use crate::harness::{able, deb, with_systemd};

const PROGRAMS: &[&str] = &[
    "dpkg-buildpackage",
    "dh",
    "unshare",
    "strip",
    "nsenter",
    "systemd-run",
    "dbus-daemon",
];

#[test]
fn a_machine_is_installed_configured_started_and_after_a_power_cut_it_is_up_again() {
    if !able(PROGRAMS) {
        return;
    }
    with_systemd(
        deb(),
        r#"
        boot
        host '
            # All that it depends on is there: nothing is fetched.
            apt-get install --no-install-recommends -y /packages/dsau_*.deb
            systemctl start cfservd
            same "$(systemctl is-active cfservd || true)" inactive "cfservd, not configured"
            live
            systemctl start cfservd
            same "$(systemctl is-active cfservd)" active "cfservd, configured"
            runs cfservd "by its start script"'
        crash
        boot
        host '
            same "$(systemctl is-active cfservd)" active "cfservd after the boot"
            same "$(systemctl is-active cfexecd || true)" inactive "cfexecd, not configured"
            same "$(systemctl is-failed cfexecd || true)" inactive "cfexecd, not configured"
            /sbin/init.d/cfservd stop
            same "$(systemctl is-active cfservd || true)" inactive "cfservd, stopped by its start script"
            /sbin/init.d/cfservd start
            same "$(systemctl is-active cfservd)" active "cfservd, started by its start script"
            same "$(systemctl is-enabled cfexecd.timer || true)" disabled "the timer"
            systemctl enable --now cfexecd.timer
            systemctl list-timers --no-legend cfexecd.timer | grep -q cfexecd-run.service || fail "the timer has no time"'"#,
    );
}

#[test]
fn an_upgrade_under_systemd_restarts_what_runs_and_nothing_that_was_stopped() {
    if !able(PROGRAMS) {
        return;
    }
    with_systemd(
        deb(),
        r#"
        boot
        host '
            apt-get install --no-install-recommends -y /packages/dsau_*.deb
            live
            systemctl start cfservd
            before=$(systemctl show -P MainPID cfservd)
            # Who asks every 20 ms is refused for less than a second.
            asking() {
                refused=0 most=0
                while [ ! -e /run/enough ]; do
                    if (: </dev/tcp/127.0.0.1/5308) 2>/dev/null; then refused=0; else refused=$((refused + 1)); fi
                    [ $refused -le $most ] || most=$refused
                    sleep 0.02
                done
                echo $most >/run/most
            }
            asking &
            apt-get install --no-install-recommends -y -o Dpkg::Options::=--force-confold /packages/next.deb
            : >/run/enough
            wait
            [ "$(cat /run/most)" -lt 40 ] || fail "refused $(cat /run/most) times in a row"
            same "$(systemctl is-active cfservd)" active "cfservd after the upgrade"
            [ "$(systemctl show -P MainPID cfservd)" != "$before" ] || fail "the old program still runs"
            untouched "over an upgrade"

            systemctl stop cfservd
            dpkg -i /packages/next.deb
            same "$(systemctl is-active cfservd || true)" inactive "cfservd, stopped by the administrator"
            systemctl disable cfservd
            dpkg -i /packages/next.deb
            same "$(systemctl is-enabled cfservd || true)" disabled "cfservd, disabled by the administrator"
            systemctl enable --now cfservd

            dpkg -r dsau
            ! pgrep -x cfservd || fail "it runs on after the package has gone"
            dpkg --force-confold -i /packages/next.deb
            same "$(systemctl is-active cfservd)" active "cfservd, whose package came back"
            untouched "in the end"
            dpkg -P dsau
            gone /var/opt/dsau /etc/systemd/system/multi-user.target.wants/cfservd.service'"#,
    );
}

#[test]
fn the_server_is_shut_off_from_the_machine_and_the_agent_it_starts_is_not() {
    if !able(PROGRAMS) {
        return;
    }
    with_systemd(
        deb(),
        r#"
        boot
        host '
            dpkg -i /packages/dsau_*.deb
            live
            cat >$work/inputs/cfservd.conf <<CONF
control: cfrunCommand = ( "/var/opt/dsau/cfengine/bin/cfagent" ) AllowUsers = ( root ) DynamicAddresses = ( 127.0.0.1 )
admit: /var/opt/dsau/cfengine/bin/cfagent 127.0.0.1 localhost
CONF
            cat >$work/inputs/cfagent.conf <<CONF
control: actionsequence = ( shellcommands )
shellcommands: "/bin/sh -c \"echo outside >/etc/made-by-the-agent; sleep 300 & true\""
CONF
            echo "control: actionsequence = ( copy )" >$work/inputs/update.conf
            chmod 600 $work/inputs/*
            cp $work/ppkeys/localhost.pub $work/ppkeys/root-127.0.0.1.pub
            echo 127.0.0.1 >$work/inputs/cfrun.hosts
            systemctl start cfservd
            ! nsenter -t "$(systemctl show -P MainPID cfservd)" -m touch /etc/made-by-the-server 2>/dev/null \
                || fail "the service may write to /etc"
            cfrun >/run/said 2>&1 || fail "cfrun: $(cat /run/said)"
            same "$(cat /etc/made-by-the-agent)" outside "what the agent wrote: $(cat /run/said)"
            pgrep -x sleep >/dev/null || fail "what the agent started has not outlived it"
            systemctl restart cfservd
            pgrep -x sleep >/dev/null || fail "what the agent started has not outlived a restart of cfservd"'"#,
    );
}
