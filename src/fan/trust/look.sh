# Why sshd may not take a key: looked at by somebody who is in. $1: the user, encoded; standard input: the keys, one a line.
# Prints 'why TEXT' for each reason, and 'key yes' or 'key no'. Changes nothing.
u=$(printf '%b.' "$1") u=${u%.}
LC_ALL=C
export LC_ALL
entry=$(getent passwd "$u") || { echo "why there is no user $u"; exit 0; }
uid=$(echo "$entry" | cut -d: -f3) h=$(echo "$entry" | cut -d: -f6) shell=$(echo "$entry" | cut -d: -f7)
[ -z "$shell" ] || [ -x "$shell" ] || echo "why the login shell $shell cannot be run"
files=.ssh/authorized_keys
sshd=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd) && t=$("$sshd" -T -C "user=$u,host=localhost,addr=127.0.0.1" 2>/dev/null)
if [ -n "$t" ]; then
    says() { echo "$t" | sed -n "s/^$1 //p"; }
    [ "$(says pubkeyauthentication)" != no ] || echo "why sshd takes no keys (PubkeyAuthentication no)"
    [ "$uid" != 0 ] || [ "$(says permitrootlogin)" != no ] || echo "why sshd lets root not log in (PermitRootLogin no)"
    for l in allowusers allowgroups denyusers denygroups; do
        v=$(says $l | tr '\n' ' ')
        [ -z "$v" ] || echo "note sshd has $l $v"
    done
    files=$(says authorizedkeysfile)
    [ "$(says strictmodes)" != no ] || lax=1
    case $(getent shadow "$u" 2>/dev/null | cut -d: -f2) in
    '!'*) [ "$(says usepam)" = yes ] || echo "why the account $u is locked (its password begins with !)" ;;
    esac
fi
safe() { # safe PATH: only its owner or root may write to it
    m=$(stat -L -c '%a %u %U' "$1" 2>/dev/null) || { echo "why $1 cannot be looked at"; return; }
    set -- "$1" $m
    [ "$3" = "$uid" ] || [ "$3" = 0 ] || echo "why $1 belongs to $4"
    case $2 in
    *[2367] | *[2367]?) [ -n "${lax-}" ] || echo "why $1 can be written by others (mode $2); chmod go-w $1" ;;
    esac
}
[ -d "$h" ] || echo "why the home $h is not there"
found=no
while read -r kind blob rest; do
    for f in $files; do
        case $f in
        none) continue ;;
        /*) p=$f ;;
        *) p=$h/$f ;;
        esac
        p=$(printf %s "$p" | sed "s|%u|$u|g; s|%h|$h|g; s|%U|$uid|g")
        grep -v '^[[:space:]]*#' "$p" 2>/dev/null | grep -qF -e "$kind $blob" && found=$p
    done
done
[ ! -d "$h" ] || safe "$h"
for f in $files; do
    case $f in
    none) continue ;;
    /*) p=$f ;;
    *) p=$h/$f ;;
    esac
    p=$(printf %s "$p" | sed "s|%u|$u|g; s|%h|$h|g; s|%U|$uid|g")
    [ -e "$p" ] || continue
    case $p in "$h"/*/*) safe "${p%/*}" ;; esac
    safe "$p"
done
if [ "$found" = no ]; then
    echo "why our key is not in $(echo "$files" | tr '\n' ' ' | sed 's/ *$//') of $u"
else
    echo "key $found"
fi
