# The far side of a copy. It is spoken to on standard input and answers on standard output in lines that begin with
# dsau-ccp; between look, list, links, hash and end come records, a line each, in which NUL stands for a newline.
# $1: target; $2: "into" when it must be a directory, else "as"; $3: name of the only source; $4: "keep" to keep owner and
# times of the source. $1, $3 and all names in lines are written for printf %b. Lists of names end each with NUL.
unset CDPATH
umask 077
export LC_ALL=C
stage=
fail() {
    echo "$*" >&2
    exit 1
}
say() { printf 'dsau-ccp %s\n' "$*"; }
word() {
    W=$(printf %b. "$1")
    W=${W%.}
}
# So many bytes of standard input, and not one more.
take() { dd bs=131072 iflag=fullblock,count_bytes "count=$1" status=none; }
word "$3"
source=$W
word "$1"
target=$W
keep=$4
name=
case $target in -*) target=./$target ;; esac
if [ -d "$target" ]; then
    P=$target
elif [ "$2" = into ]; then
    [ ! -e "$target" ] || fail "$target: not a directory"
    fail "$target: no such directory"
else
    case $target in
    */*) P=${target%/*}/ name=${target##*/} ;;
    *) P=. name=$target ;;
    esac
    [ -d "$P" ] || fail "${P%/}: no such directory"
fi
P=$(cd "$P" && pwd -P && echo .) || exit 1
P=${P%??}
P=${P%/}
cd "$P/" || exit 1
ids=$(stat -c %u:%g /proc/self)
uid=${ids%:*}

# What is begun is gone in the end, but for large files that did not arrive whole: the next run goes on with them.
leave() {
    cd /
    for f in "$stage"/p/*; do
        [ ! -s "$f" ] || mv -fT -- "$f" "$P/.ccp.part.${f##*/}"
    done
    rm -rf "$stage"
}
stage() {
    [ -z "$stage" ] || return 0
    stage=$(mktemp -d "$P/.ccp.XXXXXXXXXX") || exit 1
    trap leave EXIT
    trap 'exit 1' HUP INT PIPE TERM
    mkdir "$stage/d" "$stage/p" || exit 1
    find . -maxdepth 1 -name '.ccp.part.*' -type f -user "$uid" -mtime +6 -delete 2>/dev/null
}

# Goes on with what an earlier run left of a file: only a plain file of this user's own that has no other name.
part() {
    stage
    s=0
    if [ -e "$P/.ccp.part.$1" ] && mv -fT -- "$P/.ccp.part.$1" "$stage/p/$1" 2>/dev/null; then
        s=$(stat -c %F:%h:%u:%s -- "$stage/p/$1")
        case $s in
        "regular file:1:$uid:"*) s=${s##*:} ;;
        *)
            rm -rf "$stage/p/$1"
            s=0
            ;;
        esac
    fi
    say part "$1" "$s"
}

# Both run where directories are named from the target on, in batches: $0 is the target, $1 the stage, $2 its device.
# A directory is entered before anything in it is touched, and left alone if a link led elsewhere meanwhile.
ENTER='
    enter() {
        [ ! -L "$1" ] || { echo "$1: a link is where a directory should be" >&2; return 1; }
        cd -P -- "$1/" || return 1
        H=$(pwd -P; echo .)
        [ "${H%??}" = "${1:-/}" ] ||
            { echo "$1: a link is on the way to this directory" >&2; return 1; }
    }'
PLACE=$ENTER'
    T=$1 dev=$2 e=0
    shift 2
    move() {
        if [ "$(stat -c %d .)" = "$dev" ]; then
            mv -fT -- "$1" "$2"
        else
            # Another file system is mounted here: a rename needs what is moved on it already.
            n=$(mktemp -d ./.ccp.XXXXXXXXXX) || return 1
            mv -fT -- "$1" "$n/f" && mv -fT -- "$n/f" "$2"
            set -- $?
            rm -rf "$n"
            return $1
        fi
    }
    label() {
        [ ! -e /sys/fs/selinux/enforce ] || [ ! -e "./${1##*/}" ] ||
            chcon -h --reference="./${1##*/}" -- "$1" 2>/dev/null
    }
    for s do
        s=${s#.} t=$0${s%/}
        [ -d "$T/d$s" ] || continue
        if [ ! -e "$t/" ] && [ ! -L "$t" ]; then
            (enter "${t%/*}" && move "$T/d$s" "./${t##*/}") || e=1
            continue
        fi
        (
            enter "$t" || exit 1
            e=0
            if [ ! -e /sys/fs/selinux/enforce ] && [ "$(stat -c %d .)" = "$dev" ]; then
                exec find "$T/d$s" -mindepth 1 -maxdepth 1 ! -type d -exec mv -f -t . -- {} +
            fi
            for f in "$T/d$s"/* "$T/d$s"/.*; do
                [ -d "$f" ] && [ ! -L "$f" ] && continue
                [ -e "$f" ] || [ -L "$f" ] || continue
                label "$f"
                move "$f" "./${f##*/}" || e=1
            done
            exit $e
        ) || e=1
    done
    exit $e'
