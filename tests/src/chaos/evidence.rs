//! What was seen from the outside while things went wrong: what was acknowledged, what the ledger noted,
//! what journals were read, and how everything stood in the end. Collected by the load, judged by the checker.

use crate::ledger::Line;
use everstep_client::{EntryView, RunId, StateKind, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// See the module. All times are by the clock of the ledger, which is that of the servers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evidence {
    /// Starts that were answered with success.
    pub starts: Vec<RunId>,
    /// Events that were answered with success: to whom, and by which reference.
    pub events: Vec<(RunId, String)>,
    /// Journals as they were on the way, in the order in which they were read.
    pub sightings: Vec<Sighting>,
    /// What was there in the end.
    pub endings: BTreeMap<RunId, Ending>,
    /// The ledger, in the order in which lines came.
    pub ledger: Vec<Line>,
    /// When what a host does may be late, because it stood still or what it was told did.
    pub disturbances: Vec<Disturbance>,
}

/// A journal that was read on the way.
#[derive(Debug, Clone, Serialize)]
pub struct Sighting {
    /// Whose.
    pub run: RunId,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When it was there.
    pub seen: Timestamp,
    /// All of it.
    pub journal: Vec<EntryView>,
}

/// A run as it was in the end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ending {
    /// Its state; none when no server said anything any more.
    pub state: Option<StateKind>,
    /// Its output.
    pub output: Option<serde_json::Value>,
    /// Its journal.
    pub journal: Vec<EntryView>,
}

/// A host stood still, or what it was told came late.
#[derive(Debug, Clone, Serialize)]
pub struct Disturbance {
    /// Which host.
    pub host: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when what it does may be late.
    pub until: Timestamp,
}

impl Evidence {
    /// Whether what this host did at this time may have been an order that was too old.
    #[must_use]
    pub fn is_excused(&self, host: Option<&str>, at: Timestamp) -> bool {
        let during = |it: &&Disturbance| it.from <= at && at <= it.until;
        self.disturbances.iter().filter(during).any(|it| Some(it.host.as_str()) == host)
    }
}
