//! `<%TOKEN%>` files, strict: every missing token is named. `.hbs` files get full handlebars behind the same call.
//!
//! A token is `<%NAME%>` (TOK-00); `<%%` stands for a plain `<%`. Nothing is rendered unless all of it can be.
//!
//! | file | owns |
//! |---|---|
//! | `scan` | cutting a template into text and tokens |
//! | `values` | names and what they stand for |

mod scan;
mod values;

pub use values::Values;

use scan::Piece;

/// Larger templates are refused.
pub const MAX_BYTES: u64 = 16 << 20;

/// Which language a template is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `<%TOKEN%>`.
    Tokens,
    /// Handlebars, strict, nothing escaped.
    Handlebars,
}

/// A token without a value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub token: String,
    /// Counted from 1.
    pub line: usize,
    /// In bytes, counted from 1.
    pub column: usize,
}

/// Why a template was not rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Tokens without a value: all of them, in order of appearance.
    #[error("{}", list(.file, .missing))]
    Missing {
        /// Name of the template, for people.
        file: String,
        /// Every place.
        missing: Vec<Missing>,
    },
    /// The template itself is wrong, or a value cannot go where it is wanted.
    #[error("{file}:{line}:{column}: {what}")]
    Bad {
        /// Name of the template, for people.
        file: String,
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
}

fn list(file: &str, missing: &[Missing]) -> String {
    let lines: Vec<String> = missing
        .iter()
        .map(|m| format!("{file}:{}:{}: no value for <%{}%>", m.line, m.column, m.token))
        .collect();
    lines.join("\n")
}

/// Renders a template with values, whole or not at all. `file` is its name in messages.
///
/// # Errors
/// [`TemplateError::Missing`] with every token that has no value (of handlebars: the first), and
/// [`TemplateError::Bad`] for a template that is wrong itself.
pub fn render(language: Language, file: &str, template: &[u8], values: &Values) -> Result<Vec<u8>, TemplateError> {
    match language {
        Language::Tokens => render_tokens(file, template, values),
        Language::Handlebars => render_handlebars(file, template, values),
    }
}

