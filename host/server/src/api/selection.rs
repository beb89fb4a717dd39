//! The filters of a list of runs, as query parameters.

use super::extract::Params;
use super::problem::ApiError;
use everstep_core::StateKind;
use everstep_core::api::RunSelection;
use std::collections::BTreeMap;

/// Takes the filters out of the parameters.
pub(super) fn selection(params: &mut Params) -> Result<RunSelection, ApiError> {
    Ok(RunSelection {
        workflow: params.text("workflow")?,
        version: params.text("version")?,
        states: states(params.words("state"), "state")?,
        tags: tags(params.list("tag"))?,
        parent: params.run("parent")?,
        failure_code: params.text("failure_code")?,
        started_after: params.instant("started_after")?,
        started_before: params.instant("started_before")?,
        updated_after: params.instant("updated_after")?,
        updated_before: params.instant("updated_before")?,
    })
}

/// The states that these words name.
pub(super) fn states(words: Vec<String>, parameter: &str) -> Result<Vec<StateKind>, ApiError> {
    let known = || StateKind::ALL.map(StateKind::as_str).join(", ");
    let state = |word: &String| {
        StateKind::from_name(word).ok_or_else(|| {
            let shown: String = word.chars().take(80).collect();
            let known = known();
            ApiError::Invalid(format!("parameter `{parameter}`: `{shown}` is none of {known}"))
        })
    };
    words.iter().map(state).collect()
}

fn tags(pairs: Vec<String>) -> Result<BTreeMap<String, String>, ApiError> {
    let tag = |pair: &String| match pair.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(ApiError::Invalid("parameter `tag` must be `name:value`".into())),
    };
    pairs.iter().map(tag).collect()
}
