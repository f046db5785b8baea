# The files of ssh in one home: adds lines to them, and takes the same lines away again. Run by /bin/sh, here and on hosts.
#
#   $1 the home, encoded; empty: the one of this user     $2 add, undo or prune     $3 the group
#   $4 a token: nothing is done in the home that holds busy.TOKEN     $5 the program ssh, encoded
#
# Standard input:
#   key NAME TYPE BLOB COMMENT    a line for authorized_keys, that of the member NAME; -: of whoever sets this up
#   host NAME KNOWN TYPE BLOB     a host key, pinned under KNOWN, for those who call the host NAME
#   move NAME KNOWN               what known_hosts says about KNOWN gets a file of its own
#   line NAME FILE TEXT           a line for a known_hosts that the user has named
#   kex ALGORITHM[,...]           the order of key exchanges; one alone comes first; default: as before
#   stay NAME, all, keys          who is not pruned; that all of the group is undone, or its lines in authorized_keys
#
# Whatever is added outside .ssh/dsau is written down before, in .ssh/dsau/added:
#   made FILE · tail FILE SIZE CKSUM (it had no newline at its end) · line GROUP NAME FILE TEXT
# Files are replaced by whole ones. It can be killed at any instant and run again.
text() { printf '%b.' "$1"; }
h=$(text "$1") ssh=$(text "$5") verb=$2 group=$3 token=$4
h=${h%.} ssh=${ssh%.}
LC_ALL=C
export LC_ALL
umask 077
fail() { echo "$*" >&2; exit 1; }
cd "${h:-$HOME}" || exit 1
d=.ssh/dsau a=.ssh/authorized_keys c=.ssh/config
log=$d/added pins=$d/known_hosts.d/$group conf=$d/config.d/$group
include='Include dsau/config.d/*'
count=0

