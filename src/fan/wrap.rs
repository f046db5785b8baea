//! A command with its surroundings: a script of this side, a directory, variables, sudo.
//!
//! All of it travels over standard input, so that nothing of it stands in an argument of a process, here or there, and
//! nothing is too long. On the host it is kept in files without a name.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::Spool;
use crate::remote::{self, Mark, quote};

/// The largest script, in bytes.
pub const SCRIPT_LIMIT: u64 = 64 << 20;

/// What stands around a command.
#[derive(Clone, Debug, Default)]
pub struct Wrap {
    /// A script to run instead of a command, whole.
    pub script: Option<Vec<u8>>,
    /// Variables for it, in this order.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs; otherwise in the home directory.
    pub dir: Option<OsString>,
    /// The password for sudo, which may be empty; none: no sudo.
    pub sudo: Option<Vec<u8>>,
}

/// How the command hangs on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// It ends with it, as with [`remote::tied`]. Needs [`super::Input::Fed`].
    Tied,
    /// It runs in the group of the process that is started here. Needs [`super::Input::Fed`].
    Group,
    /// It is left alone.
    Free,
    /// It reads what follows in standard input. Needs [`super::Input::Spool`].
    Input,
}

/// Receives what [`Wrap::payload`] wrote and runs it. Arguments: bytes of the beginning, bytes of the script, `sudo` or
/// nothing, host, rank, bond, and those of a mark.
///
/// sudo closes all descriptors and reads standard input only when it wants a password. So what is to run is found
/// through the outer shell, standard input holds the password alone, and a wrong one is tried once and not three times.
/// That the shell below sudo has begun is told by one byte more in the file.
const RECEIVE: &str = r#"u=$(umask); umask 077; P= w= S=
exec 3<&0 </dev/null
[ -z "$3" ] || IFS= read -r P <&3 || exit 1
keep() { mktemp /dev/shm/dsau.XXXXXXXX 2>/dev/null || mktemp; }
f=$(keep) && exec 8<>"$f" && rm -f "$f" && f=$(keep) && exec 9<>"$f" && rm -f "$f" ||
    { echo 'dsau: there is no room for the script in /dev/shm and /tmp' >&2; exit 1; }
umask "$u"
n=$(($1 + $2))
head -c $n <&3 >&8
[ "$(wc -c </dev/fd/8)" -eq $n ] || { echo 'dsau: the script did not arrive whole' >&2; exit 1; }
tail -c +$(($1 + 1)) /dev/fd/8 >&9
in=0
if [ "$6" = tied ]; then
    S=setsid s=
    [ -r /proc/$$/stat ] && read -r x x x x x s </proc/$$/stat
    late "$s" 2>/dev/null
fi
[ "$6" != input ] || in=3
if [ "$3" ]; then
    printf '%s\n' "$P" | $S sudo -S -p '' -- /bin/sh /proc/$$/fd/8 "$4" "$5" "$6" $$ 3<&- 8<&- 9<&- &
else
    $S /bin/sh /dev/fd/8 "$4" "$5" "$6" '' <&$in 3<&- &
fi
p=$! P=
if [ "$6" = tied ]; then
    (while read -r x <&3; do :; done
    [ -z "$3" ] || kill -s KILL $$
    kill -s TERM -- -$p; sleep 2; kill -s KILL -- -$p) >/dev/null 2>&1 &
    w=$!
fi
wait $p
s=$?
[ -z "$w" ] || kill $w
if [ "$3" ] && [ "$(wc -c </dev/fd/8)" -eq $n ]; then
    echo 'dsau: sudo did not begin: the password is wrong or missing, or this user may not' >&2
fi
if [ "$7" ]; then
    trap '' PIPE
    printf %s "$8$7$s."
    printf %s "$8$7$s." >&2
fi
exit $s
"#;

/// What the shell that runs the command does first; below sudo it watches the outer shell, which root's processes
/// cannot be ended by.
const BEGIN: &str = r#"export DSAU_HOST="$1" DSAU_RANK="$2"
w=
if [ "$4" ]; then
    echo >>/proc/$4/fd/8
    exec 9</proc/$4/fd/9 </dev/null
    if [ "$3" != free ]; then
        read -r x x x x g x </proc/$$/stat
        (trap '' TERM; while kill -0 $4; do sleep 1; done
        kill -s TERM -- -$g; sleep 2; kill -s KILL -- -$g) >/dev/null 2>&1 &
        w=$!
    fi
fi
exec 8<&-
"#;

