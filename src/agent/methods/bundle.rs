//! Bundles: a call of a method, or the answer to one, as a file of header lines. Pure: bytes in, bytes out.
//!
//! The file begins with `dsau-method 1` and ends with `END`. Values are escaped bytes, so no value can end its line.

use bstr::{BStr, BString, ByteSlice, ByteVec};

/// No bundle is larger.
pub const LIMIT: usize = 1 << 20;
/// A method has no more arguments, return values or classes than this.
pub const MOST: usize = 64;
/// The longest chain of methods that call one another.
pub const DEEPEST: usize = 8;

const MAGIC: &[u8] = b"dsau-method 1";
const END: &[u8] = b"END";

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub name: BString,
    /// The file that describes it, in the modules directory.
    pub file: BString,
    /// Seconds since the epoch when it was made.
    pub time: i64,
    /// Seconds since the epoch after which it counts no more.
    pub until: i64,
    /// The host that calls; empty for a call on one machine.
    pub client: BString,
    /// The host that is called; empty for a call on one machine.
    pub server: BString,
    /// The name under which the answer is left.
    pub reply_to: BString,
    /// Classes that hold for the method.
    pub classes: Vec<BString>,
    /// The arguments.
    pub args: Vec<BString>,
    /// The methods that called one another up to here.
    pub chain: Vec<BString>,
    /// Makes this call unlike any other.
    pub nonce: BString,
    /// How it runs.
    pub manner: Manner,
}

/// As whom and where a method runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The directory, below the root.
    pub chdir: Option<BString>,
    /// The root.
    pub chroot: Option<BString>,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The method.
    pub name: BString,
    /// The digest of the call.
    pub call: String,
    /// Seconds since the epoch after which it counts no more.
    pub until: i64,
    /// `ReturnVariables(…)`
    pub values: Vec<BString>,
    /// `ReturnClasses(…)`, those that hold.
    pub classes: Vec<BString>,
    /// Promises kept, repaired, failed.
    pub figures: [u64; 3],
    /// Why the method could not be run.
    pub error: Option<BString>,
}

/// What a bundle is called by: 32 hexadecimal digits of its blake3.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().as_str().chars().take(32).collect()
}

/// Whether a text is a [`digest`].
pub fn is_digest(text: &[u8]) -> bool {
    text.len() == 32
        && text
            .iter()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
}

/// A name of a method, a class or a variable: letters, digits and underscores.
pub fn is_name(name: &[u8]) -> bool {
    (1..=128).contains(&name.len()) && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What can be the name or the address of a host, and the name of a file.
pub fn is_host(name: &[u8]) -> bool {
    (1..=255).contains(&name.len())
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(byte))
}

/// Why bytes are no bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Call {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.line("NAME", &self.name);
        out.line("TRUSTEDFILE", &self.file);
        out.number("TIMESTAMP", self.time);
        out.number("EXPIRES", self.until);
        out.line("CLIENT", &self.client);
        out.line("SERVER", &self.server);
        out.line("REPLYTO", &self.reply_to);
        out.lines("SENDCLASS", &self.classes);
        out.lines("ATTACH-ARG", &self.args);
        out.lines("CHAIN", &self.chain);
        if let Some(uid) = self.manner.uid {
            out.number("OWNER", uid.into());
        }
        if let Some(gid) = self.manner.gid {
            out.number("GROUP", gid.into());
        }
        for (key, value) in [("CHDIR", &self.manner.chdir), ("CHROOT", &self.manner.chroot)] {
            if let Some(value) = value {
                out.line(key, value);
            }
        }
        out.line("NONCE", &self.nonce);
        out.line("ISREPLY", b"false");
        out.end()
    }

    /// Reads the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Call, Malformed> {
        let mut lines = Reader::new(bytes, b"false")?;
        let call = Call {
            name: lines.one("NAME")?,
            file: lines.one("TRUSTEDFILE")?,
            time: lines.number("TIMESTAMP")?,
            until: lines.number("EXPIRES")?,
            client: lines.one("CLIENT")?,
            server: lines.one("SERVER")?,
            reply_to: lines.one("REPLYTO")?,
            classes: lines.many("SENDCLASS")?,
            args: lines.many("ATTACH-ARG")?,
            chain: lines.many("CHAIN")?,
            manner: Manner {
                uid: lines.id("OWNER")?,
                gid: lines.id("GROUP")?,
                chdir: lines.maybe("CHDIR")?,
                chroot: lines.maybe("CHROOT")?,
            },
            nonce: lines.one("NONCE")?,
        };
        lines.end()?;
        if !is_name(&call.name) {
            return wrong("it has no name of a method");
        }
        if !call.classes.iter().all(|class| is_name(class)) {
            return wrong("it names a class that cannot be");
        }
        for host in [&call.client, &call.server, &call.reply_to] {
            if !host.is_empty() && !is_host(host) {
                return wrong("it names a host that cannot be");
            }
        }
        Ok(call)
    }
}

