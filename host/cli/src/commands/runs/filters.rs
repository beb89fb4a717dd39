//! The filters that lists and actions on many runs share, as options.

use crate::args::parse_tag;
use crate::durations;
use everstep_client::{RunFilter, RunId, StateKind, Timestamp};

/// Which runs; all that is given must hold.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filters {
    /// Only of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only of this version
    #[arg(long)]
    version: Option<String>,
    /// Only in these states (repeat, or separate by commas)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    states: Vec<StateKind>,
    /// Only with this tag (repeat for more; all must match)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Only children of this run
    #[arg(long, value_name = "RUN")]
    parent: Option<RunId>,
    /// Only those that failed with this code, or are stuck by it
    #[arg(long, visible_alias = "cause", value_name = "CODE")]
    failure_code: Option<String>,
    /// Only started at or after this instant, or at most so long ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    started_after: Option<Timestamp>,
    /// Only started before this instant, or longer ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    started_before: Option<Timestamp>,
    /// Only those to which something happened at or after this instant, or at most so long ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    updated_after: Option<Timestamp>,
    /// Only those to which nothing has happened since this instant, or for so long
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    updated_before: Option<Timestamp>,
}

impl Filters {
    /// Whether none is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.clone().filter() == RunFilter::default()
    }

    /// The one state that is asked for.
    pub(crate) fn only_state(&self) -> Option<StateKind> {
        match self.states[..] {
            [state] => Some(state),
            _ => None,
        }
    }

    /// The filter that they make.
    pub(crate) fn filter(self) -> RunFilter {
        RunFilter {
            workflow: self.workflow,
            version: self.version,
            states: self.states,
            tags: self.tags,
            parent: self.parent,
            failure_code: self.failure_code,
            started_after: self.started_after,
            started_before: self.started_before,
            updated_after: self.updated_after,
            updated_before: self.updated_before,
            limit: None,
            cursor: None,
        }
    }
}

pub(super) fn parse_state(text: &str) -> Result<StateKind, String> {
    StateKind::from_name(text.trim()).ok_or_else(|| {
        let known: Vec<_> = StateKind::ALL.iter().map(|state| state.as_str()).collect();
        format!("`{text}` is not a state; the states are {}", known.join(", "))
    })
}
