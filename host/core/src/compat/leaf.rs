//! The keywords that look at one value and not into it: bounds, lengths, patterns, formats, lists of
//! values. [`super::accepts`] calls this for two nodes whose types fit.

use super::accepts::{CANNOT, Finding, breaks};
use super::expand::{Node, field, required, values};
use super::schema::{order, same_value};
use serde_json::Value;
use std::cmp::Ordering;

/// Bounds from below and from above, by the type that they are for.
const BOUNDS: [(&str, &str, &str); 5] = [
    ("number", "minimum", "maximum"),
    ("number", "exclusiveMinimum", "exclusiveMaximum"),
    ("string", "minLength", "maxLength"),
    ("array", "minItems", "maxItems"),
    ("object", "minProperties", "maxProperties"),
];

/// Formats of numbers, and those that each is a part of.
const WIDER: [(&str, &[&str]); 8] = [
    ("int8", &["int16", "int32", "int64", "int"]),
    ("int16", &["int32", "int64", "int"]),
    ("int32", &["int64", "int"]),
    ("uint8", &["uint16", "uint32", "uint64", "uint", "int16", "int32", "int64", "int"]),
    ("uint16", &["uint32", "uint64", "uint", "int32", "int64", "int"]),
    ("uint32", &["uint64", "uint", "int64", "int"]),
    ("float", &["double"]),
    ("int64", &["int"]),
];

/// Where an instance of the leaf `sub` may not be one of `sup`, for the keywords of this module.
/// `formats` says whether the formats of strings count.
pub(super) fn compare(
    sub: &Node,
    sup: &Node,
    kind: &str,
    sub_is_old: bool,
    formats: bool,
    path: &str,
) -> Vec<Finding> {
    if let Some(listed) = values(sub) {
        let fits = listed.iter().all(|value| fits(value, sup, kind, formats));
        return if fits { Vec::new() } else { vec![breaks(path, CANNOT)] };
    }
    let mut found = Vec::new();
    if values(sup).is_some() {
        found.push(breaks(path, listed(sub_is_old)));
    }
    let mut differs = |key: &str| {
        let (old, new) = if sub_is_old { (sub, sup) } else { (sup, sub) };
        found.push(breaks(path, &changed(key, old.get(key), new.get(key))));
    };
    let kind = if kind == "integer" { "number" } else { kind };
    for (_, low, high) in BOUNDS.iter().filter(|(of, ..)| *of == kind) {
        for (key, inside) in [(low, Ordering::Greater), (high, Ordering::Less)] {
            if sup.get(*key).is_some_and(|bound| !bounded(sub, key, bound, inside)) {
                differs(key);
            }
        }
    }
    let unique = |node: &Node| node.get("uniqueItems") == Some(&Value::Bool(true));
    if kind == "array" && unique(sup) && !unique(sub) {
        differs("uniqueItems");
    }
    let exact = match kind {
        "string" => "pattern",
        "number" => "multipleOf",
        _ => return found,
    };
    if sup.contains_key(exact) && sup.get(exact) != sub.get(exact) {
        differs(exact);
    }
    if (kind == "number" || formats) && !format_fits(sub.get("format"), sup.get("format")) {
        differs("format");
    }
    found
}

/// Whether `sub` has a bound that is at least as strict as this one.
fn bounded(sub: &Node, key: &str, bound: &Value, inside: Ordering) -> bool {
    let Value::Number(bound) = bound else { return false };
    // No length is below zero.
    if key.starts_with("min") && key != "minimum" && bound.as_f64() == Some(0.0) {
        return true;
    }
    let (plain, exclusive) = match key {
        "minimum" | "exclusiveMinimum" => ("minimum", "exclusiveMinimum"),
        "maximum" | "exclusiveMaximum" => ("maximum", "exclusiveMaximum"),
        length => (length, ""),
    };
    let compared = |of: &str| match sub.get(of) {
        Some(Value::Number(own)) => order(own, bound),
        _ => None,
    };
    let equal_is_inside = key == plain;
    compared(plain).is_some_and(|o| o == inside || (equal_is_inside && o == Ordering::Equal))
        || compared(exclusive).is_some_and(|o| o == inside || o == Ordering::Equal)
}

fn format_fits(sub: Option<&Value>, sup: Option<&Value>) -> bool {
    let (Some(sup), sub) = (sup.and_then(Value::as_str), sub.and_then(Value::as_str)) else {
        return true;
    };
    let wider = |(of, into): &(&str, &[&str])| Some(*of) == sub && into.contains(&sup);
    sub == Some(sup) || WIDER.iter().any(wider)
}

/// Whether a value is certainly an instance.
fn fits(value: &Value, sup: &Node, kind: &str, formats: bool) -> bool {
    if let Some(listed) = values(sup) {
        // A list beside bounds may name values that the bounds exclude.
        let only = sup.keys().all(|key| key == "enum" || key == "type");
        return only && listed.iter().any(|v| same_value(v, value));
    }
    let known: &[&str] = match (kind, value) {
        ("null" | "boolean", _) => return true,
        ("string", Value::String(text)) => {
            let length = text.chars().count().into();
            if !in_bounds(&length, sup, "string") {
                return false;
            }
            &["pattern"]
        }
        (_, Value::Number(number)) => {
            if !in_bounds(number, sup, "number") {
                return false;
            }
            &["multipleOf", "format"]
        }
        _ => return sup.keys().all(|key| key == "type"),
    };
    let strict = formats && sup.contains_key("format");
    !strict && !known.iter().any(|key| sup.contains_key(*key))
}

fn in_bounds(number: &serde_json::Number, sup: &Node, kind: &str) -> bool {
    BOUNDS.iter().filter(|(of, ..)| *of == kind).all(|(_, low, high)| {
        [(low, Ordering::Greater), (high, Ordering::Less)].iter().all(|(key, inside)| {
            let Some(Value::Number(bound)) = sup.get(**key) else { return true };
            let compared = order(number, bound);
            let at = compared == Some(Ordering::Equal) && !key.starts_with("exclusive");
            compared == Some(*inside) || at
        })
    })
}

/// What is said where only listed values are allowed on one side.
pub(super) fn listed(sub_is_old: bool) -> &'static str {
    if sub_is_old { "only listed values are allowed now" } else { "more than listed values now" }
}

fn changed(key: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    match (old, new) {
        (None, Some(new)) => format!("`{key}` {} is new", short(new)),
        (Some(old), None) => format!("`{key}` {} is gone", short(old)),
        (Some(old), Some(new)) => format!("`{key}` was {} and is {}", short(old), short(new)),
        (None, None) => CANNOT.into(),
    }
}

/// What to call an alternative: its value, or the field by which it is told from others.
pub(super) fn named(leaf: &Node) -> String {
    if let Some([value]) = values(leaf).as_deref() {
        return format!("the value {}", short(value));
    }
    for name in required(leaf) {
        let tag = field(leaf, name).and_then(|schema| {
            schema.get("const").or_else(|| match schema.get("enum")?.as_array()?.as_slice() {
                [one] => Some(one),
                _ => None,
            })
        });
        if let Some(tag) = tag {
            return format!("the alternative with `{name}` {}", short(tag));
        }
    }
    match required(leaf).collect::<Vec<_>>()[..] {
        [name] => format!("the alternative `{name}`"),
        _ => "an alternative".into(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
