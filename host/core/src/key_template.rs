//! Templates of idempotency keys: text in which `${path}` stands for a value of the input, such as
//! `order-${orderId}` or `${customer.id}/${month}`. A workflow has one, or a start brings one.
//! Checked when a module is uploaded, expanded when a run starts.

use crate::Payload;
use serde_json::Value;

/// The longest template, in bytes.
const MAX_BYTES: usize = 256;

/// A template that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Fields, from the outermost on.
    Path(Vec<String>),
}

/// Why a template is none, or has no key for an input: a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(String);

impl KeyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn parse(template: &str) -> Result<Self, InvalidKey> {
        let wrong = |problem: &str| InvalidKey(format!("the template `{template}` {problem}"));
        if template.len() > MAX_BYTES || template.chars().any(char::is_control) {
            let problem = "a template has at most 256 bytes and no control characters";
            return Err(InvalidKey(problem.into()));
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, behind)) = rest.split_once("${") {
            let Some((path, behind)) = behind.split_once('}') else {
                return Err(wrong("has a `${` without its `}`"));
            };
            let fields: Vec<String> = path.split('.').map(str::to_owned).collect();
            if fields.iter().any(|field| field.is_empty() || field.contains(['{', '$', ' '])) {
                return Err(wrong("has a placeholder that is no path like `${order.id}`"));
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            parts.push(Part::Path(fields));
            rest = behind;
        }
        if parts.is_empty() {
            let problem = "has no placeholder like `${order.id}`, so all runs would have one key";
            return Err(wrong(problem));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The key for an input.
    ///
    /// # Errors
    /// A sentence that names the path at which the input has no text, number or boolean.
    pub fn expand(&self, input: &Payload) -> Result<String, InvalidKey> {
        let input: Value = input.read().map_err(|e| InvalidKey(e.to_string()))?;
        let mut key = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Path(fields) => key.push_str(&value(&input, fields)?),
            }
        }
        Ok(key)
    }
}

/// The value of a path, as it stands in a key.
fn value(input: &Value, fields: &[String]) -> Result<String, InvalidKey> {
    let path = fields.join(".");
    let mut at = input;
    for field in fields {
        at = at
            .get(field)
            .ok_or_else(|| InvalidKey(format!("the input has nothing at `{path}`")))?;
    }
    let what = match at {
        Value::String(text) => return Ok(text.clone()),
        Value::Number(number) => return Ok(number.to_string()),
        Value::Bool(truth) => return Ok(truth.to_string()),
        Value::Null => "null",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let problem = "a key is made of text, numbers and booleans";
    Err(InvalidKey(format!("the input has {what} at `{path}`; {problem}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn expand(template: &str, input: &str) -> Result<String, String> {
        let input = Payload::from_bytes(input.as_bytes()).unwrap();
        let template = KeyTemplate::parse(template).map_err(|e| e.to_string())?;
        template.expand(&input).map_err(|e| e.to_string())
    }

    #[test]
    fn placeholders_become_values() {
        let input = r#"{"id": "a b", "n": 7, "f": 2.50, "yes": true, "user": {"id": "u1"},
            "big": 18446744073709551615, "empty": "", "a-b": "c", "weird": "${id}"}"#;
        for (template, key) in [
            ("${id}", "a b"),
            ("order-${n}", "order-7"),
            ("${n}${f}-${yes}!", "72.5-true!"),
            ("u:${user.id}", "u:u1"),
            ("${big}", "18446744073709551615"),
            ("x${empty}", "x"),
            ("${a-b}", "c"),
            ("$5 {n} } ${n}", "$5 {n} } 7"),
            ("${weird}", "${id}"),
        ] {
            assert_eq!(expand(template, input).as_deref(), Ok(key), "{template}");
        }
    }

    #[test]
    fn what_the_input_does_not_have_is_named() {
        for (template, input, words) in [
            ("${id}", "{}", "nothing at `id`"),
            ("${user.id}", r#"{"user": {}}"#, "nothing at `user.id`"),
            ("${user.id}", r#"{"user": "u1"}"#, "nothing at `user.id`"),
            ("${id}", "null", "nothing at `id`"),
            ("${0}", "[1]", "nothing at `0`"),
            ("${id}", r#"{"id": null}"#, "null at `id`"),
            ("${user}", r#"{"user": {}}"#, "an object at `user`"),
            ("${a.b}", r#"{"a": {"b": [1]}}"#, "a list at `a.b`"),
        ] {
            let refused = expand(template, input).unwrap_err();
            assert!(refused.contains(words), "{template} of {input}: {refused}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, words) in [
            ("", "no placeholder"),
            ("order", "no placeholder"),
            ("order-{id}", "no placeholder"),
            ("${id", "without its `}`"),
            ("${id} ${", "without its `}`"),
            ("${}", "no path"),
            ("${a..b}", "no path"),
            ("${.a}", "no path"),
            ("${a b}", "no path"),
            ("${${a}}", "no path"),
            ("a\n${id}", "no control characters"),
            (&format!("${{id}}{}", "x".repeat(252)), "at most 256 bytes"),
        ] {
            let refused = KeyTemplate::parse(template).unwrap_err().to_string();
            assert!(refused.contains(words), "{template}: {refused}");
        }
    }
}
