//! A table of changes: two schemas, and what is said of them as an input in both directions, and as
//! an output.

use super::super::*;
use serde_json::json;

/// The schemas A and B; whether A to B narrows an input, B to A an input, A to B an output, B to A
/// an output; and a part of what is said of A to B as an input (empty for no change at all).
type Row = (Value, Value, [bool; 4], &'static str);

fn object(fields: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required })
}

fn of(field: &Value) -> Value {
    object(&json!({ "a": field }), &["a"])
}

const SUBSET: [bool; 4] = [false, true, true, false];
const SUPERSET: [bool; 4] = [true, false, false, true];
const BOTH: [bool; 4] = [true; 4];
const NONE: [bool; 4] = [false; 4];

fn rows() -> Vec<Row> {
    let text = json!({ "type": "string" });
    let open = object(&json!({ "a": text }), &[]);
    let wider = object(&json!({ "a": text, "b": text }), &[]);
    let wider_needed = object(&json!({ "a": text, "b": text }), &["b"]);
    let closed =
        json!({ "type": "object", "properties": { "a": text }, "additionalProperties": false });
    let map = |of: Value| json!({ "type": "object", "additionalProperties": of });
    let tuple = |of: Value, n: usize| json!({ "type": "array", "prefixItems": of, "minItems": n, "maxItems": n });
    let tagged = |names: &[&str]| {
        let each = |n: &&str| {
            json!({ "type": "object", "properties": { *n: { "type": "null" } },
            "required": [n], "additionalProperties": false })
        };
        json!({ "oneOf": names.iter().map(each).collect::<Vec<_>>() })
    };
    let kinds = |names: &[&str]| {
        let each = |n: &&str| object(&json!({ "kind": { "const": n } }), &["kind"]);
        json!({ "oneOf": names.iter().map(each).collect::<Vec<_>>() })
    };
    let units = json!({ "oneOf": [{ "const": "x", "description": "?" }, { "const": "y" }] });
    let number = |key: &str, n: i64| json!({ "type": "integer", key: n });
    let length = |key: &str, n: u64| json!({ "type": "string", key: n });
    let list = |of: Value| json!({ "type": "array", "items": of });
    let nullable = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    let referred = json!({ "$ref": "#/$defs/T", "$defs": { "T": { "type": "string" } } });
    vec![
        // Types.
        (text.clone(), json!({ "type": "integer" }), BOTH, "the type was string and is integer"),
        (
            json!({ "type": "integer" }),
            json!({ "type": "number" }),
            SUBSET,
            "integer and is number",
        ),
        (
            text.clone(),
            json!({ "type": ["string", "null"] }),
            SUBSET,
            "string and is null or string",
        ),
        (text.clone(), nullable.clone(), SUBSET, "string and is null or string"),
        (nullable, json!({ "type": ["null", "string"] }), NONE, ""),
        (text.clone(), referred, NONE, ""),
        (text.clone(), json!({ "allOf": [text, true] }), NONE, ""),
        (of(&text), of(&json!({ "type": "boolean" })), BOTH, "/a: the type was string"),
        (json!(true), text.clone(), SUPERSET, "anything was allowed"),
        (json!(false), text.clone(), SUBSET, "nothing was allowed"),
        // Annotations.
        (
            text.clone(),
            json!({ "type": "string", "title": "t", "default": "", "examples": ["x"],
            "description": "d", "$schema": "s" }),
            NONE,
            "",
        ),
        (
            object(&json!({ "title": text }), &[]),
            object(&json!({}), &[]),
            [false, false, true, false],
            "/title: the field is gone",
        ),
        // Fields.
        (open.clone(), wider.clone(), [false, false, false, true], "/b: the optional field is new"),
        (
            open.clone(),
            wider_needed.clone(),
            [true, false, false, true],
            "/b: the required field is new",
        ),
        (wider, wider_needed, SUPERSET, "/b: the field is required now"),
        (open.clone(), closed.clone(), SUPERSET, "other fields are refused now"),
        (
            closed.clone(),
            json!({ "type": "object", "properties": { "a": text, "b": text },
            "additionalProperties": false }),
            [false, true, true, true],
            "/b: the optional field is new",
        ),
        (
            object(&json!({ "a": object(&json!({ "b": text }), &[]) }), &[]),
            object(&json!({ "a": object(&json!({ "b": text }), &["b"]) }), &[]),
            SUPERSET,
            "/a/b: the field is required now",
        ),
        (
            map(text.clone()),
            map(json!({ "type": "null" })),
            BOTH,
            "/*: the type was string and is null",
        ),
        (
            json!({ "type": "object" }),
            map(text.clone()),
            SUPERSET,
            "other fields have to fit a schema",
        ),
        (
            map(json!({ "type": "integer" })),
            open.clone(),
            BOTH,
            "/a: the type was integer and is string",
        ),
        (
            json!({ "type": "object", "minProperties": 1 }),
            json!({ "type": "object" }),
            SUBSET,
            "`minProperties` 1 is gone",
        ),
        // Values.
        (
            json!({ "enum": ["x", "y"] }),
            json!({ "enum": ["x"] }),
            SUPERSET,
            "the value \"y\" is gone",
        ),
        (json!({ "const": "x" }), json!({ "enum": ["x", "y"] }), SUBSET, "the value \"y\" is new"),
        (json!({ "type": "string", "enum": ["y", "x"] }), units.clone(), NONE, ""),
        (text.clone(), units, SUPERSET, "only listed values are allowed now"),
        (json!({ "enum": [1, 2] }), number("maximum", 2), SUBSET, "more than listed values"),
        (json!({ "enum": [1, 3] }), number("maximum", 2), BOTH, "cannot be compared"),
        // Alternatives.
        (tagged(&["x", "y"]), tagged(&["x"]), SUPERSET, "the alternative `y` is gone"),
        (kinds(&["x"]), kinds(&["x", "y"]), SUBSET, "the alternative with `kind` \"y\" is new"),
        (
            json!({ "anyOf": [open, text] }),
            json!({ "anyOf": [text, open, { "type": "null" }] }),
            SUBSET,
            "is null or object or string",
        ),
        (
            json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] }),
            json!({ "type": "number" }),
            [false, true, true, false],
            "breaks nothing",
        ),
        (
            json!({ "type": "integer", "minimum": 0, "maximum": 9 }),
            json!({ "anyOf": [number("minimum", 6), number("maximum", 4)] }),
            BOTH,
            "cannot be compared",
        ),
        (json!({ "not": text }), json!({ "not": { "type": "null" } }), BOTH, "cannot be compared"),
        (json!({ "not": text }), json!({ "not": text, "title": "x" }), NONE, ""),
        (text.clone(), json!({ "type": "string", "if": true }), BOTH, "cannot be compared"),
        (text.clone(), json!({ "$ref": "#/$defs/missing" }), BOTH, "cannot be compared"),
        (text.clone(), json!({ "type": 5 }), BOTH, "cannot be compared"),
        // Bounds.
        (number("minimum", 1), number("minimum", 2), SUPERSET, "`minimum` was 1 and is 2"),
        (
            number("minimum", 1),
            number("exclusiveMinimum", 1),
            SUPERSET,
            "`exclusiveMinimum` 1 is new",
        ),
        (
            number("exclusiveMaximum", 4),
            number("maximum", 4),
            SUBSET,
            "`exclusiveMaximum` 4 is gone",
        ),
        (
            json!({ "type": "integer", "minimum": i64::MAX - 1 }),
            number("minimum", i64::MAX),
            SUPERSET,
            "`minimum` was",
        ),
        (
            json!({ "type": "integer", "format": "uint32", "minimum": 0 }),
            json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
            SUBSET,
            "`format` was",
        ),
        (
            json!({ "type": "integer", "multipleOf": 2 }),
            json!({ "type": "integer" }),
            SUBSET,
            "`multipleOf` 2 is gone",
        ),
        // Strings.
        (length("minLength", 0), text.clone(), NONE, ""),
        (text.clone(), length("maxLength", 3), SUPERSET, "`maxLength` 3 is new"),
        (
            text.clone(),
            json!({ "type": "string", "pattern": "a" }),
            SUPERSET,
            "`pattern` \"a\" is new",
        ),
        (
            text.clone(),
            json!({ "type": "string", "format": "date" }),
            [true, false, false, false],
            "`format` \"date\" is new",
        ),
        // Arrays.
        (list(text.clone()), list(json!({ "type": "null" })), BOTH, "/*: the type was string"),
        (
            json!({ "type": "array" }),
            json!({ "type": "array", "uniqueItems": true }),
            SUPERSET,
            "`uniqueItems` true is new",
        ),
        (tuple(json!([text, text]), 2), list(text.clone()), SUBSET, "`maxItems` 2 is gone"),
        (tuple(json!([text]), 1), tuple(json!([text, text]), 2), BOTH, "`minItems` was 1 and is 2"),
    ]
}

fn judge(a: &Value, b: &Value, used: Use) -> (bool, Vec<String>) {
    let changes = schemas("it", Some(a), Some(b), used);
    let narrows = changes.iter().any(|c| c.verdict == Verdict::Narrowing);
    (narrows, changes.iter().map(ToString::to_string).collect())
}

#[test]
fn every_change_has_its_verdict() {
    let mut wrong = Vec::new();
    for (a, b, expected, said) in rows() {
        let cases =
            [(&a, &b, Use::Sent), (&b, &a, Use::Sent), (&a, &b, Use::Read), (&b, &a, Use::Read)];
        for (n, (old, new, used)) in cases.into_iter().enumerate() {
            let (narrows, lines) = judge(old, new, used);
            let text_fits = n > 0
                || if said.is_empty() {
                    lines.is_empty()
                } else {
                    lines.iter().any(|l| l.contains(said))
                };
            if narrows != expected[n] || !text_fits {
                wrong.push(format!("{used:?} {old} -> {new}: {lines:#?}"));
            }
        }
        for schema in [a, b] {
            assert_eq!(judge(&schema, &schema, Use::Sent).1, [""; 0]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