# own FILE: t.new becomes a file that is ours alone.
own() { sync $d/t.new 2>/dev/null; mv -f $d/t.new "$1" || fail "cannot write $PWD/$1"; }
# journal: the lines of t.log are written down.
journal() {
    [ ! -e $log ] || cat $log >$d/t.was || exit 1
    [ -e $log ] || : >$d/t.was
    cat $d/t.was $d/t.log | awk '!seen[$0]++' >$d/t.journal || exit 1
    cmp -s $d/t.was $d/t.journal || { sync $d/t.journal 2>/dev/null; mv -f $d/t.journal $log || fail "cannot write $PWD/$log"; }
}
# look FILE: t.old is what it holds.
look() { if [ -e "$1" ]; then cat "$1" >$d/t.old || exit 1; else : >$d/t.old; fi; }
# replace FILE: t.new takes its place, unless somebody else has written to it since look; a link stays a link.
replace() {
    f=$(readlink -f "$1") && [ -n "$f" ] || fail "cannot find the place of $PWD/$1"
    rm -f "$f.dsau" && (set -C; : >"$f.dsau") || fail "cannot write $f"
    if [ -e "$f" ]; then
        cp -p "$f" "$f.dsau" && cmp -s "$f" $d/t.old || { rm -f "$f.dsau"; fail "$f was changed by somebody else meanwhile; run again"; }
    fi
    cat $d/t.new >"$f.dsau" && { sync "$f.dsau" 2>/dev/null || :; } && mv -f "$f.dsau" "$f" ||
        { rm -f "$f.dsau"; fail "cannot write $f"; }
}
# append FILE: adds the lines of t.add (NAME TEXT).
append() {
    [ -s $d/t.add ] || return 0
    look "$1"
    : >$d/t.log
    [ -e "$1" ] || echo "made $1" >$d/t.log
    awk -v g="$group" -v f="$1" '{ n = $1; sub(/^[^ ]* /, ""); print "line", (n == "-" ? "-" : g), n, f, $0 }' $d/t.add >>$d/t.log
    cp $d/t.old $d/t.new
    if [ -s $d/t.old ] && [ -n "$(tail -c 1 $d/t.old)" ]; then
        echo "tail $1 $(wc -c <$d/t.old) $(cksum <$d/t.old | cut -d' ' -f1)" >>$d/t.log
        echo >>$d/t.new
    fi
    sed 's/^[^ ]* //' $d/t.add >>$d/t.new
    journal
    replace "$1"
    count=$((count + $(wc -l <$d/t.add)))
}
# without FILE: t.new is t.old without the whole lines that t.lines has; the end of the file stays as it is.
without() {
    grep -vxF -f $d/t.lines $d/t.old >$d/t.new || :
    if [ -s $d/t.new ] && [ -n "$(tail -c 1 $d/t.old)" ]; then
        head -c $(($(wc -c <$d/t.new) - 1)) $d/t.new >$d/t.cut && mv -f $d/t.cut $d/t.new
    fi
    # The newline that was added to what had none goes with the lines after it.
    set -- "$1" $(awk -v f="$1" '$1 == "tail" && $2 == f { print $3, $4; exit }' $log 2>/dev/null)
    if [ $# = 3 ] && [ "$(wc -c <$d/t.new)" -eq $(($2 + 1)) ] &&
        [ "$(head -c "$2" $d/t.new | cksum | cut -d' ' -f1)" = "$3" ]; then
        head -c "$2" $d/t.new >$d/t.cut && mv -f $d/t.cut $d/t.new
        echo "tail $1" >>$d/t.over
    fi
    count=$((count + $(grep -cxF -f $d/t.lines $d/t.old)))
}
# put FILE: t.new takes its place; a file that was made here and holds nothing goes.
put() {
    if [ ! -s $d/t.new ] && grep -qxF "made $1" $log 2>/dev/null; then
        rm -f "$1" || fail "cannot remove $PWD/$1"
        echo "made $1" >>$d/t.over
    else
        cmp -s $d/t.old $d/t.new || replace "$1"
    fi
}
# names: the members of the group, one a line.
names() { [ ! -e $conf ] || sed -n 's/^Host //p' $conf | tr ' ' '\n' | sed '/^$/d'; }
# configure: the part of the configuration for the names in t.names, with the key exchanges $1.
configure() {
    learn=
    "${ssh:-ssh}" -G dsau.invalid 2>/dev/null </dev/null | grep -qi '^updatehostkeys \(true\|yes\)$' && learn=1
    sort -u $d/t.names | tr '\n' ' ' | fold -s -w 800 | sed 's/ *$//' | {
        echo "# Written by csshsetup, which takes it away again with --undo."
        while read -r line || [ -n "$line" ]; do
            printf 'Host %s\n    UserKnownHostsFile ~/.ssh/dsau/known_hosts.d/%s\n' "$line" "$group"
            printf '    StrictHostKeyChecking yes\n    HashKnownHosts no\n'
            [ -z "$learn" ] || echo '    UpdateHostKeys yes'
            [ -z "$1" ] || printf '    KexAlgorithms %s\n' "$1"
        done
    } >$d/t.new
    cmp -s $d/t.new $conf || own $conf
}
exchanges() { [ ! -e $conf ] || sed -n 's/^ *KexAlgorithms //p' $conf | head -n 1; }
# order ALGORITHM: t.kex is what is allowed here, with this one first; as before when it is not.
order() {
    exchanges >$d/t.kex
    if grep -qis '^[[:space:]]*kexalgorithms' $c; then
        echo "note: KexAlgorithms stands in $PWD/$c already, and stays"
        return
    fi
    "${ssh:-ssh}" -G dsau.invalid 2>/dev/null </dev/null | sed -n 's/^kexalgorithms //p' | tr ',' '\n' >$d/t.allowed
    if grep -qxF "$1" $d/t.allowed; then
        { echo "$1"; grep -vxF "$1" $d/t.allowed; } | tr '\n' ',' | sed 's/,$//' >$d/t.kex
    else
        echo "note: the key exchange $1 is not allowed by the configuration of ssh here"
    fi
}
# elsewhere: on a host whose user keeps host keys in files of his own choice they go to the first of these.
elsewhere() {
    grep -qis '^[[:space:]]*userknownhostsfile' $c /etc/ssh/ssh_config /etc/ssh/ssh_config.d/* || return 0
    awk '$1 == "host" { print $2 }' $d/t.in | sort -u >$d/t.names
    while read -r n; do
        f=$(ssh -G -- "$n" 2>/dev/null </dev/null | sed -n 's/^userknownhostsfile //p')
        f=${f%% *}
        case $f in
        '' | */.ssh/known_hosts | */.ssh/dsau/known_hosts.d/*) continue ;;
        none | /dev/null) echo "note: host keys are not kept by the configuration of ssh here" ;;
        '~/'*) f=${f#??} ;;
        esac
        awk -v n="$n" -v f="$f" '$1 != "host" || $2 != n { print; next }
            f != "none" && f != "/dev/null" { print "line", n, f, $3, $4, $5 }' $d/t.in >$d/t.other
        mv -f $d/t.other $d/t.in
    done <$d/t.names
}

pin() {
    awk '$1 == "host" || $1 == "move" { print $3 }' $d/t.in | sort -u >$d/t.known
    if [ -s $d/t.known ]; then
        mkdir -p $d/known_hosts.d $d/config.d || exit 1
        look $pins
        cp $d/t.old $d/t.have
        # What known_hosts says of a name that is new here holds on; ssh-keygen finds hashed lines too.
        awk 'FILENAME == ARGV[1] { have[$1 ~ /^@/ ? $2 : $1] = 1; next } !($1 in have)' $d/t.old $d/t.known >$d/t.missing
        for f in .ssh/known_hosts .ssh/known_hosts2; do
            [ -s $f ] || continue
            while read -r k; do
                b=${k#\[}
                b=${b%\]:*}
                for n in "$k" "$b"; do
                    ssh-keygen -F "$n" -f $f 2>/dev/null </dev/null | awk -v k="$n" '
                        /^#/ || NF < 3 { next }
                        $1 ~ /^@/ { print $1, k, $3, $4; next }
                        { print k, $2, $3 }'
                    [ "$k" != "$b" ] || break
                done
            done <$d/t.missing >>$d/t.have
            # The same host at other ports: it has the same name in the configuration.
            awk 'function base(k) { sub(/^\[/, "", k); sub(/\]:[0-9]+$/, "", k); return k }
                FILENAME == ARGV[1] { wanted[base($1)] = 1; next }
                /^[ \t]*#/ { next }
                {
                    i = $1 ~ /^@/ ? 2 : 1
                    m = split($i, n, ",")
                    for (j = 1; j <= m; j++)
                        if (n[j] ~ /^\[.*\]:[0-9]+$/ && base(n[j]) in wanted)
                            print (i == 2 ? $1 " " : "") n[j], $(i + 1), $(i + 2)
                }' $d/t.missing $f >>$d/t.have
        done
        awk 'function base(k) { sub(/^\[/, "", k); sub(/\]:[0-9]+$/, "", k); return k }
            function once(text) { if (!(text in told)) { told[text] = 1; print "pin " text } }
            FILENAME == ARGV[1] { old[$0] = 1; next }
            FILENAME == ARGV[2] {
                line[++lines] = $0
                host[lines] = $1 ~ /^@/ ? $2 : $1
                if ($1 == "@revoked") gone[$2, $3, $4] = 1
                else if ($1 ~ /^@/) any[$2] = 1
                else { any[$1] = 1; kind[$1, $2] = 1; have[$1, $2, $3] = 1 }
                next
            }
            $1 == "host" {
                key[++keys] = $0
                if (($3, $4, $5) in gone || (($3, $4) in kind && !(($3, $4, $5) in have))) bad[$2] = 1
            }
            $1 == "move" && $3 in any { taken[$2] = 1; of[base($3)] = 1 }
            END {
                for (i = 1; i <= keys; i++) {
                    split(key[i], w)
                    if (!(w[2] in bad)) { taken[w[2]] = 1; of[base(w[3])] = 1 }
                }
                for (i = 1; i <= lines; i++) if (line[i] in old || base(host[i]) in of) once(line[i])
                for (i = 1; i <= keys; i++) { split(key[i], w); if (!(w[2] in bad)) once(w[3] " " w[4] " " w[5]) }
                for (n in taken) print "name " n
                for (n in bad) print "changed " n
            }' $d/t.old $d/t.have $d/t.in >$d/t.judged
        grep '^changed ' $d/t.judged
        sed -n 's/^pin //p' $d/t.judged >$d/t.new
        count=$((count + $(wc -l <$d/t.new) - $(wc -l <$d/t.old)))
        cmp -s $d/t.old $d/t.new || own $pins
        names >$d/t.were
        sed -n 's/^name //p' $d/t.judged | sort | grep -vxF -f $d/t.were | sed 's/^/took /'
        { cat $d/t.were; sed -n 's/^name //p' $d/t.judged; } >$d/t.names
    else
        names >$d/t.names
    fi
    if [ ! -s $d/t.names ]; then
        grep -q '^kex ' $d/t.in && echo "note: no host of the group $group has a small file, so there is no place for its key exchange"
        return
    fi
    k=$(awk '$1 == "kex" { print $2; exit }' $d/t.in)
    case $k in
    '') k=$(exchanges) ;;
    default) k= ;;
    *,*) k=${k%,} ;;
    *)
        order "$k"
        k=$(cat $d/t.kex)
        ;;
    esac
    configure "$k"
    if ! grep -qxF "$include" $c 2>/dev/null; then
        look $c
        { echo "$include"; cat $d/t.old; } >$d/t.new
        : >$d/t.log
        [ -e $c ] || echo "made $c" >$d/t.log
        journal
        replace $c
    fi
}

add() {
    chmod go-w .ssh || exit 1
    if [ -n "$fresh" ]; then echo "made .ssh" >$d/t.log; journal; fi
    if grep -q '^key ' $d/t.in; then
        look $a
        awk 'FILENAME == ARGV[1] { if ($1 !~ /^#/) for (i = 1; i <= NF; i++) have[$i] = 1; next }
            $1 == "key" && !($4 in have) { have[$4] = 1; sub(/^key /, ""); print }' $d/t.old $d/t.in >$d/t.add
        append $a
        chmod go-w $a
        [ -z "$(find . -maxdepth 0 -perm /022)" ] || echo "note: $PWD can be written by others, so sshd may ignore its keys"
    fi
    [ -n "$h" ] || elsewhere
    awk '$1 == "line" { print $3 }' $d/t.in | sort -u >$d/t.files
    while read -r file; do
        look "$file"
        awk -v f="$file" 'FILENAME == ARGV[1] { have[$0] = 1; next }
            $1 == "line" && $3 == f { n = $2; sub(/^line [^ ]* [^ ]* /, ""); if (!($0 in have)) print n, $0 }' \
            $d/t.old $d/t.in >$d/t.add
        append "$file"
    done <$d/t.files
    pin
    command -v restorecon >/dev/null && restorecon -R .ssh
    echo "added $count"
}

remove() {
    [ -e $log ] || : >$log
    : >$d/t.over
    : >$d/t.gone
    # Lines that stand in files of the user's: t.gone has FILE TEXT.
    awk -v g="$group" -v a=$a -v prune="$1" -v gone=$d/t.gone '
        FILENAME == ARGV[1] {
            if ($1 == "key") blob[$4] = 1
            if ($1 == "host") drop[$2] = 1
            if ($1 == "stay") stay[$2] = 1
            if ($1 == "all") all = keys = 1
            if ($1 == "keys") keys = 1
            next
        }
        $1 == "line" {
            if (prune != "") go = $2 == g && !($3 in stay)
            else if ($4 == a) go = (keys && $2 == g) || ($3 == "-" && $6 in blob)
            else go = $3 in drop || (all && $2 == g)
            if (go) { f = $4; sub(/^line [^ ]* [^ ]* [^ ]* /, ""); print f, $0 >gone; next }
        }
        { print }' $d/t.in $log >$d/t.keep || exit 1
    cut -d' ' -f1 $d/t.gone | sort -u >$d/t.files
    while read -r file; do
        [ -e "$file" ] || { echo "made $file" >>$d/t.over; continue; }
        awk -v f="$file" '$1 == f { sub(/^[^ ]* /, ""); print }' $d/t.gone >$d/t.lines
        look "$file"
        without "$file"
        put "$file"
    done <$d/t.files
    if [ -e $a ]; then
        awk 'FILENAME == ARGV[1] { if ($1 !~ /^#/) for (i = 1; i <= NF; i++) have[$i] = 1; next }
            $1 == "key" && $4 in have { print "left", $3, $4 }' $a $d/t.in
    fi
    # Names of the group, and what is pinned for them.
    if [ -e $conf ]; then
        names | awk -v prune="$1" '
            FILENAME == ARGV[1] {
                if ($1 == "host") drop[$2] = 1
                if ($1 == "stay") stay[$2] = 1
                if ($1 == "all") all = 1
                next
            }
            prune != "" ? $1 in stay : !(all || $1 in drop)' $d/t.in - >$d/t.names
        names | grep -vxF -f $d/t.names >$d/t.went || :
        if [ ! -s $d/t.names ]; then
            count=$((count + $(cat $pins 2>/dev/null | wc -l)))
            rm -f $conf && rm -f $pins || exit 1
        elif [ -s $d/t.went ]; then
            configure "$(exchanges)"
            look $pins
            awk 'function base(k) { sub(/^\[/, "", k); sub(/\]:[0-9]+$/, "", k); return tolower(k) }
                FILENAME == ARGV[1] { went[tolower($1)] = 1; next }
                FILENAME == ARGV[2] { if ($1 == "host" && $3 != "") went[base($3)] = 1; next }
                !(base($1 ~ /^@/ ? $2 : $1) in went)' $d/t.went $d/t.in $d/t.old >$d/t.new
            count=$((count + $(wc -l <$d/t.old) - $(wc -l <$d/t.new)))
            cmp -s $d/t.old $d/t.new || own $pins
        fi
        sed 's/^/went /' $d/t.went
    fi
    rmdir $d/known_hosts.d $d/config.d 2>/dev/null
    if [ ! -d $d/config.d ] && grep -qxF "$include" $c 2>/dev/null; then
        look $c
        if [ "$(head -n 1 $c)" = "$include" ]; then
            tail -n +2 $c >$d/t.new
        else
            echo "$include" >$d/t.lines
            without $c
        fi
        put $c
    fi
    awk 'FILENAME == ARGV[1] { over[$1, $2] = 1; next } !(($1, $2) in over && $1 != "line")' $d/t.over $d/t.keep >$d/t.journal
    cmp -s $d/t.journal $log || mv -f $d/t.journal $log || exit 1
    echo "removed $count"
    if [ ! -d $d/config.d ] && ! grep -q '^line ' $log; then
        made=$(grep -xF 'made .ssh' $log)
        rm -f $d/t.* $log $d/lock
        rmdir $d 2>/dev/null
        [ -z "$made" ] || rmdir .ssh 2>/dev/null
    fi
}

locked() {
    flock 9 || fail "cannot lock $PWD/$d"
    # The lock goes away with the directory when all is undone.
    [ $d/lock -ef /proc/self/fd/9 ] || return 1
    begun=1
    cat >$d/t.in || exit 1
    if [ -n "$token" ] && [ -e "$d/busy.$token" ]; then
        echo self
    else
        case $verb in
        add) add ;;
        undo) remove '' ;;
        prune) remove prune ;;
        *) fail "nothing is called '$verb'" ;;
        esac
    fi
    rm -f $d/t.* 2>/dev/null
    exit 0
}

fresh= begun= tries=0
while [ $tries -lt 100 ]; do
    if [ "$verb" = add ]; then
        mkdir .ssh 2>/dev/null && fresh=1
        mkdir -p $d 2>/dev/null
    elif [ ! -d $d ]; then
        cat >/dev/null
        echo removed 0
        exit 0
    fi
    locked 9>>$d/lock
    [ -z "$begun" ] || exit 1
    tries=$((tries + 1))
done
fail "cannot write in $PWD/$d"
