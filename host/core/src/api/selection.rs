//! Which runs a request is about: the filters that lists and bulk actions share. One more condition
//! is a field here, and a parameter of the list.

use crate::{StateKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Conditions that must all hold; without any, every run is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSelection {
    /// Of this workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Of this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// In one of these states; in any when empty.
    #[serde(rename = "state", skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StateKind>,
    /// With all of these tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Failed with this code, or stuck by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// Children of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<crate::RunId>,
    /// Started at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_after: Option<Timestamp>,
    /// Started before this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_before: Option<Timestamp>,
    /// Something last happened at this instant or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_after: Option<Timestamp>,
    /// Nothing has happened since this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_before: Option<Timestamp>,
}

impl RunSelection {
    /// Whether it says nothing, and so means every run.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}
