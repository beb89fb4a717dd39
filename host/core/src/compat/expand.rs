//! Taking schemas apart: references, `allOf`, `anyOf` and `oneOf` become a list of nodes, one of
//! which an instance has to fit, without any of these keywords. [`super::accepts`] compares nodes.
//!
//! Invariant: the nodes together allow exactly what the schema allows; only where `exact` is not
//! asked for they may allow more, because a `oneOf` is then taken for an `anyOf`.

use super::schema::{order, resolve, same_value};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::cmp::Ordering;

/// A schema without references and unions; `const` is an `enum` of one.
pub(super) type Node = Map<String, Value>;

/// The most nodes that one schema may become.
const MAX_NODES: usize = 256;

/// How deep references and unions nest, and how deep fields are searched for a difference.
const MAX_NESTING: usize = 32;

/// The types by their names.
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// A schema document, and how much work its comparison may still be.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) root: &'a Value,
    pub(super) budget: &'a Cell<u32>,
}

impl Document<'_> {
    /// The nodes of a schema; `None` where it cannot be taken apart.
    pub(super) fn expand(self, schema: &Value, exact: bool) -> Option<Vec<Node>> {
        self.nodes(schema, exact, 0)
    }

    fn nodes(self, schema: &Value, exact: bool, depth: usize) -> Option<Vec<Node>> {
        self.budget.set(self.budget.get().checked_sub(1)?);
        if depth > MAX_NESTING {
            return None;
        }
        let map = match schema {
            Value::Bool(true) => return Some(vec![Node::new()]),
            Value::Bool(false) => return Some(Vec::new()),
            Value::Object(map) => map,
            _ => return None,
        };
        let mut base = Node::new();
        let mut unions = Vec::new();
        for (key, value) in map {
            let each = || -> Option<Vec<Vec<Node>>> {
                value.as_array()?.iter().map(|s| self.nodes(s, exact, depth + 1)).collect()
            };
            match key.as_str() {
                "$defs" | "definitions" => {}
                "$ref" => {
                    unions.push(self.nodes(
                        resolve(self.root, value.as_str()?)?,
                        exact,
                        depth + 1,
                    )?);
                }
                "allOf" => unions.extend(each()?),
                "anyOf" => unions.push(each()?.concat()),
                "oneOf" => {
                    let parts = each()?;
                    if exact && !self.apart(&parts, depth) {
                        return None;
                    }
                    unions.push(parts.concat());
                }
                "const" => unions.push(vec![Node::from_iter([("enum".into(), json!([value]))])]),
                _ if readable(key, value) => {
                    base.insert(key.clone(), value.clone());
                }
                _ => return None,
            }
        }
        let mut nodes = vec![base];
        for union in unions {
            if nodes.len() * union.len() > MAX_NODES {
                return None;
            }
            let pairs = nodes.iter().flat_map(|a| union.iter().map(move |b| merged(a, b)));
            nodes = pairs.collect::<Option<_>>()?;
        }
        Some(nodes)
    }

    /// Whether no instance fits two of these.
    fn apart(self, parts: &[Vec<Node>], depth: usize) -> bool {
        parts.iter().enumerate().all(|(i, part)| {
            parts[..i]
                .iter()
                .flatten()
                .all(|a| part.iter().all(|b| self.disjoint(a, self, b, depth)))
        })
    }

    /// Whether it is certain that no instance fits both.
    pub(super) fn disjoint(self, a: &Node, other: Self, b: &Node, depth: usize) -> bool {
        let (a_types, b_types) = (types(a), types(b));
        let common = |t: &&str| b_types.iter().any(|u| within(t, u) || within(u, t));
        if !a_types.iter().any(common) {
            return true;
        }
        if let (Some(a), Some(b)) = (values(a), values(b)) {
            let flat = |v: &Value| !v.is_array() && !v.is_object();
            return a.iter().all(|a| flat(a) && b.iter().all(|b| flat(b) && !same_value(a, b)));
        }
        if a_types != ["object"] || b_types != ["object"] {
            return false;
        }
        let closed = |node: &Node| node.get("additionalProperties") == Some(&Value::Bool(false));
        required(a).chain(required(b)).any(|name| match (field(a, name), field(b, name)) {
            (Some(x), Some(y)) => {
                let of = |document: Self, schema| document.nodes(schema, false, depth + 1);
                let (Some(x), Some(y)) = (of(self, x), of(other, y)) else { return false };
                x.iter().all(|x| y.iter().all(|y| self.disjoint(x, other, y, depth + 1)))
            }
            (None, _) if closed(a) => true,
            (_, None) if closed(b) => true,
            _ => false,
        })
    }
}

