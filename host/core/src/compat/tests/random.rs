//! Properties over generated schemas of a small language, with a validator written for it alone:
//! what is said to break nothing breaks nothing.

use super::super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use std::cell::Cell;

const FIELDS: [&str; 3] = ["a", "b", "c"];

fn leaf() -> impl Strategy<Value = Value> {
    let bounds = (0_i64..3, 0_i64..3, any::<bool>()).prop_map(|(low, more, float)| {
        let kind = if float { "number" } else { "integer" };
        json!({ "type": kind, "minimum": low, "maximum": low + more })
    });
    let words = prop::sample::subsequence(vec!["x", "yy", "zzz"], 1..=3);
    prop_oneof![
        Just(json!(true)),
        Just(json!({ "type": "null" })),
        Just(json!({ "type": ["boolean", "null"] })),
        Just(json!({ "$ref": "#/$defs/shared" })),
        bounds,
        words.prop_map(|words| json!({ "enum": words })),
        (0_u64..3, 2_u64..4).prop_map(
            |(low, high)| json!({ "type": "string", "minLength": low, "maxLength": high })
        ),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let others = prop_oneof![
            3 => Just(None),
            1 => any::<bool>().prop_map(|b| Some(json!(b))),
            1 => inner.clone().prop_map(Some),
        ];
        let fields = prop::collection::btree_map(prop::sample::select(&FIELDS[..]), inner.clone(), 0..3);
        let needed = prop::sample::subsequence(FIELDS.to_vec(), 0..=3);
        let object = (fields, needed, others).prop_map(|(fields, mut needed, others)| {
            needed.retain(|name| fields.contains_key(name));
            let mut object = json!({ "type": "object", "properties": fields, "required": needed });
            if let Some(others) = others {
                object["additionalProperties"] = others;
            }
            object
        });
        let some = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            3 => object,
            1 => (inner.clone(), 0_u64..3)
                .prop_map(|(of, most)| json!({ "type": "array", "items": of, "maxItems": most })),
            1 => (some(), inner.clone())
                .prop_map(|(first, of)| json!({ "type": "array", "prefixItems": first, "items": of })),
            1 => some().prop_map(|of| json!({ "anyOf": of })),
            1 => some().prop_map(|of| json!({ "oneOf": of })),
            1 => some().prop_map(|of| json!({ "allOf": of })),
        ]
    })
}

/// A whole document: a schema and what its references mean.
fn document() -> impl Strategy<Value = Value> {
    (schema(), leaf()).prop_map(|(schema, shared)| {
        let shared = if shared.get("$ref").is_some() { json!({ "type": "null" }) } else { shared };
        json!({ "allOf": [schema], "$defs": { "shared": shared } })
    })
}

/// A change somewhere in a schema, so that old and new have something in common.
fn changed(schema: &Value, draw: &mut dyn FnMut(usize) -> usize) -> Value {
    let mut new = schema.clone();
    match &mut new {
        Value::Array(of) if !of.is_empty() => {
            let at = draw(of.len());
            of[at] = changed(&of[at], draw);
        }
        Value::Object(map) => {
            if map.contains_key("type") && draw(3) == 0 {
                return json!({ "anyOf": [schema, { "type": "null" }] });
            }
            for key in ["required", "additionalProperties", "maxItems", "minimum", "maxLength"] {
                if map.contains_key(key) && draw(3) == 0 {
                    map.remove(key);
                    return new;
                }
            }
            if let Some(words) = map.get_mut("enum").and_then(Value::as_array_mut) {
                if draw(2) == 0 {
                    words.push(json!("new"))
                } else {
                    drop(words.pop())
                }
                return new;
            }
            if let Some(fields) = map.get_mut("properties").and_then(Value::as_object_mut) {
                let name = FIELDS[draw(3)];
                let field =
                    fields.get(name).map_or(json!({ "type": "null" }), |f| changed(f, draw));
                fields.insert(name.into(), field);
                return new;
            }
            for key in ["allOf", "anyOf", "oneOf", "items"] {
                if let Some(of) = map.get_mut(key) {
                    *of = changed(of, draw);
                }
            }
        }
        _ => {}
    }
    new
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}

/// The validator: no more than the language above needs. With `named`, objects have no fields but
/// those that the schema they fit names or allows with `additionalProperties`.
fn valid(root: &Value, schema: &Value, value: &Value, named: bool) -> bool {
    let Value::Object(map) = schema else { return schema == true };
    let fits = |s: &Value, v: &Value| valid(root, s, v, named);
    let others = !named || map.contains_key("additionalProperties");
    map.iter().all(|(key, is_)| match (key.as_str(), value) {
        ("type", _) => match is_ {
            Value::Array(names) => names.iter().any(|n| is(value, n.as_str().unwrap())),
            name => is(value, name.as_str().unwrap()),
        },
        ("enum", _) => is_.as_array().unwrap().contains(value),
        ("$ref", _) => fits(&root["$defs"]["shared"], value),
        ("allOf", _) => is_.as_array().unwrap().iter().all(|s| fits(s, value)),
        ("anyOf", _) => is_.as_array().unwrap().iter().any(|s| fits(s, value)),
        ("oneOf", _) => is_.as_array().unwrap().iter().filter(|s| fits(s, value)).count() == 1,
        ("minimum", Value::Number(n)) => n.as_f64() >= is_.as_f64(),
        ("maximum", Value::Number(n)) => n.as_f64() <= is_.as_f64(),
        ("minLength", Value::String(s)) => s.len() as u64 >= is_.as_u64().unwrap(),
        ("maxLength", Value::String(s)) => s.len() as u64 <= is_.as_u64().unwrap(),
        ("maxItems", Value::Array(v)) => v.len() as u64 <= is_.as_u64().unwrap(),
        ("prefixItems", Value::Array(v)) => {
            is_.as_array().unwrap().iter().zip(v).all(|(s, v)| fits(s, v))
        }
        ("items", Value::Array(v)) => {
            let first = map.get("prefixItems").map_or(0, |p| p.as_array().unwrap().len());
            v.iter().skip(first).all(|v| fits(is_, v))
        }
        ("required", Value::Object(o)) => {
            is_.as_array().unwrap().iter().all(|n| o.contains_key(n.as_str().unwrap()))
        }
        ("properties", Value::Object(o)) => {
            o.iter().all(|(name, v)| is_.get(name).map_or(others, |s| fits(s, v)))
        }
        ("additionalProperties", Value::Object(o)) => {
            o.iter().all(|(n, v)| map["properties"].get(n).is_some() || fits(is_, v))
        }
        _ => true,
    })
}

