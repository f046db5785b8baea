# The far side of a copy. It is spoken to on standard input and answers on standard output in lines that begin with
# dsau-ccp; between look, list, links, hash, much and end come records, a line each, in which NUL stands for a newline.
# $1: target; $2: "into" when it must be a directory, else "as"; $3: name of the only source; $4: "keep" to keep owner and
# times of the source. $1, $3 and all names in lines are written for printf %b. The names of a question come in so many
# bytes after its line, each with NUL at its end; or, after "=", each with a newline, which is only done with names of
# printable ASCII. A few plain names may stand in the line itself, after "-".
#
# A process costs about a millisecond here, on each host at each copy: what the shell itself can do, it does. But it reads
# byte by byte, each a system call.
unset CDPATH IFS
NEWLINE='
'
umask 077
export LC_ALL=C
stage=
fail() {
    echo "$*" >&2
    exit 1
}
say() { printf 'dsau-ccp %s\n' "$*"; }
word() {
    case $1 in
    *\\*)
        W=$(printf %b. "$1")
        W=${W%.}
        ;;
    *) W=$1 ;;
    esac
}
# Runs a command ($3 ...) with the names of a question ($1, $2).
asked() {
    n=$1 names=$2
    shift 2
    set -f
    case $n in
    -)
        for W in $names; do
            word "$W"
            set -- "$@" "$W"
        done
        ;;
    =*)
        names=$(take "${n#=}")
        IFS=$NEWLINE
        set -- "$@" $names
        unset IFS
        ;;
    esac
    set +f
    case $n in
    [0-9]*) take "$n" | xargs -0r "$@" ;;
    *) "$@" ;;
    esac 2>/dev/null
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
cd -P -- "$P" || exit 1
P=${PWD%/}
uid= gid=
while [ ! "$gid" ] && read -r k x id x; do
    case $k in
    Uid:) uid=$id ;;
    Gid:) gid=$id ;;
    esac
done </proc/self/status
[ "$uid" ] && [ "$gid" ] || fail "/proc is not there, which is needed to copy"

# What is begun is gone in the end, but for large files that did not arrive whole: the next run goes on with them.
leave() {
    [ "$stage" ] || return 0
    cd /
    for f in "$stage"/p/*; do
        [ ! -s "$f" ] || mv -fT -- "$f" "$P/.ccp.part.${f##*/}"
    done
    rm -rf "$stage"
}
stage() {
    [ -z "$stage" ] || return 0
    trap leave EXIT
    trap 'exit 1' HUP INT PIPE TERM
    # A name that nobody can know before.
    read -r new </proc/sys/kernel/random/uuid || exit 1
    stage=$P/.ccp.$new
    why=$(mkdir "$stage" "$stage/d" "$stage/p" 2>&1) || fail "${P:-/}: ${why##*: }"
    for f in .ccp.part.*; do
        [ ! -e "$f" ] || find . -maxdepth 1 -name '.ccp.part.*' -type f -user "$uid" -mtime +6 -delete 2>/dev/null
        break
    done
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

# A directory is entered before anything in it is touched, and left alone if a link led elsewhere meanwhile. What is moved
# comes from the device $dev.
ENTER='
    enter() {
        [ ! -L "$1" ] || { echo "$1: a link is where a directory should be" >&2; return 1; }
        cd -P -- "$1/" || return 1
        [ "$PWD" = "${1:-/}" ] ||
            { echo "$1: a link is on the way to this directory" >&2; return 1; }
    }
    label() {
        [ ! -e /sys/fs/selinux/enforce ] || [ ! -e "$2" ] || chcon -h --reference="$2" -- "$1" 2>/dev/null
    }
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
    }'
# Runs where directories are named from the target on, in batches: $0 is the target, $1 the stage, $2 its device.
PLACE=$ENTER'
    T=$1 dev=$2 e=0
    shift 2
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
                label "$f" "./${f##*/}"
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

# Whether what arrived is what was sent. openssl computes in a tenth of the time where there is much ("much"); whatever it
# says, sha256sum has the last word before anything is refused.
check() {
    if [ "$1" = much ] && command -v openssl >/dev/null; then
        if [ "$alone" ]; then
            openssl dgst -sha256 -r -- "./$source"
        else
            cut -c67- ../m | tr '\n' '\0' | xargs -0 openssl dgst -sha256 -r --
        fi 2>/dev/null | cmp -s - ../m && return 0
    fi
    sha256sum -c --quiet ../m >&2
}

