//! Compatibility of interfaces: what changes for the people who start runs, send events and read
//! outputs, and for the operator who grants hosts and secrets, when one build of a module takes the
//! place of another. Whoever deploys a module asks here; nothing is decided here.
//!
//! Invariant: what cannot be shown to be compatible is [`Verdict::Narrowing`]. One thing is taken
//! for granted: nobody sends fields that the schema, or the alternative that is meant, does not
//! name, unless it has `additionalProperties`. Else every new optional field would break someone.

mod accepts;
mod expand;
mod leaf;
mod schema;
#[cfg(test)]
mod tests;

use crate::manifest::{Manifest, TaskDefinition, WorkflowDefinition};
use accepts::{CANNOT, Finding, Use, differences};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most changes that are listed one by one.
const MAX_CHANGES: usize = 100;

/// One change of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What changed: `input`, `output`, ``event `paid` ``, `events`, `grant` or, for the rest of a
    /// long list, `more`.
    pub what: String,
    /// Where in it, like a JSON pointer (`*` is any item or any other field); empty for the whole.
    pub path: String,
    /// What is different, in a few words.
    pub detail: String,
    /// What it means.
    pub verdict: Verdict,
}

/// What a change means for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What worked still works.
    Compatible,
    /// What worked may fail.
    Narrowing,
    /// A task asks for something that it could not reach before.
    Grant,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compatible => "compatible",
            Self::Narrowing => "narrowing",
            Self::Grant => "grant",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, detail, verdict } = self;
        let gap = if path.is_empty() { "" } else { " " };
        write!(f, "{verdict}: {what}{gap}{path}: {detail}")
    }
}

/// What changed in the input, the output and the events of a workflow.
#[must_use]
pub fn workflow(old: &WorkflowDefinition, new: &WorkflowDefinition) -> Vec<Change> {
    limited(interface(old, new))
}

/// Every host and secret that a task of `new` asks for and the task of this name in `old` did not.
#[must_use]
pub fn grants(old: &Manifest, new: &Manifest) -> Vec<Change> {
    limited(asked(old, new))
}

/// Both: [`workflow`] and [`grants`]. What matters most comes first.
#[must_use]
pub fn compare(
    old: (&Manifest, &WorkflowDefinition),
    new: (&Manifest, &WorkflowDefinition),
) -> Vec<Change> {
    let mut changes = interface(old.1, new.1);
    changes.extend(asked(old.0, new.0));
    limited(changes)
}

fn interface(old: &WorkflowDefinition, new: &WorkflowDefinition) -> Vec<Change> {
    let mut changes = schemas("input", old.input.as_ref(), new.input.as_ref(), Use::Sent);
    changes.extend(schemas("output", old.output.as_ref(), new.output.as_ref(), Use::Read));
    match (&old.events, &new.events) {
        (None, None) => {}
        (None, Some(_)) => changes.push(change(
            "events",
            "any event was taken, and now only those that are declared",
            Verdict::Narrowing,
        )),
        (Some(_), None) => {
            changes.push(change("events", "any event is taken now", Verdict::Compatible));
        }
        (Some(old), Some(new)) => events(old, new, &mut changes),
    }
    changes
}

fn events(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>, changes: &mut Vec<Change>) {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let what = format!("event `{name}`");
        match (old.get(name), new.get(name)) {
            (Some(_), None) => {
                changes.push(change(&what, "the event is gone", Verdict::Narrowing));
            }
            (None, _) => changes.push(change(&what, "the event is new", Verdict::Compatible)),
            (old, new) => changes.extend(schemas(&what, old, new, Use::Sent)),
        }
    }
}

/// The changes of one schema: first what breaks, then, the other way round, what is new.
fn schemas(what: &str, old: Option<&Value>, new: Option<&Value>, used: Use) -> Vec<Change> {
    let clean = |schema: Option<&Value>| schema.map_or(Value::Bool(true), schema::canonical);
    let (old, new) = (clean(old), clean(new));
    let (mut seen, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mut changes = Vec::new();
    let mut add = |found: Finding, verdict| {
        if seen.insert((found.path.clone(), found.detail.clone())) {
            let Finding { path, detail, .. } = found;
            changes.push(Change { what: what.into(), path, detail, verdict });
        }
    };
    for found in differences(&old, &new, used, used == Use::Sent) {
        if found.breaks {
            places.insert(found.path.clone());
            add(found, Verdict::Narrowing);
        }
    }
    for mut found in differences(&old, &new, used, used == Use::Read) {
        if found.detail == CANNOT {
            if places.contains(&found.path) {
                continue;
            }
            found.detail = "it is different, in a way that breaks nothing".into();
        }
        add(found, Verdict::Compatible);
    }
    changes
}

fn asked(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    for task in &new.tasks {
        let before = old.task(&task.name);
        let had_host =
            |host: &String| before.is_some_and(|t| t.grants.hosts.iter().any(|h| covers(h, host)));
        let had_secret = |name: &String| before.is_some_and(|t| t.grants.secrets.contains(name));
        for host in task.grants.hosts.iter().filter(|h| !had_host(h)) {
            changes.push(asks(task, "host", host));
        }
        for name in task.grants.secrets.iter().filter(|n| !had_secret(n)) {
            changes.push(asks(task, "secret", name));
        }
    }
    changes
}

fn asks(task: &TaskDefinition, kind: &str, name: &str) -> Change {
    Change {
        what: "grant".into(),
        path: format!("{}/{kind}s", schema::below("/tasks", &task.name)),
        detail: format!("task `{}` asks for the {kind} `{name}`", task.name),
        verdict: Verdict::Grant,
    }
}

/// Whether the host that was granted includes this one: `name` is ports 80 and 443, `name:*` all.
fn covers(granted: &str, host: &str) -> bool {
    if granted == host || granted.strip_suffix(":*") == Some(host) {
        return true;
    }
    host.rsplit_once(':').is_some_and(|(name, port)| {
        granted.strip_suffix(":*") == Some(name)
            || (granted == name && matches!(port, "80" | "443"))
    })
}

fn change(what: &str, detail: &str, verdict: Verdict) -> Change {
    Change { what: what.into(), path: String::new(), detail: detail.into(), verdict }
}

/// The grave ones first, and of a long list the rest in one.
fn limited(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|c| Reverse(c.verdict));
    if changes.len() > MAX_CHANGES {
        let rest = changes.split_off(MAX_CHANGES);
        // Grants come first, so a list of nothing else shows them already; what narrows must show.
        let narrows = rest.iter().any(|c| c.verdict == Verdict::Narrowing);
        let verdict = if narrows { Verdict::Narrowing } else { rest[0].verdict };
        changes.push(change("more", &format!("{} more changes", rest.len()), verdict));
    }
    changes
}
