//! Tests of the comparison of interfaces: a table of changes with their verdicts, the rules around
//! schemas, and properties of generated schemas.
#![allow(clippy::unwrap_used)]

mod random;
mod table;

use super::*;
use serde_json::json;

fn definition(input: Value) -> WorkflowDefinition {
    serde_json::from_value(json!({ "name": "w", "version": "1", "input": input })).unwrap()
}

fn manifest(tasks: Value) -> Manifest {
    serde_json::from_value(json!({ "format": 1, "workflows": [], "tasks": tasks })).unwrap()
}

fn with(field: &str, value: Value) -> WorkflowDefinition {
    serde_json::from_value(json!({ "name": "w", "version": "1", field: value })).unwrap()
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn events_are_declared_or_any() {
    let paid = with("events", json!({ "paid": { "type": "string" } }));
    let any = definition(Value::Null);
    let seen = |old, new| lines(&workflow(old, new));
    assert_eq!(
        seen(&any, &paid),
        ["narrowing: events: any event was taken, and now only those that are declared"]
    );
    assert_eq!(seen(&paid, &any), ["compatible: events: any event is taken now"]);
    let other = with("events", json!({ "paid": { "type": "integer" }, "sent": true }));
    assert_eq!(
        seen(&paid, &other),
        [
            "narrowing: event `paid`: the type was string and is integer",
            "compatible: event `sent`: the event is new"
        ]
    );
    let none = with("events", json!({}));
    assert_eq!(seen(&paid, &none), ["narrowing: event `paid`: the event is gone"]);
}

#[test]
fn a_missing_schema_is_anything() {
    let (any, text) = (definition(Value::Null), json!({ "type": "string" }));
    for (field, first, second) in [
        ("input", Verdict::Narrowing, Verdict::Compatible),
        ("output", Verdict::Compatible, Verdict::Narrowing),
    ] {
        let some = with(field, text.clone());
        let verdicts = |old, new| workflow(old, new).iter().map(|c| c.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&any, &some), [first], "{field}");
        assert_eq!(verdicts(&some, &any), [second], "{field}");
        assert_eq!(workflow(&any, &with(field, json!({ "title": "x" }))), []);
    }
}

#[test]
fn only_new_grants_are_listed() {
    let old = manifest(json!([
        { "name": "a", "grants": { "hosts": ["x", "y:*"], "secrets": ["s"] } },
        { "name": "b" }
    ]));
    let new = manifest(json!([
        { "name": "a", "grants": { "hosts": ["x", "x:443", "x:81", "y:5", "y", "z"], "secrets": [] } },
        { "name": "b", "grants": { "secrets": ["s"] } },
        { "name": "c/d", "grants": { "hosts": ["x"] } }
    ]));
    assert_eq!(
        lines(&grants(&old, &new)),
        [
            "grant: grant /tasks/a/hosts: task `a` asks for the host `x:81`",
            "grant: grant /tasks/a/hosts: task `a` asks for the host `z`",
            "grant: grant /tasks/b/secrets: task `b` asks for the secret `s`",
            "grant: grant /tasks/c~1d/hosts: task `c/d` asks for the host `x`",
        ]
    );
    assert_eq!(grants(&new, &new), []);
    let (before, after) = (definition(Value::Null), definition(json!(false)));
    let both = compare((&old, &before), (&new, &after));
    assert_eq!(both.len(), 5);
    assert_eq!(both[4].verdict, Verdict::Narrowing);
}

#[test]
fn a_long_list_ends_with_the_rest() {
    let fields = |kind: &str| {
        let of: serde_json::Map<_, _> =
            (0..150).map(|n| (format!("f{n}"), json!({ "type": kind }))).collect();
        definition(json!({ "type": "object", "properties": of }))
    };
    let changes = workflow(&fields("string"), &fields("null"));
    assert_eq!(changes.len(), 101);
    assert_eq!(changes[100].to_string(), "narrowing: more: 50 more changes");
}

#[test]
fn recursion_ends_and_is_looked_into() {
    let tree = |kind: &str| {
        json!({ "$ref": "#/$defs/Tree%3C1%3E", "$defs": { "Tree<1>": { "type": "object",
            "properties": { "value": { "type": kind },
                "children": { "type": "array", "items": { "$ref": "#/$defs/Tree%3C1%3E" } } } } } })
    };
    let seen = |old, new| lines(&workflow(&definition(old), &definition(new)));
    assert_eq!(seen(tree("string"), tree("string")), [""; 0]);
    assert_eq!(
        seen(tree("string"), tree("integer")),
        ["narrowing: input /value: the type was string and is integer"]
    );
    assert_eq!(
        seen(tree("integer"), tree("number")),
        ["compatible: input /value: the type was integer and is number"]
    );
    // A reference that only leads to itself says nothing, and ends all the same.
    let circle = |extra| {
        json!({ "$ref": "#/$defs/a", "$defs": { "b": extra,
        "a": { "anyOf": [{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/b" }] } } })
    };
    assert_eq!(
        seen(circle(json!({ "type": "null" })), circle(json!({ "type": "string" }))),
        ["narrowing: input: cannot be compared"]
    );
    // 2^40 alternatives, if they were all taken apart.
    let mut defs = serde_json::Map::new();
    for n in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
        defs.insert(format!("d{n}"), json!({ "allOf": [next, next] }));
    }
    let wide = |kind: &str| json!({ "$ref": "#/$defs/d0", "$defs": defs, "type": kind });
    assert_eq!(seen(wide("null"), wide("string")), ["narrowing: input: cannot be compared"]);
}

#[test]
fn changes_are_stored_in_words() {
    let change = change("input", "x", Verdict::Narrowing);
    let stored = serde_json::to_value(&change).unwrap();
    assert_eq!(
        stored,
        json!({ "what": "input", "path": "", "detail": "x", "verdict": "narrowing" })
    );
    assert_eq!(serde_json::from_value::<Change>(stored).unwrap(), change);
}
