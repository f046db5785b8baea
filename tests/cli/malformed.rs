//! Every malformed request of a generated list, as bytes: each field of each request cut, missing, too long, of a wrong
//! count or value; wrong types, lengths and identifiers. What is in good order is here too, to begin with.

/// What a field is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Bytes of a fixed number.
    Fixed,
    /// 0 or 1, which may say what follows.
    Flag,
    /// A length of two bytes, and that many bytes.
    Text,
    /// The place of a range in a file of four bytes, behind one that ends at 2.
    Place,
    /// The length of that range.
    Length,
    /// A count of four bytes; the things themselves follow as fields of their own.
    Count,
}

/// A field as it is in good order.
struct Field {
    name: &'static str,
    sort: Sort,
    bytes: Vec<u8>,
}

/// A request in good order.
pub struct Request {
    pub name: &'static str,
    pub kind: u8,
    fields: Vec<Field>,
}

/// A frame that is not in good order, and what is wrong with it.
pub struct Malformed {
    pub what: String,
    pub bytes: Vec<u8>,
    /// It promises more than it has: the server waits for the rest.
    pub unfinished: bool,
}

fn field(name: &'static str, sort: Sort, bytes: impl Into<Vec<u8>>) -> Field {
    let bytes = bytes.into();
    Field { name, sort, bytes }
}

fn text(name: &'static str, text: &str) -> Field {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    field(name, Sort::Text, [&length[..], text.as_bytes()].concat())
}

fn count(name: &'static str, count: u32) -> Field {
    field(name, Sort::Count, count.to_be_bytes())
}

/// All requests of the protocol, in the order in which a client makes them. `root` is a tree that is served.
pub fn requests(root: &str, now: i64) -> Vec<Request> {
    let hello = vec![
        field("magic", Sort::Fixed, *b"dsau"),
        field("lowest version", Sort::Fixed, 1u16.to_be_bytes()),
        field("highest version", Sort::Fixed, 1u16.to_be_bytes()),
        field("features", Sort::Fixed, 1u32.to_be_bytes()),
        field("time", Sort::Fixed, now.to_be_bytes()),
        text("user", "root"),
        text("program", "test"),
    ];
    let manifest = vec![
        text("root", root),
        field("known", Sort::Flag, [1]),
        field("digest", Sort::Fixed, [7; 32]),
        field("recurse", Sort::Fixed, 9u32.to_be_bytes()),
        field("xdev", Sort::Flag, [0]),
        field("digests", Sort::Flag, [1]),
        count("included patterns", 1),
        text("included pattern", "*"),
        count("excluded patterns", 0),
        count("ignored patterns", 1),
        text("ignored pattern", "*.tmp"),
    ];
    let file = || {
        [
            text("path", "f"),
            field("size", Sort::Fixed, 4u64.to_be_bytes()),
            field("seconds", Sort::Fixed, 0i64.to_be_bytes()),
            field("nanoseconds", Sort::Fixed, 0u32.to_be_bytes()),
            field("has a digest", Sort::Flag, [1]),
            field("digest", Sort::Fixed, [7; 32]),
        ]
    };
    let mut want = vec![field("last", Sort::Flag, [1]), count("files", 1)];
    want.extend(file());
    let mut cut = vec![text("root", root)];
    cut.extend(file());
    let mut ranges = vec![text("root", root)];
    ranges.extend(file());
    ranges.extend([
        count("ranges", 2),
        field("place", Sort::Fixed, 0u64.to_be_bytes()),
        field("length", Sort::Fixed, 2u64.to_be_bytes()),
        field("second place", Sort::Place, 2u64.to_be_bytes()),
        field("second length", Sort::Length, 2u64.to_be_bytes()),
    ]);
    let exec = vec![
        count("arguments", 1),
        text("argument", "-v"),
        count("classes", 1),
        text("class", "any"),
    ];
    [
        ("HELLO", 1, hello),
        ("MANIFEST", 2, manifest),
        ("FETCH", 3, vec![text("root", root)]),
        ("WANT", 4, want),
        ("EXEC", 5, exec),
        ("CUT", 6, cut),
        ("RANGES", 7, ranges),
    ]
    .map(|(name, kind, fields)| Request { name, kind, fields })
    .into()
}

