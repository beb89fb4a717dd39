//! Where two JSON values differ, path by path. Divergences and comparisons of runs show it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most places that one comparison lists.
const MOST: usize = 20;
/// How much of a value is shown.
const MOST_CHARS: usize = 200;

/// A place where two values differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unequal {
    /// A path such as `input.user.id` or `input.rows[3]`.
    pub path: String,
    /// The one side; `null` when it has nothing there.
    pub left: String,
    /// The other side.
    pub right: String,
}

/// The first places where two values differ, at most 20. `path` is what the values are called.
#[must_use]
pub fn unequal(path: &str, left: &Value, right: &Value) -> Vec<Unequal> {
    let mut found = Vec::new();
    collect(path, left, right, &mut found);
    found
}

fn collect(path: &str, left: &Value, right: &Value, found: &mut Vec<Unequal>) {
    use Value::{Array, Null, Object};
    if left == right || found.len() >= MOST {
        return;
    }
    match (left, right) {
        (Object(a), Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let side = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Null);
                collect(&format!("{path}.{key}"), &side(a), &side(b), found);
            }
        }
        (Array(a), Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let side = |list: &[Value]| list.get(i).cloned().unwrap_or(Null);
                collect(&format!("{path}[{i}]"), &side(a), &side(b), found);
            }
        }
        _ => found.push(Unequal {
            path: path.to_owned(),
            left: shortened(&left.to_string()),
            right: shortened(&right.to_string()),
        }),
    }
}

pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= MOST_CHARS {
        return text.to_owned();
    }
    text.chars().take(MOST_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_have_paths() {
        let left = json!({"a": [1, 2], "b": {"c": "x"}, "same": true});
        let right = json!({"a": [1, 3, 4], "b": 5, "same": true});
        let found: Vec<_> = unequal("it", &left, &right)
            .into_iter()
            .map(|it| format!("{}: {} | {}", it.path, it.left, it.right))
            .collect();
        assert_eq!(found, ["it.a[1]: 2 | 3", "it.a[2]: null | 4", "it.b: {\"c\":\"x\"} | 5"]);
        assert_eq!(unequal("it", &left, &left), []);
    }

    #[test]
    fn a_report_is_bounded() {
        let many = |n: u64| Value::from((0..100).map(|i| i + n).collect::<Vec<u64>>());
        assert_eq!(unequal("it", &many(0), &many(1)).len(), 20);
        let long = unequal("it", &json!("a".repeat(1_000)), &json!("b"));
        assert_eq!(long[0].left.chars().count(), 201);
    }
}
