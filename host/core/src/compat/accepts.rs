//! The comparison itself: whether every instance of one schema is an instance of another, and where
//! not. `super::schemas` asks in both directions.
//!
//! Invariant: a place without a finding that `breaks` is proven. A pair of schemas that is being
//! compared already holds by induction, since it is met again only deeper in the instance.

use super::expand::{Document, Node, field, fields, leaves, required, types, values, within};
use super::leaf;
use super::schema::{alike, below};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;

/// The detail of what is too complex to judge.
pub(super) const CANNOT: &str = "cannot be compared";

/// The deepest place in an instance that is looked at.
const MAX_DEPTH: usize = 64;

/// The most schemas that one comparison takes apart.
const BUDGET: u32 = 50_000;

/// Who is on the other side of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// People send it: what was valid has to stay valid.
    Sent,
    /// People read it: what comes has to be what could come before.
    Read,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) detail: String,
    /// Whether an instance of the one is none of the other; else it is only worth knowing.
    pub(super) breaks: bool,
}

/// Where an instance of the old schema is none of the new one; or, unless `sub_is_old`, the other
/// way round.
pub(super) fn differences(old: &Value, new: &Value, used: Use, sub_is_old: bool) -> Vec<Finding> {
    let budget = Cell::new(BUDGET);
    let (sub, sup) = if sub_is_old { (old, new) } else { (new, old) };
    let document = |root| Document { root, budget: &budget };
    let (of_sub, of_sup) = (document(sub), document(sup));
    let mut walk = Walk { sub: of_sub, sup: of_sup, used, sub_is_old, open: BTreeSet::new() };
    walk.schemas(sub, sup, "", 0)
}

/// One direction of a comparison: is every instance of `sub` one of `sup`?
struct Walk<'a> {
    sub: Document<'a>,
    sup: Document<'a>,
    used: Use,
    sub_is_old: bool,
    open: BTreeSet<(String, String)>,
}