impl Reply {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.line("NAME", &self.name);
        out.line("CALL", self.call.as_bytes());
        out.number("EXPIRES", self.until);
        out.lines("RETURNVAR", &self.values);
        out.lines("RETURNCLASS", &self.classes);
        for (key, figure) in ["KEPT", "REPAIRED", "FAILED"].into_iter().zip(self.figures) {
            out.number(key, i64::try_from(figure).unwrap_or(i64::MAX));
        }
        if let Some(error) = &self.error {
            out.line("ERROR", error);
        }
        out.line("ISREPLY", b"true");
        out.end()
    }

    /// Reads the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Reply, Malformed> {
        let mut lines = Reader::new(bytes, b"true")?;
        let mut figure = |key| Ok(u64::try_from(lines.number(key)?).unwrap_or(0));
        let figures = [figure("KEPT")?, figure("REPAIRED")?, figure("FAILED")?];
        let reply = Reply {
            name: lines.one("NAME")?,
            call: lines.one("CALL")?.to_string(),
            until: lines.number("EXPIRES")?,
            values: lines.many("RETURNVAR")?,
            classes: lines.many("RETURNCLASS")?,
            figures,
            error: lines.maybe("ERROR")?,
        };
        lines.end()?;
        if !is_name(&reply.name) || !is_digest(reply.call.as_bytes()) {
            return wrong("it does not say which call it answers");
        }
        if !reply.classes.iter().all(|class| is_name(class)) {
            return wrong("it names a class that cannot be");
        }
        Ok(reply)
    }
}

/// Several values as one, for keys and messages.
pub fn join(values: &[BString]) -> BString {
    let values = values.iter().map(|value| {
        let text = value.escape_bytes().to_string();
        // So that a comma in a value is not taken for one between values, and none is not taken for an empty one.
        text.replace(',', "\\x2C") + ","
    });
    values.collect::<String>().into()
}

/// The values that [`join`] made one of.
pub fn split(joined: &BStr) -> Vec<BString> {
    let mut values: Vec<BString> = joined.split(|byte| *byte == b',').map(unescape).collect();
    values.pop();
    values
}

fn wrong<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

