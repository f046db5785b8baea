//! Class expressions (cfengine2.md 9.1): `!` binds tightest, then `.` and `&`, then `|`, with parentheses. Parsed once,
//! shared by reference count, evaluated against any set of classes.

use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

/// How deep parentheses may nest.
const DEEPEST: usize = 64;

/// A class predicate, kept as written and as parsed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClassExpr(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: BString,
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// An empty term: `a..b` is false (22.2), and so is its negation.
    Empty,
    Name(BString),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

impl PartialEq for ClassExpr {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

/// Whether a byte may stand in a predicate.
pub(super) fn is_class_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b".|&!,;()_".contains(&byte)
}

/// A name made fit to be a class: every character that is neither alphanumeric nor `_` becomes `_`.
pub fn canonify(name: impl AsRef<[u8]>) -> BString {
    name.as_ref()
        .iter()
        .map(|byte| if byte.is_ascii_alphanumeric() { *byte } else { b'_' })
        .collect::<Vec<u8>>()
        .into()
}

impl ClassExpr {
    /// The predicate that is always true.
    pub fn any() -> Self {
        ClassExpr(Arc::new(Inner {
            text: "any".into(),
            node: Node::Name("any".into()),
        }))
    }

    /// Parses a predicate written without `::`. The error is one sentence.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, String> {
        let text = text.as_ref();
        let mut parser = Parser { text, at: 0 };
        let node = parser.or(0)?;
        match parser.peek() {
            None => Ok(ClassExpr(Arc::new(Inner {
                text: text.into(),
                node,
            }))),
            Some(b')') => Err(format!("Bracket mismatch, in [class={}]", text.as_bstr())),
            Some(byte) => Err(illegal(byte, text)),
        }
    }

    /// The predicate as written, without the `::`.
    pub fn text(&self) -> &BStr {
        self.0.text.as_ref()
    }

    /// Whether it is plainly `any`.
    pub fn is_any(&self) -> bool {
        self.0.text == "any"
    }

    /// The names in it, in text order, each once.
    pub fn names(&self) -> Vec<&BStr> {
        let mut names = Vec::new();
        collect(&self.0.node, &mut names);
        names
    }

    /// Evaluates it; `known` says whether a single class is true.
    pub fn eval(&self, known: &dyn Fn(&BStr) -> bool) -> bool {
        eval(&self.0.node, known)
    }

    /// Whether it could become true when the classes that hold now are joined by others later: names that `maybe`
    /// admits count as true and negations as possible (cfengine2.md 5, two phases of class checking).
    pub fn could(&self, maybe: &dyn Fn(&BStr) -> bool) -> bool {
        could(&self.0.node, maybe)
    }
}

fn eval(node: &Node, known: &dyn Fn(&BStr) -> bool) -> bool {
    match node {
        Node::Empty => false,
        Node::Name(name) => known(name.as_ref()),
        Node::Not(inner) => !eval(inner, known),
        Node::And(terms) => terms.iter().all(|term| eval(term, known)),
        Node::Or(terms) => terms.iter().any(|term| eval(term, known)),
    }
}

fn collect<'a>(node: &'a Node, names: &mut Vec<&'a BStr>) {
    match node {
        Node::Empty => {}
        Node::Name(name) if names.contains(&name.as_bstr()) => {}
        Node::Name(name) => names.push(name.as_bstr()),
        Node::Not(inner) => collect(inner, names),
        Node::And(terms) | Node::Or(terms) => terms.iter().for_each(|term| collect(term, names)),
    }
}

fn could(node: &Node, maybe: &dyn Fn(&BStr) -> bool) -> bool {
    match node {
        Node::Empty => false,
        Node::Name(name) => maybe(name.as_ref()),
        Node::Not(_) => true,
        Node::And(terms) => terms.iter().all(|term| could(term, maybe)),
        Node::Or(terms) => terms.iter().any(|term| could(term, maybe)),
    }
}

fn illegal(byte: u8, text: &[u8]) -> String {
    match byte {
        b',' | b';' => format!(
            "'{}' is no operator of a class predicate, in [class={}]",
            byte as char,
            text.as_bstr()
        ),
        _ => format!("Illegal character ({}) in [class={}]", [byte].as_bstr(), text.as_bstr()),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn or(&mut self, depth: usize) -> Result<Node, String> {
        let mut terms = vec![self.and(depth)?];
        while self.peek() == Some(b'|') {
            self.at += 1;
            terms.push(self.and(depth)?);
        }
        Ok(one(terms, Node::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Node, String> {
        let mut terms = vec![self.term(depth)?];
        while matches!(self.peek(), Some(b'.' | b'&')) {
            self.at += 1;
            terms.push(self.term(depth)?);
        }
        Ok(one(terms, Node::And))
    }

    fn term(&mut self, depth: usize) -> Result<Node, String> {
        let mut negated = false;
        while self.peek() == Some(b'!') {
            self.at += 1;
            negated = !negated;
        }
        let node = match self.peek() {
            Some(b'(') if depth == DEEPEST => return Err("a class predicate nests too deep".into()),
            Some(b'(') => {
                self.at += 1;
                let inner = self.or(depth + 1)?;
                if self.peek() != Some(b')') {
                    return Err(match self.peek() {
                        Some(byte) => illegal(byte, self.text),
                        None => format!("Bracket mismatch, in [class={}]", self.text.as_bstr()),
                    });
                }
                self.at += 1;
                inner
            }
            _ => {
                let start = self.at;
                while self
                    .peek()
                    .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80)
                {
                    self.at += 1;
                }
                match &self.text[start..self.at] {
                    b"" => return Ok(Node::Empty),
                    name => Node::Name(canonify(name)),
                }
            }
        };
        Ok(match node {
            // The negation of an empty term is one, however many brackets are around it.
            Node::Empty => Node::Empty,
            node if negated => Node::Not(Box::new(node)),
            node => node,
        })
    }
}

fn one(mut terms: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    match terms.pop() {
        Some(term) if terms.is_empty() => term,
        Some(term) => {
            terms.push(term);
            many(terms)
        }
        None => Node::Empty,
    }
}
