//! The OpenAPI document. Paths come from the handlers themselves; the shapes of bodies come from
//! `schemas.json`, written by hand because the core, which owns these shapes, knows nothing of HTTP.
//! The API's tests check real answers against it.

use serde_json::Value;
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};

/// The JSON Schemas of all bodies, by name.
const SCHEMAS: &str = include_str!("schemas.json");

/// The document before the routes are added.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("Everstep", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Durable workflows. Times are RFC 3339 in UTC; durations are milliseconds in fields that \
         end in `_ms`; errors are problem details (RFC 9457) with a stable `code` and a `fix`."
            .into(),
    );
    OpenApiBuilder::new().info(info).build()
}

/// The whole document.
pub(super) fn document(description: OpenApi) -> Value {
    let mut document = serde_json::to_value(description).unwrap_or_default();
    document["components"]["schemas"] = serde_json::from_str(SCHEMAS).unwrap_or_default();
    document
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::described;
    use super::*;
    use std::collections::BTreeSet;

    fn whole() -> Value {
        document(described().split_for_parts().1)
    }

    /// All `$ref`s below a value.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_shape_that_is_used_is_there_and_every_shape_is_used() {
        let document = whole();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let shapes = document["components"]["schemas"].as_object().unwrap();
        let there: BTreeSet<String> =
            shapes.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(used, there);
    }

    #[test]
    fn operations_have_names_of_their_own_and_say_how_they_fail() {
        let document = whole();
        let mut names = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                if path.starts_with("/v1") {
                    let problem = &operation["responses"]["default"]["content"];
                    let media_types = problem.as_object().unwrap();
                    let is_problem = media_types.contains_key("application/problem+json");
                    assert!(is_problem, "{method} {path}: {problem}");
                }
            }
        }
    }
}