fn unescape(text: &[u8]) -> BString {
    // What is not UTF-8 was not written by escape_bytes.
    Vec::unescape_bytes(text.to_str_lossy()).into()
}

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Writer([MAGIC, b"\n"].concat())
    }

    fn line(&mut self, key: &str, value: &[u8]) {
        let line = format!("{key}: {}\n", value.escape_bytes());
        self.0.extend_from_slice(line.as_bytes());
    }

    fn lines(&mut self, key: &str, values: &[BString]) {
        for value in values {
            self.line(key, value);
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        self.line(key, value.to_string().as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(END);
        self.0.push(b'\n');
        self.0
    }
}

/// The lines of a bundle; each is taken out as it is asked for, and none may be left.
struct Reader<'a> {
    lines: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], is_reply: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > LIMIT {
            return wrong("it is too large");
        }
        let body = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(b"\n"))
            .and_then(|rest| rest.strip_suffix(b"END\n"));
        let Some(body) = body else {
            return wrong("it does not begin and end as a bundle does");
        };
        let mut lines = Vec::new();
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            let pair = line.strip_suffix(b"\n").and_then(|line| line.split_once_str(": "));
            let Some(pair) = pair.filter(|(key, _)| !key.is_empty()) else {
                return wrong("it holds a line that is no header");
            };
            if lines.len() > 4 * MOST + 32 {
                return wrong("it has too many lines");
            }
            lines.push(pair);
        }
        let mut reader = Reader { lines };
        if reader.one("ISREPLY")? != is_reply {
            return wrong("it is a call where an answer is expected, or the reverse");
        }
        Ok(reader)
    }

    fn many(&mut self, key: &str) -> Result<Vec<BString>, Malformed> {
        let found: Vec<BString> = self
            .lines
            .extract_if(.., |(name, _)| *name == key.as_bytes())
            .map(|(_, value)| unescape(value))
            .collect();
        if found.len() > MOST {
            return Err(Malformed(format!("it has more than {MOST} lines {key}")));
        }
        Ok(found)
    }

    fn maybe(&mut self, key: &str) -> Result<Option<BString>, Malformed> {
        let mut found = self.many(key)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(Malformed(format!("it says {key} twice"))),
        }
    }

    fn one(&mut self, key: &str) -> Result<BString, Malformed> {
        let found = self.maybe(key)?;
        found.ok_or_else(|| Malformed(format!("it does not say {key}")))
    }

    fn number(&mut self, key: &str) -> Result<i64, Malformed> {
        let value = self.one(key)?;
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Malformed(format!("{key} is no number")))
    }

    fn id(&mut self, key: &str) -> Result<Option<u32>, Malformed> {
        let Some(value) = self.maybe(key)? else { return Ok(None) };
        let id = value.to_str().ok().and_then(|text| text.parse().ok());
        id.map(Some).ok_or_else(|| Malformed(format!("{key} is no number")))
    }

    fn end(self) -> Result<(), Malformed> {
        match self.lines.first() {
            None => Ok(()),
            Some((key, _)) => Err(Malformed(format!("it holds {}, which is unknown", key.as_bstr()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = BString> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(BString::from)
    }

    fn some(values: impl Strategy<Value = BString>) -> impl Strategy<Value = Vec<BString>> {
        proptest::collection::vec(values, 0..5)
    }

    fn name() -> impl Strategy<Value = BString> {
        "[A-Za-z0-9_]{1,12}".prop_map(BString::from)
    }

    prop_compose! {
        fn call()(name in name(), file in bytes(), time in any::<i64>(), until in any::<i64>(), hosts in "[a-z][a-z0-9.:-]{0,8}",
                classes in some(name()), args in some(bytes()), chain in some(bytes()), nonce in bytes(),
                uid in any::<Option<u32>>(), chdir in proptest::option::of(bytes())) -> Call {
            let host = BString::from(hosts);
            let manner = Manner { uid, gid: uid, chroot: chdir.clone(), chdir };
            Call { name, file, time, until, client: host.clone(), server: host.clone(), reply_to: host, classes, args,
                chain, nonce, manner }
        }
    }

    prop_compose! {
        fn reply()(name in name(), call in bytes(), until in any::<i64>(), values in some(bytes()),
                classes in some(name()), kept in 0..99u64, error in proptest::option::of(bytes())) -> Reply {
            Reply { name, call: digest(&call), until, values, classes, figures: [kept, 1, 0], error }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(call in call(), reply in reply(), values in some(bytes())) {
            prop_assert_eq!(Call::decode(&call.encode()), Ok(call.clone()));
            prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply.clone()));
            prop_assert!(Reply::decode(&call.encode()).is_err() && Call::decode(&reply.encode()).is_err());
            prop_assert_eq!(split(join(&values).as_bstr()), values);
        }

        #[test]
        fn no_bytes_are_too_much_for_it(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..400usize,
                call in call()) {
            let _ = Call::decode(&bytes);
            let whole = call.encode();
            if cut < whole.len() {
                prop_assert!(Call::decode(&whole[..cut]).is_err(), "a part of a bundle was taken for one");
            }
        }
    }

    #[test]
    fn a_bundle_with_a_line_twice_unknown_or_missing_is_refused() {
        let call = Call {
            name: "Simple".into(),
            ..Call::default()
        };
        let text = String::from_utf8(call.encode()).unwrap();
        assert!(Call::decode(text.as_bytes()).is_ok());
        for (from, to, why) in [
            ("NAME: Simple", "NAME: Simple\nNAME: Other", "it says NAME twice"),
            ("NAME: Simple", "NAME: a b", "it has no name of a method"),
            ("NAME: Simple\n", "", "it does not say NAME"),
            ("NONCE", "NONSENSE: x\nNONCE", "it holds NONSENSE, which is unknown"),
            ("TIMESTAMP: 0", "TIMESTAMP: now", "TIMESTAMP is no number"),
            ("REPLYTO: ", "REPLYTO: ../etc", "it names a host that cannot be"),
            ("SERVER: ", "no header\nSERVER: ", "it holds a line that is no header"),
            ("END\n", "", "it does not begin and end as a bundle does"),
        ] {
            let error = Call::decode(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), why);
        }
        let many = "SENDCLASS: x\n".repeat(MOST + 1) + "NONCE";
        assert!(Call::decode(text.replacen("NONCE", &many, 1).as_bytes()).is_err());
        assert!(Call::decode(&vec![b'x'; LIMIT + 1]).is_err());
    }

    #[test]
    fn names_of_hosts_are_no_paths() {
        for (name, wanted) in [
            ("host1.lab", true),
            ("10.0.0.1", true),
            ("fe80::1", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("-x", false),
            ("a b", false),
        ] {
            assert_eq!(is_host(name.as_bytes()), wanted, "{name}");
        }
    }
}