const END: &str = r#"
s=$?
[ -z "$w" ] || kill -s KILL $w
exit $s
"#;

impl Wrap {
    /// Whether there is anything around the command.
    pub fn is_empty(&self) -> bool {
        self.script.is_none() && self.env.is_empty() && self.dir.is_none() && self.sudo.is_none()
    }

    /// The text that the shell of the host runs: everything but the script itself.
    fn beginning(&self, words: &[OsString]) -> Vec<u8> {
        let mut text = BEGIN.as_bytes().to_vec();
        let mut add = |parts: &[&[u8]]| text.extend(parts.concat());
        if let Some(dir) = &self.dir {
            // A name that begins with '-' is a directory as well.
            let dot: &[u8] = if dir.as_bytes().starts_with(b"-") { b"./" } else { b"" };
            add(&[b"cd ", dot, &quote(dir.as_bytes()), b" || exit 1\n"]);
        }
        for (name, value) in &self.env {
            add(&[b"export ", name.as_bytes(), b"=", &quote(value.as_bytes()), b"\n"]);
        }
        match &self.script {
            None => add(&[
                b"SHLVL=1 \"${SHELL:-/bin/sh}\" -c ",
                &quote(words.join(OsStr::new(" ")).as_bytes()),
            ]),
            Some(script) => {
                for word in interpreter(script) {
                    add(&[&quote(word), b" "]);
                }
                add(&[b"/dev/fd/9"]);
                for word in words {
                    add(&[b" ", &quote(word.as_bytes())]);
                }
            }
        }
        add(&[END.as_bytes()]);
        text
    }

    /// Writes what goes to standard input, the same for all hosts, and gives its sizes. With a password the spool must
    /// be one that is never on a disk.
    pub fn payload(&self, words: &[OsString], spool: &mut Spool) -> io::Result<Sizes> {
        let beginning = self.beginning(words);
        let script = self.script.as_deref().unwrap_or_default();
        if let Some(password) = &self.sudo {
            spool.write_all(password)?;
            spool.write_all(b"\n")?;
        }
        spool.write_all(&beginning)?;
        spool.write_all(script)?;
        Ok(Sizes {
            beginning: beginning.len(),
            script: script.len(),
        })
    }

    /// The words of the command that receives the payload on a host.
    pub fn receive(&self, sizes: &Sizes, host: &str, rank: usize, bond: Bond, mark: Option<&Mark>) -> Vec<OsString> {
        let bond: &[u8] = match bond {
            Bond::Tied => b"tied",
            Bond::Group => b"group",
            Bond::Free => b"free",
            Bond::Input => b"input",
        };
        let sudo: &[u8] = if self.sudo.is_some() { b"sudo" } else { b"" };
        let [beginning, script, rank] = [sizes.beginning, sizes.script, rank].map(|n| n.to_string());
        let mut arguments = vec![
            beginning.as_bytes(),
            script.as_bytes(),
            sudo,
            // Letters, digits and a few signs, which stand for themselves when encoded.
            host.as_bytes(),
            rank.as_bytes(),
            bond,
        ];
        arguments.extend(mark.iter().flat_map(|mark| mark.arguments()).map(str::as_bytes));
        remote::carry(&[remote::LATE, RECEIVE].concat(), &arguments)
    }
}

/// How many bytes the parts of a payload have.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    beginning: usize,
    script: usize,
}

/// The program that reads a script, with its argument, from its first line; `/bin/sh` when that names none.
fn interpreter(script: &[u8]) -> Vec<&[u8]> {
    let line = script.split(|&b| b == b'\n').next().unwrap_or_default();
    let named = line
        .strip_prefix(b"#!")
        .map(<[u8]>::trim_ascii)
        .filter(|text| !text.is_empty());
    let Some(text) = named else {
        return vec![b"/bin/sh"];
    };
    // As the kernel has it: all that follows the program is one argument.
    match text.iter().position(u8::is_ascii_whitespace) {
        None => vec![text],
        Some(at) => vec![&text[..at], text[at..].trim_ascii_start()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter() {
        let of = |text: &'static str| -> Vec<String> {
            let words = interpreter(text.as_bytes()).into_iter();
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        };
        assert_eq!(of("#!/usr/bin/env python3 -u\nx"), ["/usr/bin/env", "python3 -u"]);
        assert_eq!(of("#! /bin/bash\n"), ["/bin/bash"]);
        for plain in ["echo x", "", "#!\n", "# a\n#!/bin/x"] {
            assert_eq!(of(plain), ["/bin/sh"]);
        }
    }
}
