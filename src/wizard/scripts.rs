//! What runs on a client: fixed POSIX shell scripts. Data comes as arguments and standard input, never as part of a script.
//! `DSAU_ROOT` is a prefix of all paths, as it is for the tools.

/// Status of [`PROBE`] when dsau is not installed there.
pub const NOT_INSTALLED: i32 = 90;
/// Status of [`PROBE`] when we are not root there.
pub const NOT_ROOT: i32 = 91;
/// Status of [`PREPARE`] when another address stands there for the master.
pub const OTHER_ADDRESS: i32 = 92;

/// Looks whether the client can be configured at all.
pub const PROBE: &str = r#"
R=${DSAU_ROOT:-}
[ -x "$R/opt/dsau/sbin/cfkey" ] && [ -x "$R/opt/dsau/sbin/cfagent" ] || exit 90
[ -n "$R" ] || [ "$(id -u)" = 0 ] || exit 91
"#;

/// Status of [`SET_UP`] when everything is in place but the run of cfagent failed.
pub const AGENT_FAILED: i32 = 93;

/// All that a system gets before there is a policy for it, in one call; processes are what it costs. `$1` names the run, `$2`
/// is the master and `$3` its short name, `$4 …` are the master's addresses; standard input is the master's public key.
///
/// First the master's entry in /etc/hosts (FIL-03, CM-07): one with the first address is added when there is none; where
/// another address stands, that is printed, and nothing has changed. Then it is noted in WORK/wizard.before how this system
/// is before the run changes it, once for each run: its policy, its start-up file, what it trusts at the master's
/// addresses, whether cfservd runs. Its key pair is made unless it has one; an existing key is never overwritten (KY-01).
/// The master's key is trusted for root at the addresses (KY-06). Prints the public half of its own key and then its
/// start-up file.
pub const PREPARE: &str = r#"
set -eu
R=${DSAU_ROOT:-}
run=$1 name=$2 short=$3
shift 3
work=$R/var/opt/dsau/cfengine
keys=$work/ppkeys
rc=$R/etc/rc.config.d/cfservd
old=$work/wizard.before
hosts=$R/etc/hosts
new=
trap '[ -z "$new" ] || rm -f "$new"' EXIT
key=$(cat)
case $key in
*'END PUBLIC KEY'*) ;;
*)
    echo 'the key did not arrive whole' >&2
    exit 1
    ;;
esac
[ -f "$hosts" ] || (umask 022; mkdir -p "$R/etc"; : >"$hosts")
found=$(awk -v name="$name" '{ sub(/#.*/, ""); for (i = 2; i <= NF; i++) if (tolower($i) == name) print $1 }' "$hosts")
present=
for address in $found; do
    for wanted in "$@"; do
        [ "$address" != "$wanted" ] || present=yes
    done
done
if [ -z "$present" ]; then
    [ -z "$found" ] || { echo $found; exit 92; }
    # An append, because /etc/hosts is a mount point in some environments and cannot be replaced there.
    [ -z "$(tail -c 1 "$hosts")" ] || echo >>"$hosts"
    printf '%s\t%s %s\n' "$1" "$name" "$short" >>"$hosts"
fi
noted=
[ ! -f "$old/run" ] || read -r noted <"$old/run" || :
if [ "$noted" != "$run" ]; then
    [ ! -e "$old" ] || rm -rf "$old"
    (umask 077; mkdir -p "$old")
    keep() { [ ! -e "$1" ] || cp -p "$1" "$old/$2"; }
    keep "$work/inputs/update.conf" update.conf
    keep "$work/inputs/cfservd.conf" cfservd.conf
    keep "$rc" rc
    for address in "$@"; do keep "$keys/root-$address.pub" "root-$address.pub"; done
    pid= comm=
    [ ! -f "$work/cfservd.pid" ] || read -r pid <"$work/cfservd.pid" || :
    [ ! -f "/proc/${pid:-none}/comm" ] || read -r comm <"/proc/$pid/comm" || :
    [ "$comm" != cfservd ] || : >"$old/running"
    echo "$run" >"$old/run"
fi
if [ ! -f "$keys/localhost.priv" ] || [ ! -f "$keys/localhost.pub" ]; then
    "$R/opt/dsau/sbin/cfkey" </dev/null >&2
fi
for address in "$@"; do
    file=$keys/root-$address.pub
    [ ! -f "$file" ] || [ "$(cat "$file")" != "$key" ] || continue
    new=$keys/.master.$$
    (umask 077; printf '%s\n' "$key" >"$new")
    mv -f "$new" "$file"
    new=
done
[ -e "$rc" ] || rc=
cat "$keys/localhost.pub" ${rc:+"$rc"}
"#;

/// Puts back what [`PREPARE`] noted in the run `$1`, for the same addresses; nothing where it noted nothing. A system that had
/// no policy has none again: what arrived meanwhile is kept aside.
pub const UNDO: &str = r#"
set -eu
R=${DSAU_ROOT:-}
run=$1
shift
work=$R/var/opt/dsau/cfengine
old=$work/wizard.before
[ "$(cat "$old/run" 2>/dev/null)" = "$run" ] || exit 0
back() { # saved name, place
    if [ -e "$old/$1" ]; then
        mkdir -p "$(dirname "$2")"
        cp -p "$old/$1" "$2.back"
        mv -f "$2.back" "$2"
    else
        rm -f "$2"
    fi
}
if [ ! -e "$old/update.conf" ] && [ -d "$work/inputs" ] && [ ! -e "$old/aside" ]; then
    rm -rf "$work/inputs.removed"
    mv "$work/inputs" "$work/inputs.removed"
    : >"$old/aside"
