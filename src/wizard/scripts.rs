//! What runs on a client: fixed POSIX shell scripts. Data comes as arguments and standard input, never as part of a script.
//! `DSAU_ROOT` is a prefix of all paths, as it is for the tools.

/// Status of [`PROBE`] when dsau is not installed there.
pub const NOT_INSTALLED: i32 = 90;
/// Status of [`PROBE`] when we are not root there.
pub const NOT_ROOT: i32 = 91;
/// Status of [`HOSTS`] when another address stands there for the master.
pub const OTHER_ADDRESS: i32 = 92;

/// Looks whether the client can be configured at all. Prints its host name.
pub const PROBE: &str = r#"
R=${DSAU_ROOT:-}
[ -x "$R/opt/dsau/sbin/cfkey" ] && [ -x "$R/opt/dsau/sbin/cfagent" ] || exit 90
[ "$(id -u)" = 0 ] || [ -n "$R" ] || exit 91
hostname
"#;

/// Status of [`SET_UP`] when everything is in place but the run of cfagent failed.
pub const AGENT_FAILED: i32 = 93;

/// Makes the client's key pair unless it has one; prints the public half (KY-01) and then its start-up file. An existing
/// key is never overwritten.
pub const KEY: &str = r#"
set -eu
R=${DSAU_ROOT:-}
keys=$R/var/opt/dsau/cfengine/ppkeys
if [ ! -f "$keys/localhost.priv" ] || [ ! -f "$keys/localhost.pub" ]; then
    "$R/opt/dsau/sbin/cfkey" </dev/null >&2
fi
cat "$keys/localhost.pub"
rc=$R/etc/rc.config.d/cfservd
[ ! -e "$rc" ] || cat "$rc"
"#;

/// Trusts the key on standard input for root at each of the addresses `$@` (KY-06).
pub const TRUST: &str = r#"
set -eu
R=${DSAU_ROOT:-}
keys=$R/var/opt/dsau/cfengine/ppkeys
umask 077
new=$keys/.master.$$
trap 'rm -f "$new" "$new.one"' EXIT
cat >"$new"
grep -q 'END PUBLIC KEY' "$new" || { echo 'the key did not arrive whole' >&2; exit 1; }
for address in "$@"; do
    cmp -s "$new" "$keys/root-$address.pub" && continue
    cp "$new" "$new.one"
    mv -f "$new.one" "$keys/root-$address.pub"
done
"#;

/// Verifies that the master `$1` (short name `$2`) has an entry in /etc/hosts (FIL-03, CM-07) with one of the addresses
/// `$3 …`; adds one with the first address when there is none. Prints `present` or `added`.
pub const HOSTS: &str = r#"
set -eu
R=${DSAU_ROOT:-}
hosts=$R/etc/hosts
name=$1 short=$2
shift 2
[ -f "$hosts" ] || { umask 022; mkdir -p "$R/etc"; : >"$hosts"; }
found=$(awk -v name="$name" '{ sub(/#.*/, ""); for (i = 2; i <= NF; i++) if (tolower($i) == name) print $1 }' "$hosts")
for address in $found; do
    for wanted in "$@"; do
        [ "$address" = "$wanted" ] && { echo present; exit 0; }
    done
done
[ -z "$found" ] || { echo $found; exit 92; }
# An append, because /etc/hosts is a mount point in some environments and cannot be replaced there.
last=$(tail -c 1 "$hosts" | od -An -tx1 | tr -d ' ')
[ -z "$last" ] || [ "$last" = 0a ] || echo >>"$hosts"
printf '%s\t%s %s\n' "$1" "$name" "$short" >>"$hosts"
echo added
"#;

/// Prints a file under the prefix, or nothing where there is none.
pub const READ: &str = r#"
set -eu
file=${DSAU_ROOT:-}$1
[ ! -e "$file" ] || cat "$file"
"#;

/// Puts standard input, `$3` bytes long, into the file `$1` with mode `$2`, whole or not at all.
pub const WRITE: &str = r#"
set -eu
file=${DSAU_ROOT:-}$1
mkdir -p "$(dirname "$file")"
new=$(dirname "$file")/.$(basename "$file").$$.new
trap 'rm -f "$new"' EXIT
(umask 077; cat >"$new")
[ "$(wc -c <"$new")" -eq "$3" ] || { echo 'the file did not arrive whole' >&2; exit 1; }
cmp -s "$new" "$file" && exit 0
chmod "$2" "$new"
mv -f "$new" "$file"
"#;

