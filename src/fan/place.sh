# Puts what comes as a tar stream on standard input into its place: each file is the old one or the new one at any moment.
# $1: target; $2: "into" when it must be a directory, else "as"; $3: name of the only source; $4: "keep" to keep owner and
# times of the source, else those who own what is replaced keep it. $1 and $3 are written for printf %b.
# The stream holds d/NAME... and, last, m: the sha256sum of each file.
unset CDPATH
umask 077
fail() {
    echo "$*" >&2
    exit 1
}
target=$(printf %b. "$1")
target=${target%.}
source=$(printf %b. "$3")
source=${source%.}
name=
case $target in -*) target=./$target ;; esac
if [ -d "$target" ]; then
    parent=$target
elif [ "$2" = into ]; then
    [ ! -e "$target" ] || fail "$target: not a directory"
    fail "$target: no such directory"
else
    case $target in
    */*) parent=${target%/*}/ name=${target##*/} ;;
    *) parent=. name=$target ;;
    esac
    [ -d "$parent" ] || fail "${parent%/}: no such directory"
fi
parent=$(cd "$parent" && pwd -P && echo .) || exit 1
parent=${parent%??}
stage=$(mktemp -d "${parent%/}/.ccp.XXXXXXXXXX") || exit 1
trap 'cd /; rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT PIPE TERM
if [ "$4" = keep ]; then owner=--same-owner; else owner='--no-same-owner -m'; fi
# The list comes last: a stream that ends before it, even between two files, is not whole.
tar -xpf - $owner -C "$stage" && [ -f "$stage/m" ] || fail "the copy did not arrive whole"
cd "$stage/d" || exit 1
if [ -s ../m ] && command -v sha256sum >/dev/null; then
    sha256sum -c --quiet ../m >&2 || fail "the copy is not what was sent"
fi
find . -type f -exec sync {} + 2>/dev/null
[ -z "$name" ] || [ "$name" = "$source" ] || mv -T -- "./$source" "./$name" || exit 1
bad=0
keep=$4
export keep
# A directory that is not there yet appears whole.
find . -mindepth 1 -maxdepth 1 -type d -exec sh -c '
    for s do
        t=$0/${s#./}
        [ -e "$t" ] || [ -L "$t" ] || mv -T -- "$s" "$t" || exit 1
    done' "${parent%/}" {} + || bad=1
# Others are merged: their directories first, then each file by a rename.
find . -mindepth 1 -type d -exec sh -c '
    e=0
    for s do
        t=$0/${s#./}
        if [ -L "$t" ]; then
            echo "$t: a link is where a directory should be" >&2
            e=1
        elif [ ! -d "$t" ]; then
            mkdir -- "$t" && chmod --reference="$s" -- "$t" || e=1
            [ "$keep" != keep ] || chown --reference="$s" -- "$t" || e=1
        fi
    done
    exit $e' "${parent%/}" {} + || bad=1
find . ! -type d -exec sh -c '
    e=0
    for s do
        t=$0/${s#./}
        if [ "$keep" != keep ] && [ -f "$t" ] && [ ! -L "$t" ] && [ -f "$s" ] && [ ! -L "$s" ]; then
            if [ "$(stat -c %u:%g -- "$s")" != "$(stat -c %u:%g -- "$t")" ]; then
                mode=$(stat -c %a -- "$s")
                chown --reference="$t" -- "$s" && chmod "$mode" -- "$s" || e=1
            fi
        fi
        [ ! -e /sys/fs/selinux/enforce ] || [ ! -e "$t" ] || chcon -h --reference="$t" -- "$s" 2>/dev/null
        mv -fT -- "$s" "$t" || e=1
    done
    exit $e' "${parent%/}" {} + || bad=1
[ "$keep" != keep ] || find . -mindepth 1 -depth -type d -exec sh -c '
    for s do touch -r "$s" -- "$0/${s#./}"; done' "${parent%/}" {} +
sync "$parent" 2>/dev/null
exit $bad
