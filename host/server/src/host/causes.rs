//! Why runs get stuck on this host, and what to do about it: the words that users read.

use crate::replay::ReplayError;
use everstep_core::StuckCause;
use everstep_engine::{ActivationError, LoadError};
use std::convert::Infallible;

const RESTORE_MODULE: &str =
    "Restore the store from a backup, or upload the same bytes again; then retry the run.";

/// Why a replay could not rebuild a run: for good, or because something is in the way now.
pub(super) fn of_replay(error: ReplayError) -> Result<StuckCause, String> {
    match error {
        ReplayError::Divergence(divergence) => Ok(StuckCause {
            code: "divergence".into(),
            message: divergence.to_string(),
            remedy: "The code does not ask for what the journal has; nothing was changed. \
                     `everstep runs replay RUN` shows the difference anywhere. A module that \
                     answers differently to the same inputs is not deterministic: report it. The \
                     run can be retried or cancelled."
                .into(),
            divergence: Some(divergence),
        }),
        ReplayError::Guest { error: ActivationError::Stuck(cause), .. } => Ok(cause),
        ReplayError::Guest { error, .. } => Err(error.to_string()),
        ReplayError::Snapshot { error, .. } => Err(error.to_string()),
        ReplayError::Corrupt(refusal) => Ok(corrupt(refusal.to_string())),
    }
}

pub(super) fn corrupt(message: String) -> StuckCause {
    StuckCause {
        code: "journal.corrupt".into(),
        message,
        remedy: "The stored data of this run is damaged; nothing was guessed. Restore the store \
                 from a backup, then retry the run, or cancel it."
            .into(),
        divergence: None,
    }
}

pub(super) fn no_module(what: &str) -> StuckCause {
    StuckCause {
        code: "module.load".into(),
        message: what.into(),
        remedy: RESTORE_MODULE.into(),
        divergence: None,
    }
}

pub(super) fn unloadable(error: &LoadError<Infallible>) -> StuckCause {
    let remedy = match error {
        LoadError::Module(error) => error.fix(),
        _ => RESTORE_MODULE,
    };
    StuckCause {
        code: "module.load".into(),
        message: format!("the module does not load: {error}"),
        remedy: remedy.into(),
        divergence: None,
    }
}

pub(super) fn limit(code: &str, message: String) -> StuckCause {
    StuckCause {
        code: code.into(),
        message,
        remedy: "Ask for less at once, for example in batches, or have the limit raised.".into(),
        divergence: None,
    }
}

pub(super) fn interrupted(times: u32) -> StuckCause {
    StuckCause {
        code: "guest.interrupted".into(),
        message: format!("{times} activations in a row took too long"),
        remedy: "Do less between two awaits of the workflow, or move the work into a task. When \
                 the machine was overloaded, retry the run."
            .into(),
        divergence: None,
    }
}
