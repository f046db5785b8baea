# The far side of a copy back: for each "get NAME" on standard input it sends an archive of that file or directory, in
# records of 10240 bytes, then the SHA-256 of each file in it. $1: "all" when directories are sent too. NAME is written
# for printf %b.
unset CDPATH
export LC_ALL=C
say() { printf 'dsau-ccp %s\n' "$*"; }
refuse() {
    echo "$*" >&2
    say next
    exit 1
}
get() {
    W=$(printf %b. "$1")
    s=${W%.}
    case $s in -*) s=./$s ;; esac
    [ -e "$s" ] || refuse "$s: No such file or directory"
    if [ -d "$s" ]; then
        [ "$2" = all ] || refuse "$s: a directory, not copied without -r"
    else
        [ -f "$s" ] || refuse "$s: a pipe, socket or device, not copied"
    fi
    [ -r "$s" ] || refuse "$s: Permission denied"
    r=$(readlink -e -- "$s" && echo .) || refuse "$s: cannot be found"
    r=${r%??}
    [ "$r" != / ] || refuse "/: the root directory cannot be copied as a whole"
    cd "${r%/*}/" || refuse "$s: cannot be reached"
    b=./${r##*/}
    say archive
    e=0
    tar -b20 --format=gnu --hard-dereference -cf - -- "$b" || e=1
    find "$b" -type f -exec sha256sum -b -- {} +
    say end
    exit $e
}
bad=0
say ready
while read -r verb a; do
    case $verb in
    get) (get "$a" "$1") || bad=1 ;;
    done) exit $bad ;;
    esac
done
exit 1