/// Whether the keyword is one that this module understands, and its value is well-formed.
fn readable(key: &str, value: &Value) -> bool {
    let named = |v: &Value| v.as_str().is_some_and(|name| TYPES.contains(&name));
    let all =
        |check: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|v| v.iter().all(check));
    match key {
        "type" => named(value) || all(&named),
        "required" => all(&Value::is_string),
        "enum" | "prefixItems" => value.is_array(),
        "properties" => value.is_object(),
        "items" | "additionalProperties" => value.is_object() || value.is_boolean(),
        "uniqueItems" => value.is_boolean(),
        "pattern" | "format" => value.is_string(),
        "multipleOf" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
        | "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
        | "maxProperties" => value.is_number(),
        _ => false,
    }
}

/// What fits both; `None` where one node cannot say it.
fn merged(a: &Node, b: &Node) -> Option<Node> {
    let strict = |n: &Node| n.get("additionalProperties").is_some_and(|v| *v != Value::Bool(true));
    let names_all = |a: &Node, b: &Node| fields(b).all(|(name, _)| field(a, name).is_some());
    let items = |n: &Node| (n.get("prefixItems").cloned(), n.get("items").cloned());
    let (a_items, b_items) = (items(a), items(b));
    // These keywords mean "the others", so they cannot move to a node that names more.
    if (strict(a) && !names_all(a, b))
        || (strict(b) && !names_all(b, a))
        || (a_items != b_items && a_items != (None, None) && b_items != (None, None))
    {
        return None;
    }
    let mut both = a.clone();
    for (key, theirs) in b {
        let Some(ours) = both.get_mut(key) else {
            both.insert(key.clone(), theirs.clone());
            continue;
        };
        if ours == theirs {
            continue;
        }
        match key.as_str() {
            "type" => {
                let (ours_are, theirs_are) = (names(ours), names(theirs));
                let pairs = ours_are.iter().flat_map(|t| theirs_are.iter().map(move |u| (t, u)));
                let mut meet: Vec<_> =
                    pairs
                        .filter_map(|(t, u)| {
                            if within(t, u) { Some(*t) } else { within(u, t).then_some(*u) }
                        })
                        .collect();
                meet.dedup();
                *ours = json!(meet);
            }
            "enum" => {
                let theirs = theirs.as_array()?;
                ours.as_array_mut()?.retain(|v| theirs.iter().any(|t| same_value(v, t)));
            }
            "required" => ours.as_array_mut()?.extend(theirs.as_array()?.iter().cloned()),
            "properties" => {
                let ours = ours.as_object_mut()?;
                for (name, schema) in theirs.as_object()? {
                    let schema = match ours.get(name) {
                        Some(own) if own != schema => json!({ "allOf": [own, schema] }),
                        _ => schema.clone(),
                    };
                    ours.insert(name.clone(), schema);
                }
            }
            "uniqueItems" => *ours = Value::Bool(true),
            _ => {
                let tighter = if key.to_ascii_lowercase().contains("min") {
                    Ordering::Less
                } else if key.to_ascii_lowercase().contains("max") {
                    Ordering::Greater
                } else {
                    return None;
                };
                let (Value::Number(x), Value::Number(y)) = (&*ours, theirs) else { return None };
                if order(x, y)? == tighter {
                    *ours = theirs.clone();
                }
            }
        }
    }
    Some(both)
}

/// The node by types and values, so that each part has one type or is one value.
pub(super) fn leaves(nodes: &[Node]) -> Vec<Node> {
    let mut leaves = Vec::new();
    for node in nodes {
        if let Some(values) = values(node) {
            // Other keywords beside values can only exclude some, so leaving them is no loss.
            leaves.extend(values.iter().map(|v| Node::from_iter([("enum".into(), json!([v]))])));
            continue;
        }
        for name in types(node) {
            let mut leaf = node.clone();
            leaf.insert("type".into(), Value::String(name.into()));
            leaves.push(leaf);
        }
    }
    leaves
}

/// The values that a node lists, if it does, as far as they have one of its types.
pub(super) fn values(node: &Node) -> Option<Vec<&Value>> {
    let listed = node.get("enum")?.as_array()?;
    let Some(types) = node.get("type").map(names) else { return Some(listed.iter().collect()) };
    Some(listed.iter().filter(|v| types.iter().any(|t| within(type_of(v), t))).collect())
}

/// The types that instances of a node may have.
pub(super) fn types(node: &Node) -> Vec<&str> {
    if let Some(values) = values(node) {
        let mut types: Vec<_> = values.into_iter().map(type_of).collect();
        types.sort_unstable();
        types.dedup();
        return types;
    }
    let every = || TYPES.into_iter().filter(|t| *t != "integer").collect();
    node.get("type").map_or_else(every, names)
}

fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

/// Whether every instance of the one type has the other.
pub(super) fn within(name: &str, other: &str) -> bool {
    name == other || (name == "integer" && other == "number")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.as_f64().is_none_or(|f| f.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The names of the fields that have to be there.
pub(super) fn required(node: &Node) -> impl Iterator<Item = &str> {
    node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The fields with their schemas.
pub(super) fn fields(node: &Node) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The schema of a field.
pub(super) fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Value> {
    node.get("properties")?.get(name)
}