impl Walk<'_> {
    fn schemas(&mut self, sub: &Value, sup: &Value, path: &str, depth: usize) -> Vec<Finding> {
        if alike((self.sub.root, sub), (self.sup.root, sup)) {
            return Vec::new();
        }
        if depth > MAX_DEPTH {
            return vec![breaks(path, CANNOT)];
        }
        let pair = (spelled(sub), spelled(sup));
        if !self.open.insert(pair.clone()) {
            return Vec::new();
        }
        let (subs, sups) = (self.sub.expand(sub, false), self.sup.expand(sup, true));
        let found = match (subs, sups) {
            (Some(subs), Some(sups)) => self.unions(&subs, &sups, path, depth),
            _ => vec![breaks(path, CANNOT)],
        };
        self.open.remove(&pair);
        found
    }

    /// Every alternative of the one has to fit into one of the other.
    fn unions(&mut self, subs: &[Node], sups: &[Node], path: &str, depth: usize) -> Vec<Finding> {
        if sups.iter().any(Node::is_empty) {
            return Vec::new();
        }
        if subs.iter().any(Node::is_empty) {
            let text = self.said("anything was allowed, and is no more", "anything is allowed now");
            return vec![breaks(path, text)];
        }
        if sups.is_empty() && !subs.is_empty() {
            let text =
                self.said("nothing is allowed any more", "nothing was allowed, and now some");
            return vec![breaks(path, text)];
        }
        let subs = leaves(subs);
        let mut found = Vec::new();
        for sub in &subs {
            let of_type = |node: &&Node| types(node).iter().any(|t| within(kind(sub), t));
            let typed: Vec<_> = sups.iter().filter(of_type).collect();
            if typed.is_empty() {
                found.push(breaks(path, &self.retyped(&subs, sups)));
                continue;
            }
            let apart = |node: &&&Node| self.sub.disjoint(sub, self.sup, node, 0);
            let mut near: Vec<_> = typed.iter().filter(|n| !apart(n)).copied().collect();
            let alone = subs.iter().filter(|s| kind(s) == kind(sub)).count() == 1;
            if near.is_empty() && alone && typed.len() == 1 && values(sub).is_none() {
                // They differ in a field, and it says more to name that.
                near.clone_from(&typed);
            }
            found.extend(self.one_of(sub, &near, path, depth));
        }
        found
    }

    fn one_of(&mut self, sub: &Node, near: &[&Node], path: &str, depth: usize) -> Vec<Finding> {
        let tries: Vec<_> = near.iter().map(|sup| self.nodes(sub, sup, path, depth)).collect();
        let fitting = tries.iter().filter(|found| found.iter().all(|f| !f.breaks));
        if let Some(found) = fitting.min_by_key(|found| found.len()) {
            return found.clone();
        }
        match tries.len() {
            0 => {
                let text = format!("{} is {}", leaf::named(sub), self.said("gone", "new"));
                vec![breaks(path, &text)]
            }
            1 => tries.into_iter().next().unwrap_or_default(),
            _ if near.iter().all(|sup| values(sup).is_some()) => {
                vec![breaks(path, leaf::listed(self.sub_is_old))]
            }
            _ => vec![breaks(path, CANNOT)],
        }
    }

    fn nodes(&mut self, sub: &Node, sup: &Node, path: &str, depth: usize) -> Vec<Finding> {
        // An optional format is a wish to whoever sends; whoever reads may ignore it.
        let formats = self.used == Use::Sent && self.sub_is_old;
        let mut found = leaf::compare(sub, sup, kind(sub), self.sub_is_old, formats, path);
        if values(sub).is_none() {
            match kind(sub) {
                "object" => found.extend(self.objects(sub, sup, path, depth)),
                "array" => found.extend(self.arrays(sub, sup, path, depth)),
                _ => {}
            }
        }
        found
    }

    fn objects(&mut self, sub: &Node, sup: &Node, path: &str, depth: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        let (old, new) = if self.sub_is_old { (sub, sup) } else { (sup, sub) };
        let needed: BTreeSet<_> = required(sub).collect();
        for name in required(sup).filter(|name| !needed.contains(name)) {
            let both = field(sub, name).is_some() && field(sup, name).is_some();
            let text = if both {
                self.said("the field is required now", "the field is no longer required")
            } else {
                field_text(old, new, name)
            };
            found.push(breaks(&below(path, name), text));
        }
        let (open, others) = (sub.get("additionalProperties"), sup.get("additionalProperties"));
        let names: BTreeSet<_> = fields(sub).chain(fields(sup)).map(|(name, _)| name).collect();
        for name in names {
            let path = below(path, name);
            let said = |breaks| Finding {
                path: path.clone(),
                detail: field_text(old, new, name).into(),
                breaks,
            };
            match (field(sub, name), field(sup, name), open, others) {
                (Some(a), Some(b), ..) => found.extend(self.schemas(a, b, &path, depth + 1)),
                (Some(a), None, _, Some(Value::Bool(false))) => {
                    found.push(said(*a != Value::Bool(false)));
                }
                (Some(a), None, _, Some(of)) => {
                    found.push(said(false));
                    found.extend(self.schemas(a, of, &path, depth + 1));
                }
                // A reader misses even an optional field that no longer comes.
                (None, Some(b), Some(of), _) if *of != Value::Bool(false) => {
                    found.push(said(self.used == Use::Read && !self.sub_is_old));
                    found.extend(self.schemas(of, b, &path, depth + 1));
                }
                (None, Some(_), ..) => {
                    found.push(said(self.used == Use::Read && !self.sub_is_old));
                }
                _ => found.push(said(false)),
            }
        }
        match (open, others) {
            (_, None | Some(Value::Bool(true))) | (Some(Value::Bool(false)), _) => {}
            (None | Some(Value::Bool(true)), Some(Value::Bool(false))) => {
                let text =
                    self.said("other fields are refused now", "other fields are allowed now");
                found.push(breaks(path, text));
            }
            (None, Some(_)) => {
                let text = self.said(
                    "other fields have to fit a schema now",
                    "other fields no longer have to fit a schema",
                );
                found.push(breaks(path, text));
            }
            (Some(a), Some(b)) => {
                found.extend(self.schemas(a, b, &format!("{path}/*"), depth + 1));
            }
        }
        found
    }

    fn arrays(&mut self, sub: &Node, sup: &Node, path: &str, depth: usize) -> Vec<Finding> {
        let (first, rest) = items(sub);
        let (sup_first, sup_rest) = items(sup);
        let most = sub.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let mut found = Vec::new();
        let named = first.len().max(sup_first.len());
        for at in (0..named).take_while(|at| (*at as u64) < most) {
            let a = first.get(at).unwrap_or(rest);
            let b = sup_first.get(at).unwrap_or(sup_rest);
            found.extend(self.schemas(a, b, &format!("{path}/{at}"), depth + 1));
        }
        if (named as u64) < most {
            found.extend(self.schemas(rest, sup_rest, &format!("{path}/*"), depth + 1));
        }
        found
    }

    fn retyped(&self, subs: &[Node], sups: &[Node]) -> String {
        let (old, new) = if self.sub_is_old { (subs, sups) } else { (sups, subs) };
        let list = |nodes: &[Node]| {
            let every: BTreeSet<_> = nodes.iter().flat_map(types).collect();
            every.into_iter().collect::<Vec<_>>().join(" or ")
        };
        format!("the type was {} and is {}", list(old), list(new))
    }

    /// The first when the old schema allows what the new one does not; the second the other way.
    fn said(&self, gone: &'static str, came: &'static str) -> &'static str {
        if self.sub_is_old { gone } else { came }
    }
}

pub(super) fn breaks(path: &str, detail: &str) -> Finding {
    Finding { path: path.into(), detail: detail.into(), breaks: true }
}

/// What is said of a field that only one side has.
fn field_text(old: &Node, new: &Node, name: &str) -> &'static str {
    let known = |node| field(node, name).is_some() || required(node).any(|n| n == name);
    if !known(new) {
        "the field is gone"
    } else if known(old) {
        "the field is described differently"
    } else if required(new).any(|n| n == name) {
        "the required field is new"
    } else {
        "the optional field is new"
    }
}

/// A schema as text, without the definitions that a root carries and its references do not.
fn spelled(schema: &Value) -> String {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.retain(|key, _| key != "$defs" && key != "definitions");
    }
    schema.to_string()
}

/// The type of a leaf.
fn kind(leaf: &Node) -> &str {
    types(leaf).first().copied().unwrap_or("null")
}

fn items(node: &Node) -> (&[Value], &Value) {
    let first = node.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    (first, node.get("items").unwrap_or(&Value::Bool(true)))
}