/// An instance that has a good chance to be valid, without fields that nothing names.
fn instance(root: &Value, schema: &Value, draw: &mut dyn FnMut(usize) -> usize) -> Value {
    let some = [json!(null), json!(true), json!(1), json!(2.5), json!("x"), json!([]), json!({})];
    let Value::Object(map) = schema else { return some[draw(some.len())].clone() };
    if map.contains_key("$ref") {
        return instance(root, &root["$defs"]["shared"], draw);
    }
    if let Some(of) = ["enum", "allOf", "anyOf", "oneOf"].iter().find_map(|key| map.get(*key)) {
        let of = of.as_array().unwrap();
        if of.is_empty() {
            return json!(null);
        }
        let one = &of[draw(of.len())];
        return if map.contains_key("enum") { one.clone() } else { instance(root, one, draw) };
    }
    let low = map.get("minimum").map_or(0, |n| n.as_i64().unwrap());
    match map["type"].as_str().unwrap_or("boolean") {
        "null" => json!(null),
        "boolean" => some[draw(2)].clone(),
        "integer" => json!(low + draw(3) as i64),
        "number" => json!(low as f64 + draw(5) as f64 / 2.0),
        "string" => json!(["", "x", "yy", "zzz", "wwww"][draw(5)]),
        "array" => {
            let first =
                map.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
            let length = draw(4);
            let of = (0..length).map(|at| first.get(at).unwrap_or(&map["items"]));
            of.map(|s| instance(root, s, draw)).collect()
        }
        _ => {
            let mut object = serde_json::Map::new();
            for name in FIELDS {
                let others = || map.get("additionalProperties");
                if let Some(of) = map["properties"].get(name).or_else(others)
                    && draw(4) > 0
                {
                    object.insert(name.into(), instance(root, of, draw));
                }
            }
            Value::Object(object)
        }
    }
}

#[test]
fn what_breaks_nothing_breaks_nothing() {
    let (kept, checked) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config::with_cases(3_000));
    let cases = (document(), document(), prop::collection::vec(any::<u8>(), 400));
    let result = runner.run(&cases, |(old, other, bytes)| {
        let mut bytes = bytes.iter().cycle();
        let mut draw = |of: usize| usize::from(*bytes.next().unwrap()) % of;
        let new = match draw(5) {
            0 => other,
            1 => {
                let once = changed(&old, &mut draw);
                changed(&once, &mut draw)
            }
            _ => changed(&old, &mut draw),
        };
        let changes = schemas("it", Some(&old), Some(&new), Use::Sent);
        if new == old || changes.iter().any(|c| c.verdict == Verdict::Narrowing) {
            return Ok(());
        }
        kept.set(kept.get() + 1);
        for _ in 0..20 {
            let value = instance(&old, &old, &mut draw);
            if valid(&old, &old, &value, false) && valid(&old, &old, &value, true) {
                checked.set(checked.get() + 1);
                prop_assert!(
                    valid(&new, &new, &value, false),
                    "{value}\n{old}\n{new}\n{changes:?}"
                );
            }
        }
        Ok(())
    });
    result.unwrap();
    // Else the property would say little.
    assert!(kept.get() > 150 && checked.get() > 1_500, "{} {}", kept.get(), checked.get());
}

proptest! {
    #[test]
    fn a_schema_is_like_itself(schema in document()) {
        for used in [Use::Sent, Use::Read] {
            prop_assert_eq!(schemas("it", Some(&schema), Some(&schema), used), []);
        }
    }

    /// Copied, with its references under another name, a schema can still be compared; unless it
    /// has alternatives that exclude each other in ways that are not seen.
    #[test]
    fn another_spelling_breaks_nothing(schema in document()) {
        let text = schema.to_string().replace("shared", "renamed");
        prop_assume!(!text.contains("oneOf") && !text.contains("allOf\":[{\"allOf"));
        let other: Value = serde_json::from_str(&text).unwrap();
        let changes = schemas("it", Some(&schema), Some(&other), Use::Sent);
        let sure = changes.iter().filter(|c| c.detail != CANNOT).collect::<Vec<_>>();
        prop_assert!(sure.is_empty(), "{schema} {sure:?}");
    }
}