/// A frame.
pub fn frame(kind: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind], &id.to_be_bytes(), payload].concat()
}

impl Request {
    pub fn payload(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|field| field.bytes.clone()).collect()
    }

    pub fn frame(&self, id: u32) -> Vec<u8> {
        frame(self.kind, id, &self.payload())
    }

    /// The payload with other bytes in place of a field.
    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let parts = self.fields.iter().enumerate();
        parts
            .flat_map(|(i, field)| if i == at { bytes.to_vec() } else { field.bytes.clone() })
            .collect()
    }

    /// Everything that can be wrong with it.
    pub fn malformed(&self, id: u32) -> Vec<Malformed> {
        let mut all: Vec<Malformed> = Vec::new();
        let mut add = |what: String, bytes: Vec<u8>, unfinished| {
            let what = format!("{}: {what}", self.name);
            all.push(Malformed {
                what,
                bytes,
                unfinished,
            });
        };
        let whole = self.payload();
        let mut before = 0;
        for (at, field) in self.fields.iter().enumerate() {
            let (name, size) = (field.name, field.bytes.len());
            let mut put = |what: &str, payload: Vec<u8>| {
                if payload != whole {
                    add(format!("{name} {what}"), frame(self.kind, id, &payload), false);
                }
            };
            put("and all behind it missing", whole[..before].to_vec());
            put("cut", whole[..before + size / 2].to_vec());
            put("cut by a byte", whole[..before + size - 1].to_vec());
            put("a byte too long", self.with(at, &[&field.bytes[..], &[0]].concat()));
            match field.sort {
                Sort::Flag => {
                    put("neither 0 nor 1", self.with(at, &[2]));
                    put("255", self.with(at, &[255]));
                }
                Sort::Text => {
                    put(
                        "longer than the frame",
                        self.with(at, &[&[255, 255], &field.bytes[2..]].concat()),
                    );
                    let long = [&4097u16.to_be_bytes()[..], &[b'x'; 4097]].concat();
                    put("over its limit", self.with(at, &long));
                    let short = u16::try_from(size - 3).unwrap().to_be_bytes();
                    put(
                        "longer than it says",
                        self.with(at, &[&short[..], &field.bytes[2..]].concat()),
                    );
                }
                Sort::Count => {
                    let number = u32::from_be_bytes(field.bytes[..].try_into().unwrap());
                    for (what, other) in [
                        ("one too many", number + 1),
                        ("one too few", number.wrapping_sub(1)),
                        ("in thousands", 4000),
                        ("without end", u32::MAX),
                    ] {
                        put(what, self.with(at, &other.to_be_bytes()));
                    }
                }
                Sort::Place | Sort::Length => {
                    let bad = if field.sort == Sort::Place {
                        [0u64, 1, 3, u64::MAX]
                    } else {
                        [0, 3, 1 << 40, u64::MAX]
                    };
                    bad.iter()
                        .for_each(|n| put(&format!("of {n}"), self.with(at, &n.to_be_bytes())));
                }
                Sort::Fixed => put("of another size", self.with(at, &field.bytes[..size / 2])),
            }
            before += size;
        }
        for (what, length) in [("a length over the limit", 65_537), ("a length of 4 GB", u32::MAX)] {
            let mut bytes = self.frame(id);
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            add(what.to_string(), bytes, false);
        }
        let mut bytes = self.frame(id);
        bytes[..4].copy_from_slice(&(u32::try_from(whole.len()).unwrap() + 1).to_be_bytes());
        add("a length of one more than comes".to_string(), bytes, true);
        add("a header alone".to_string(), self.frame(id)[..9].to_vec(), true);
        add("half a header".to_string(), self.frame(id)[..5].to_vec(), true);
        for kind in [0, 0x3f, 0x7f, 0x80, 0x81, 0x86, 0x8c, 0x8f, 0xff] {
            add(format!("sent as type {kind:#04x}"), frame(kind, id, &whole), false);
        }
        all
    }
}