# A file that comes alone needs none of what directories need.
put_alone() {
    sync "./$source" 2>/dev/null
    to=./${name:-$source}
    from=./${stage##*/}/d/$source
    enter "$P" || return 1
    label "$from" "$to"
    mv -fT -- "$from" "$to" || return 1
    sync . 2>/dev/null || :
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
    # What is not read yet piles up in sshd, which is slow in that: each record that was read is told by a dot.
    [ "$1" != much ] || how="$how --checkpoint=1 --checkpoint-action=dot"
    say go
    # The list comes last: a stream that ends before it, even between two files, is not whole.
    # In large records: fewer system calls.
    tar -b 256 -xpf - $how -C "$stage" && [ -f "$stage/m" ] || fail "the copy did not arrive whole"
    if [ -e "$stage/r" ]; then
        while read -r k n; do
            word "$n"
            # The directory keeps the time that tar gave it.
            in=
            case $W in */*) [ "$keep" != keep ] || in=$stage/d/${W%/*} ;; esac
            [ ! "$in" ] || touch -r "$in" "$stage/t" || exit 1
            cp --attributes-only --preserve=mode,ownership,timestamps -- "$stage/d/$W" "$stage/p/$k" &&
                mv -fT -- "$stage/p/$k" "$stage/d/$W" || exit 1
            [ ! "$in" ] || touch -r "$stage/t" "$in" || exit 1
        done <"$stage/r"
    fi
    cd "$stage/d" || exit 1
    alone=
    [ ! "$source" ] || [ ! -f "./$source" ] || [ -L "./$source" ] || alone=1
    [ ! -s ../m ] || check "$1" || fail "the copy is not what was sent"
    bad=0
    [ ! -s ../x ] || before
    if [ "$alone" ]; then
        put_alone || bad=1
    elif [ "$1" = few ]; then
        put_few
    else
        put_all
    fi
    [ ! -s "$stage/x" ] || after
    exit $bad
}

# A few plain files in directories that are there: there is nothing to look for.
put_few() {
    set --
    while IFS= read -r n; do
        set -- "$@" "${n#*\*./}"
    done <../m
    sync -- "$@" 2>/dev/null
    # The directories, and whether all of it is on one device.
    for n do
        t=$P/$n
        set -- "$@" "${t%/*}/"
        shift
    done
    one=1 dev=
    for n in $(stat -c %d -- . "$@"); do
        [ "${dev:=$n}" = "$n" ] || one=
    done
    while IFS= read -r n; do
        n=${n#*\*./}
        t=$P/$n to=./${n##*/}
        (
            enter "${t%/*}" || exit 1
            label "$stage/d/$n" "$to"
            if [ "$one" ]; then
                mv -fT -- "$stage/d/$n" "$to"
            else
                move "$stage/d/$n" "$to"
            fi
        ) || bad=1
    done <../m
    sync -- "$@" 2>/dev/null
}

put_all() {
    find . -type f -exec sync {} + 2>/dev/null
    if [ "${name:-$source}" != "$source" ] && { [ -e "./$source" ] || [ -L "./$source" ]; }; then
        mv -T -- "./$source" "./$name" || exit 1
    fi
    find . -type d -exec sh -c 'eval "$PLACE"' "$P" "$stage" "$(stat -c %d .)" {} + || bad=1
    # Those that are left here are the ones that got something.
    find . -type d -exec sh -c 'cd -- "$0/" && exec sync -- "$@"' "$P" {} + 2>/dev/null
}

eval "$ENTER"
# To find the name of an owner takes longer than all else; it is looked at only where owners are kept.
look='%f %s %u %g - - %.9Y %n'
[ "$keep" != keep ] || look='%f %s %u %g %U %G %.9Y %n'
say ready "$uid:$gid" "${name:+as}"
while read -r verb a b c; do
    case $verb in
    look)
        case $a in
        [-=]*) asked "$a" "$b $c" stat --printf "$look\n" -- ;;
        *) asked "$a" "" stat --printf "$look\0" -- | tr '\n\0' '\0\n' ;;
        esac
        ;;
    list) asked "$a" "$b $c" sh -c 'exec find "$@" -print0' sh | tr '\n\0' '\0\n' ;;
    links) asked "$a" "$b $c" readlink -z -- | tr '\n\0' '\0\n' ;;
    hash) asked "$a" "$b $c" sha256sum -b -- ;;
    much)
        if command -v openssl >/dev/null; then
            asked "$a" "$b $c" openssl dgst -sha256 -r --
        else
            asked "$a" "$b $c" sha256sum -b --
        fi
        ;;
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
    put) put "$a" ;;
    done) exit 0 ;;
    esac
done
fail "the copy did not arrive whole"
