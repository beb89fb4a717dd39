//! The `key` of `#[workflow(…)]`, checked while it is compiled. The host checks it again when the
//! module is uploaded, by the same rules (`host/core/src/key_template.rs`).

use proc_macro2::Span;
use syn::{Error, Result};

const FORM: &str = "a key is a template with values of the input, such as `key = \"order-${id}\"` or \
                    `key = \"${customer.id}/${month}\"`";

/// The longest template, in bytes.
const MAX_BYTES: usize = 256;

/// Refuses what is no template, with the reason.
pub(crate) fn check(template: &str, span: Span) -> Result<()> {
    let wrong = |problem: &str| Err(Error::new(span, format!("{problem}; {FORM}")));
    if template.len() > MAX_BYTES || template.chars().any(char::is_control) {
        return wrong("this has more than 256 bytes, or control characters");
    }
    let mut rest = template;
    let mut found = false;
    while let Some((_, behind)) = rest.split_once("${") {
        let Some((path, behind)) = behind.split_once('}') else {
            return wrong("this has a `${` without its `}`");
        };
        if path.split('.').any(|field| field.is_empty() || field.contains(['{', '$', ' '])) {
            return wrong("this has a placeholder that is no path");
        }
        (rest, found) = (behind, true);
    }
    if !found {
        return wrong("this has no placeholder, so all runs would have one key");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_are_checked() {
        let verdict =
            |template: &str| check(template, Span::call_site()).map_err(|e| e.to_string());
        for good in ["${id}", "order-${user.id}-${n}", "$5 {x} ${a-b} }"] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
        for (wrong, words) in [
            ("", "no placeholder"),
            ("order-{id}", "no placeholder"),
            ("${id", "without its `}`"),
            ("${}", "no path"),
            ("${a..b}", "no path"),
            ("${a b}", "no path"),
            ("${${a}}", "no path"),
            ("${a}\n", "control characters"),
        ] {
            let refused = verdict(wrong).unwrap_err();
            assert!(refused.contains(words) && refused.contains("order-${id}"), "{refused}");
        }
    }
}
