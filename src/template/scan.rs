//! Cuts a template into text and tokens.

use bstr::ByteSlice;

use super::TemplateError;

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Goes out as it is.
    Text(&'a [u8]),
    /// `<%name%>`, with the place of its `<`.
    Token { name: &'a str, line: usize, column: usize },
}

/// Longest name of a token; what is longer is a forgotten `%>`.
const MAX_NAME: usize = 255;

/// All pieces in order.
pub(super) fn pieces<'a>(file: &str, template: &'a [u8]) -> Result<Vec<Piece<'a>>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut at, mut line, mut line_start) = (0, 1, 0);
    while let Some(found) = template[at..].find("<%") {
        let open = at + found;
        if open > at {
            pieces.push(Piece::Text(&template[at..open]));
        }
        for (n, _) in template[at..open].iter().enumerate().filter(|(_, b)| **b == b'\n') {
            line += 1;
            line_start = at + n + 1;
        }
        let column = open - line_start + 1;
        let bad = |what: String| TemplateError::Bad {
            file: file.to_string(),
            line,
            column,
            what: format!("{what}; write '<%%' for a plain '<%'"),
        };
        let inner = open + 2;
        if template.get(inner) == Some(&b'%') {
            pieces.push(Piece::Text(&template[open..inner]));
            at = inner + 1;
            continue;
        }
        let window = &template[inner..template.len().min(inner + MAX_NAME + 2)];
        let Some(length) = window.find("%>") else {
            return Err(bad("this '<%' has no '%>'".to_string()));
        };
        let name = &window[..length];
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-.".contains(b);
        match name.to_str() {
            Ok(name) if !name.is_empty() && name.bytes().all(|b| plain(&b)) => {
                pieces.push(Piece::Token { name, line, column });
            }
            _ => return Err(bad(format!("'{}' is no name of a token", name.as_bstr()))),
        }
        at = inner + length + 2;
    }
    if at < template.len() {
        pieces.push(Piece::Text(&template[at..]));
    }
    Ok(pieces)
}