export PLACE

# Lines of what is to be done besides: before files are put into their places (own), and after it.
before() {
    while read -r verb n a b; do
        [ "$verb" = own ] || continue
        word "$n"
        chown -h -- "$a" "$stage/d/$W" && chmod -- "$b" "$stage/d/$W" || bad=1
    done <"$stage/x"
}
after() {
    eval "$ENTER"
    while read -r verb n a b c d; do
        word "$n"
        t=$P/$W
        case $verb in
        time) (enter "${t%/*}" && touch -h -d "$a" -- "./${t##*/}") || bad=1 ;;
        dir)
            (
                enter "$t" && { [ "$uid" != 0 ] || chown -- "$b" . 2>/dev/null || chown -- "$c" .; } &&
                    chmod -- "$a" . && touch -d "$d" .
            ) || bad=1
            ;;
        gone) [ $bad = 1 ] || (enter "${t%/*}" && rm -rf -- "./${t##*/}") || bad=1 ;;
        esac
    done <"$stage/x"
}

put() {
    stage
    if [ "$keep" != keep ]; then
        how='--no-same-owner -m'
    elif [ "$uid" = 0 ]; then
        how=--same-owner
    else
        how=--no-same-owner
    fi
    # The list comes last: a stream that ends before it, even between two files, is not whole.
    tar -xpf - $how -C "$stage" && [ -f "$stage/m" ] || fail "the copy did not arrive whole"
    if [ -e "$stage/r" ]; then
        while read -r k n; do
            word "$n"
            # The directory keeps the time that tar gave it.
            case $W in
            */*) in=$stage/d/${W%/*} ;;
            *) in=$stage/d ;;
            esac
            touch -r "$in" "$stage/t" &&
                cp --attributes-only --preserve=mode,ownership,timestamps -- "$stage/d/$W" "$stage/p/$k" &&
                mv -fT -- "$stage/p/$k" "$stage/d/$W" && touch -r "$stage/t" "$in" || exit 1
        done <"$stage/r"
    fi
    cd "$stage/d" || exit 1
    if [ -s ../m ]; then
        sha256sum -c --quiet ../m >&2 || fail "the copy is not what was sent"
    fi
    find . -type f -exec sync {} + 2>/dev/null
    if [ "${name:-$source}" != "$source" ] && { [ -e "./$source" ] || [ -L "./$source" ]; }; then
        mv -T -- "./$source" "./$name" || exit 1
    fi
    bad=0
    [ ! -s ../x ] || before
    find . -type d -exec sh -c 'eval "$PLACE"' "$P" "$stage" "$(stat -c %d .)" {} + || bad=1
    [ ! -s ../x ] || after
    sync "$P/" 2>/dev/null
    exit $bad
}

say ready "$ids" "${name:+as}"
while read -r verb a b c; do
    case $verb in
    look) take "$a" | xargs -0r stat --printf '%f %s %u %g %U %G %.9Y %n\0' -- 2>/dev/null | tr '\n\0' '\0\n' ;;
    list) take "$a" | xargs -0r sh -c 'exec find "$@" -print0' sh 2>/dev/null | tr '\n\0' '\0\n' ;;
    links) take "$a" | xargs -0r readlink -z -- 2>/dev/null | tr '\n\0' '\0\n' ;;
    hash) take "$a" | xargs -0r sha256sum -b -- 2>/dev/null ;;
    end) say end ;;
    part) part "$a" ;;
    raw)
        dd bs=131072 iflag=fullblock,count_bytes oflag=seek_bytes "seek=$b" "count=$c" conv=notrunc status=none \
            of="$stage/p/$a" || { rm -f "$stage/p/$a"; exit 1; }
        ;;
    size) truncate -s "$b" -- "$stage/p/$a" || exit 1 ;;
    do)
        stage
        take "$a" >"$stage/x" || exit 1
        ;;
    put) put ;;
    done) exit 0 ;;
    esac
done
fail "the copy did not arrive whole"
