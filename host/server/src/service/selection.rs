//! Which runs a request for many is about: those that are named, or those that a filter finds.

use super::ServiceError;
use everstep_core::RunId;
use everstep_core::api::RunSelection;

/// Checks that a request names runs or gives conditions, and that it says so when it means all runs.
pub(super) fn check_selection(
    runs: &[RunId],
    filter: &RunSelection,
    all: bool,
) -> Result<(), ServiceError> {
    let invalid = |field, problem: &str| {
        Err(ServiceError::InvalidOption { field, problem: problem.to_owned() })
    };
    let filtered = !filter.is_everything();
    if !runs.is_empty() && (filtered || all) {
        return invalid("runs", "name runs or give a filter, not both");
    }
    if runs.is_empty() && !filtered && !all {
        let problem = "it has no condition; give one, name `runs`, or say `all: true`";
        return invalid("filter", problem);
    }
    Ok(())
}
