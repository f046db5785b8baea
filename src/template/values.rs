//! Names and what they stand for.

use serde_json::{Map, Value};

/// Two spellings of one token (TOK-04, SL-01).
const SYNONYMS: [(&str, &str); 2] = [
    ("CFSERVD_DOMAIN_LIST", "CFSERVD_DOMAIN_LISTS"),
    ("CFSERVD_DOMAIN_LISTS", "CFSERVD_DOMAIN_LIST"),
];

/// Values for a template. What is set later wins.
#[derive(Clone, Debug)]
pub struct Values {
    data: Value,
}

impl Default for Values {
    fn default() -> Self {
        Values {
            data: Value::Object(Map::new()),
        }
    }
}

impl Values {
    /// Sets one value.
    ///
    /// # Errors
    /// A name that no token can have.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), String> {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{name}' is no name of a token"));
        }
        if let Value::Object(map) = &mut self.data {
            map.insert(name.to_string(), Value::String(value.into()));
        }
        Ok(())
    }

    /// Takes over all members of a JSON object.
    ///
    /// # Errors
    /// Anything but an object.
    pub fn merge(&mut self, value: Value) -> Result<(), String> {
        match (value, &mut self.data) {
            (Value::Object(new), Value::Object(map)) => {
                map.extend(new);
                Ok(())
            }
            (other, _) => Err(format!(
                "expected an object with values by name, found {}",
                kind(&other)
            )),
        }
    }

    /// All values, for handlebars.
    pub(super) fn data(&self) -> &Value {
        &self.data
    }

    /// What goes into a token: text as it is, numbers and truth values as JSON writes them, lists with commas.
    /// `Some(Err(kind))` for what is no text.
    pub(super) fn text(&self, name: &str) -> Option<Result<String, &'static str>> {
        let found = self.find(name).or_else(|| {
            let (_, other) = SYNONYMS.iter().find(|(one, _)| *one == name)?;
            self.find(other)
        })?;
        Some(text(found, true))
    }

    /// A name as it stands, else a path with dots into objects.
    fn find(&self, name: &str) -> Option<&Value> {
        self.data
            .get(name)
            .or_else(|| name.split('.').try_fold(&self.data, |value, part| value.get(part)))
    }
}

fn text(value: &Value, lists: bool) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(items) if lists => {
            let parts: Result<Vec<String>, _> = items.iter().map(|item| text(item, false)).collect();
            Ok(parts?.join(","))
        }
        other => Err(kind(other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