/// The names a token template asks for, each once, in order of appearance.
///
/// # Errors
/// [`TemplateError::Bad`] for a token that is not well formed.
pub fn tokens(file: &str, template: &[u8]) -> Result<Vec<String>, TemplateError> {
    let mut names: Vec<String> = Vec::new();
    for piece in scan::pieces(file, template)? {
        if let Piece::Token { name, .. } = piece
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

fn render_tokens(file: &str, template: &[u8], values: &Values) -> Result<Vec<u8>, TemplateError> {
    let mut out = Vec::with_capacity(template.len());
    let mut missing = Vec::new();
    for piece in scan::pieces(file, template)? {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Token { name, line, column } => match values.text(name) {
                Some(Ok(text)) => out.extend_from_slice(text.as_bytes()),
                Some(Err(kind)) => {
                    return Err(TemplateError::Bad {
                        file: file.to_string(),
                        line,
                        column,
                        what: format!("the value of <%{name}%> is {kind}; a token takes text or a list of texts"),
                    });
                }
                None => missing.push(Missing {
                    token: name.to_string(),
                    line,
                    column,
                }),
            },
        }
    }
    if missing.is_empty() {
        Ok(out)
    } else {
        Err(TemplateError::Missing {
            file: file.to_string(),
            missing,
        })
    }
}

fn render_handlebars(file: &str, template: &[u8], values: &Values) -> Result<Vec<u8>, TemplateError> {
    let bad = |line: Option<usize>, column: Option<usize>, what: String| TemplateError::Bad {
        file: file.to_string(),
        line: line.unwrap_or(1),
        column: column.unwrap_or(1),
        what,
    };
    let text = std::str::from_utf8(template).map_err(|e| {
        let before = &template[..e.valid_up_to()];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        bad(Some(line), None, "a handlebars template must be UTF-8".to_string())
    })?;
    let mut engine = handlebars::Handlebars::new();
    engine.set_strict_mode(true);
    engine.register_escape_fn(handlebars::no_escape);
    engine.register_template_string(file, text).map_err(|e| {
        let (line, column) = e.pos().unzip();
        bad(line, column, e.reason().to_string())
    })?;
    engine.render(file, values.data()).map(String::into_bytes).map_err(|e| {
        use handlebars::RenderErrorReason::MissingVariable;
        match e.reason() {
            MissingVariable(Some(name)) => bad(e.line_no, e.column_no, format!("no value for {{{{{name}}}}}")),
            reason => bad(e.line_no, e.column_no, reason.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(name, *value).unwrap();
        }
        values
    }

    fn tokens_of(text: &str, values: &Values) -> Result<String, String> {
        render(Language::Tokens, "t", text.as_bytes(), values)
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn tokens_are_replaced_and_the_rest_stays_byte_for_byte() {
        let values = values(&[("POLICYHOST_NAME", "m.example.com")]);
        let out = render(
            Language::Tokens,
            "t",
            b"policyhost = ( \"<%POLICYHOST_NAME%>\" )\n\xff % > <\n",
            &values,
        )
        .unwrap();
        assert_eq!(out, b"policyhost = ( \"m.example.com\" )\n\xff % > <\n");
    }

    #[test]
    fn every_missing_token_is_named_with_its_place_in_one_error() {
        let error = tokens_of("a <%ONE%>\n<%TWO%> <%ONE%>\n", &Values::default()).unwrap_err();
        assert_eq!(
            error,
            "t:1:3: no value for <%ONE%>\nt:2:1: no value for <%TWO%>\nt:2:9: no value for <%ONE%>"
        );
    }

    #[test]
    fn both_spellings_of_the_domain_list_are_one_token_sl_01_tok_04() {
        let singular = values(&[("CFSERVD_DOMAIN_LIST", "*.a")]);
        let plural = values(&[("CFSERVD_DOMAIN_LISTS", "*.a")]);
        for template in ["<%CFSERVD_DOMAIN_LIST%>", "<%CFSERVD_DOMAIN_LISTS%>"] {
            assert_eq!(tokens_of(template, &singular).unwrap(), "*.a");
            assert_eq!(tokens_of(template, &plural).unwrap(), "*.a");
        }
    }

    #[test]
    fn an_open_or_odd_token_is_an_error_with_its_place() {
        let error = tokens_of("x\n <%NAME", &Values::default()).unwrap_err();
        assert_eq!(error, "t:2:2: this '<%' has no '%>'; write '<%%' for a plain '<%'");
        let error = tokens_of("<%a b%>", &Values::default()).unwrap_err();
        assert_eq!(
            error,
            "t:1:1: 'a b' is no name of a token; write '<%%' for a plain '<%'"
        );
    }

    #[test]
    fn a_doubled_percent_is_a_plain_opening() {
        assert_eq!(tokens_of("<%%X%>", &Values::default()).unwrap(), "<%X%>");
    }

    #[test]
    fn a_value_is_never_looked_at_again() {
        let values = values(&[("A", "<%B%>")]);
        assert_eq!(tokens_of("<%A%>", &values).unwrap(), "<%B%>");
    }

    #[test]
    fn handlebars_has_blocks_no_escapes_and_is_strict() {
        let mut values = Values::default();
        values
            .merge(serde_json::json!({"hosts": ["a&b", "c"], "n": {"x": 1}}))
            .unwrap();
        let go = |text: &str| {
            render(Language::Handlebars, "t.hbs", text.as_bytes(), &values)
                .map(|b| String::from_utf8(b).unwrap())
                .map_err(|e| e.to_string())
        };
        assert_eq!(go("{{#each hosts}}{{this}};{{/each}}{{n.x}}").unwrap(), "a&b;c;1");
        assert_eq!(go("x\n  {{gone}}").unwrap_err(), "t.hbs:2:3: no value for {{gone}}");
        assert!(go("{{#each").unwrap_err().starts_with("t.hbs:1:"));
    }

    #[test]
    fn a_list_goes_into_a_token_with_commas_as_domain_lists_want_it() {
        let mut values = Values::default();
        values
            .merge(serde_json::json!({"D": ["*.a", "*.b"], "O": {"x": 1}}))
            .unwrap();
        assert_eq!(tokens_of("<%D%>", &values).unwrap(), "*.a,*.b");
        assert!(tokens_of("<%O%>", &values).unwrap_err().contains("is an object"));
    }

    proptest! {
        #[test]
        fn text_without_an_opening_comes_back_unchanged(text in "[^<]{0,80}") {
            prop_assert_eq!(tokens_of(&text, &Values::default()).unwrap(), text);
        }

        #[test]
        fn no_input_makes_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = render(Language::Tokens, "t", &bytes, &Values::default());
            let _ = render(Language::Handlebars, "t", &bytes, &Values::default());
        }
    }
}
