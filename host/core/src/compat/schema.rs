//! Reading JSON Schemas: without annotations, with references resolved. The other parts of `compat`
//! call this. Nothing here judges.

use serde_json::{Map, Number, Value};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What describes and does not restrict.
const ANNOTATIONS: [&str; 10] = [
    "$schema",
    "$comment",
    "title",
    "description",
    "examples",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
];

/// The deepest schema whose annotations are looked for.
const MAX_NESTING: usize = 128;

/// The schema without annotations, and `true` for one that then says nothing.
pub(super) fn canonical(schema: &Value) -> Value {
    let mut clean = stripped(schema, 0);
    if let Value::Object(map) = &mut clean {
        // At the root it only gives the whole a name.
        map.remove("$id");
    }
    clean
}

fn stripped(schema: &Value, depth: usize) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    if depth > MAX_NESTING {
        return schema.clone();
    }
    let below = |value: &Value| stripped(value, depth + 1);
    let mut clean = Map::new();
    for (key, value) in map {
        if ANNOTATIONS.contains(&key.as_str()) || key.starts_with("x-") {
            continue;
        }
        let value = match (key.as_str(), value) {
            // In these, the keys are names and not keywords.
            ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(of)) => {
                Value::Object(of.iter().map(|(name, s)| (name.clone(), below(s))).collect())
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(of)) => {
                Value::Array(of.iter().map(below).collect())
            }
            ("items" | "additionalProperties" | "not" | "unevaluatedProperties", of) => below(of),
            (_, other) => other.clone(),
        };
        clean.insert(key.clone(), value);
    }
    if clean.is_empty() { Value::Bool(true) } else { Value::Object(clean) }
}

/// What a reference into the same document points to.
pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(&percent_decoded(reference.strip_prefix('#')?)?)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether two schemas are written alike, with everything that they refer to.
pub(super) fn alike(a: (&Value, &Value), b: (&Value, &Value)) -> bool {
    let mut seen = BTreeSet::new();
    let mut pending = vec![(a.1, b.1)];
    while let Some((x, y)) = pending.pop() {
        if x != y {
            return false;
        }
        let mut references = Vec::new();
        collect(x, &mut references);
        for reference in references {
            if seen.insert(reference) {
                match (resolve(a.0, reference), resolve(b.0, reference)) {
                    (Some(x), Some(y)) => pending.push((x, y)),
                    // What leads nowhere in both has not changed.
                    (None, None) => {}
                    _ => return false,
                }
            }
        }
    }
    true
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(to) if key == "$ref" => references.push(to),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// Compares numbers; `None` where a float cannot tell.
pub(super) fn order(a: &Number, b: &Number) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return Some(a.cmp(&b));
    }
    let exact =
        |n: &Number| n.as_f64().filter(|f| n.is_f64() || f.abs() <= 9_007_199_254_740_992.0);
    exact(a)?.partial_cmp(&exact(b)?)
}

/// Equality as JSON Schema has it: 1 is 1.0.
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// The path of a field.
pub(super) fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}