/// Takes update.conf, cfservd.conf and the start-up file from standard input, `$1`, `$2` and `$3` bytes long; puts each in
/// its place, whole or not at all (MK-04, MS-11, VAR-01); makes WORK/bin (FIL-13); starts cfservd, anew if it runs; runs
/// cfagent once (MS-12).
pub const SET_UP: &str = r#"
set -eu
R=${DSAU_ROOT:-}
work=$R/var/opt/dsau/cfengine
mkdir -p "$work/inputs" "$work/bin" "$R/etc/rc.config.d"
all=$work/.setup.$$
new=$all
trap 'rm -f "$all" "$new"' EXIT
(umask 077; cat >"$all")
[ "$(wc -c <"$all")" -eq $(($1 + $2 + $3)) ] || { echo 'the files did not arrive whole' >&2; exit 1; }
put() { # skip, length, mode, file
    new=$(dirname "$4")/.$(basename "$4").$$.new
    (umask 077; tail -c +$(($1 + 1)) "$all" | head -c "$2" >"$new")
    [ "$(wc -c <"$new")" -eq "$2" ]
    chmod "$3" "$new"
    if cmp -s "$new" "$4"; then
        rm -f "$new"
        chmod "$3" "$4"
    else
        mv -f "$new" "$4"
    fi
}
put 0 "$1" 600 "$work/inputs/update.conf"
put "$1" "$2" 600 "$work/inputs/cfservd.conf"
put $(($1 + $2)) "$3" 644 "$R/etc/rc.config.d/cfservd"
for tool in cfagent cfexecd cfservd cfrun cfkey; do
    [ -e "$work/bin/$tool" ] || ln -sfn "$R/opt/dsau/sbin/$tool" "$work/bin/$tool"
done
# Into a file: a daemon that kept our pipe open would keep ssh waiting.
"$R/sbin/init.d/cfservd" restart </dev/null >"$all" 2>&1 || { cat "$all" >&2; exit 1; }
"$R/opt/dsau/sbin/cfagent" --no-lock --no-splay --inform </dev/null >"$all" 2>&1 || { cat "$all" >&2; exit 93; }
"#;

/// Starts cfservd, anew if it runs.
pub const START: &str = r#"
R=${DSAU_ROOT:-}
said=$R/var/opt/dsau/cfengine/.start.$$
trap 'rm -f "$said"' EXIT
"$R/sbin/init.d/cfservd" restart </dev/null >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
"#;

/// Ends management: no cfservd, no start at boot, no policy, the master's key at the addresses `$@` forgotten. The policy
/// files are kept aside.
pub const FORGET: &str = r#"
set -eu
R=${DSAU_ROOT:-}
work=$R/var/opt/dsau/cfengine
said=$work/.stop.$$
trap 'rm -f "$said"' EXIT
"$R/sbin/init.d/cfservd" stop </dev/null >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
if [ -d "$work/inputs" ]; then
    rm -rf "$work/inputs.removed"
    mv "$work/inputs" "$work/inputs.removed"
    mkdir "$work/inputs"
fi
for address in "$@"; do
    rm -f "$work/ppkeys/root-$address.pub"
done
"#;

/// Makes a second key pair beside the one in use; prints the public half.
pub const STAGE_KEY: &str = r#"
set -eu
R=${DSAU_ROOT:-}
keys=$R/var/opt/dsau/cfengine/ppkeys
rm -f "$keys/next.priv" "$keys/next.pub"
"$R/opt/dsau/sbin/cfkey" -f "$keys/next" </dev/null >&2
cat "$keys/next.pub"
"#;

/// Forgets the second pair.
pub const UNSTAGE_KEY: &str = r#"
keys=${DSAU_ROOT:-}/var/opt/dsau/cfengine/ppkeys
rm -f "$keys/next.priv" "$keys/next.pub"
"#;

/// Takes the second pair into use. The old one is gone with it: that is why new keys are made.
pub const SWITCH_KEY: &str = r#"
set -eu
keys=${DSAU_ROOT:-}/var/opt/dsau/cfengine/ppkeys
[ ! -e "$keys/next.priv" ] || mv -f "$keys/next.priv" "$keys/localhost.priv"
[ ! -e "$keys/next.pub" ] || mv -f "$keys/next.pub" "$keys/localhost.pub"
"#;