fi
mkdir -p "$work/inputs"
back update.conf "$work/inputs/update.conf"
back cfservd.conf "$work/inputs/cfservd.conf"
back rc "$R/etc/rc.config.d/cfservd"
for address in "$@"; do back "root-$address.pub" "$work/ppkeys/root-$address.pub"; done
verb=stop
[ ! -e "$old/running" ] || verb=restart
said=$work/.undo.$$
trap 'rm -f "$said"' EXIT
"$R/sbin/init.d/cfservd" "$verb" </dev/null >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
rm -rf "$old"
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
for dir in "$work/inputs" "$work/bin" "$R/etc/rc.config.d"; do [ -d "$dir" ] || mkdir -p "$dir"; done
all=$work/.setup.$$
new=$all
trap 'rm -f "$all" "$new"' EXIT
(umask 077; cat >"$all")
[ "$(wc -c <"$all")" -eq $(($1 + $2 + $3)) ] || { echo 'the files did not arrive whole' >&2; exit 1; }
put() { # skip, length, mode, file
    new=${4%/*}/.${4##*/}.$$.new
    (umask 077; tail -c +$(($1 + 1)) "$all" | head -c "$2" >"$new")
    [ "$3" = 600 ] || chmod "$3" "$new"
    if [ -e "$4" ] && cmp -s "$new" "$4"; then
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

/// Ends management: no cfservd, no policy, the master's key at the addresses `$@` forgotten. The policy files are kept aside.
/// Prints the start-up file.
pub const FORGET: &str = r#"
set -eu
R=${DSAU_ROOT:-}
work=$R/var/opt/dsau/cfengine
rc=$R/etc/rc.config.d/cfservd
said=$work/.stop.$$
trap 'rm -f "$said"' EXIT
"$R/sbin/init.d/cfservd" stop </dev/null >"$said" 2>&1 || { cat "$said" >&2; exit 1; }
if [ -e "$work/inputs/update.conf" ]; then
    rm -rf "$work/inputs.removed"
    mv "$work/inputs" "$work/inputs.removed"
    mkdir "$work/inputs"
fi
for address in "$@"; do
    rm -f "$work/ppkeys/root-$address.pub"
done
[ ! -e "$rc" ] || cat "$rc"
"#;

/// Makes a second key pair beside the one in use.
pub const STAGE_KEY: &str = r#"
set -eu
R=${DSAU_ROOT:-}
keys=$R/var/opt/dsau/cfengine/ppkeys
rm -f "$keys/next.priv" "$keys/next.pub"
"$R/opt/dsau/sbin/cfkey" -f "$keys/next" </dev/null >&2
"#;

/// Forgets the second pair.
pub const UNSTAGE_KEY: &str = r#"
keys=${DSAU_ROOT:-}/var/opt/dsau/cfengine/ppkeys
rm -f "$keys/next.priv" "$keys/next.pub"
"#;

/// Takes the second pair into use, where there is one, and prints the public half that is in use then. The old pair is gone
/// with it: that is why new keys are made.
pub const SWITCH_KEY: &str = r#"
set -eu
keys=${DSAU_ROOT:-}/var/opt/dsau/cfengine/ppkeys
[ ! -e "$keys/next.priv" ] || mv -f "$keys/next.priv" "$keys/localhost.priv"
[ ! -e "$keys/next.pub" ] || mv -f "$keys/next.pub" "$keys/localhost.pub"
cat "$keys/localhost.pub"
"#;

/// Prints how this system is, a word and what it says on each line: its time, its key, what it trusts at the master's
/// addresses `$@`, its policy files, whether cfservd runs, how the last run of cfagent ended, what a run would change now.
pub const LOOK: &str = r#"
R=${DSAU_ROOT:-}
work=$R/var/opt/dsau/cfengine
date '+now %s'
[ -x "$R/opt/dsau/sbin/cfagent" ] || exit 90
# One process for all digests.
addresses=$*
set -- "$work/ppkeys/localhost.pub"
for address in $addresses; do set -- "$@" "$work/ppkeys/root-$address.pub"; done
for name in update.conf cf.main cfagent.conf cfservd.conf cfrun.hosts; do set -- "$@" "$work/inputs/$name"; done
sha256sum -- "$@" 2>/dev/null | while read -r digest file; do
    case $file in
    */localhost.pub) echo "key $digest" ;;
    */root-*.pub) echo "trusts $digest" ;;
    *) echo "policy ${file##*/} $digest" ;;
    esac
done
pid= comm= boot=
[ ! -f "$work/cfservd.pid" ] || read -r pid <"$work/cfservd.pid"
[ ! -f "/proc/${pid:-none}/comm" ] || read -r comm <"/proc/$pid/comm"
[ "$comm" != cfservd ] || echo running
if [ -f "$R/etc/rc.config.d/cfservd" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in CSYNC_CONFIGURED=1*) boot=yes ;; esac
    done <"$R/etc/rc.config.d/cfservd"
fi
[ -z "$boot" ] || echo boot
last=$("$R/opt/dsau/sbin/cfshow" --last --json 2>/dev/null)
# Its last line.
last=${last##*"
"}
[ -z "$last" ] || echo "last $last"
[ -f "$work/inputs/update.conf" ] || exit 0
# Of the policy itself the digests have told already.
said=$("$R/opt/dsau/sbin/cfagent" --dry-run --no-lock --no-splay --json </dev/null 2>/dev/null)
case $said in
*'"event":"summary"'*)
    printf '%s\n' "$said" | awk '/"phase":"main"/ && /"outcome":"repaired"/ { n++ } END { print "drift " n + 0 }'
    ;;
esac
exit 0
"#;
