//! Why the state machine refuses an input. Nothing has changed when it does.

use crate::StateKind;

/// A refused input. `code` is stable and has a page in the docs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run's state does not allow it.
    #[error("a run that is {} cannot be {action}", state.as_str())]
    IllegalTransition {
        /// The state the run is in.
        state: StateKind,
        /// What was asked, as a participle: `cancelled`, `retried`.
        action: &'static str,
    },
    /// What was asked is so already.
    #[error("nothing to do: the run is already {0}")]
    AlreadySo(&'static str),
    /// A journal that cannot have come about; it is never guessed around.
    #[error("the journal is damaged at position {seq}: {problem}")]
    Corrupt {
        /// The position.
        seq: u64,
        /// What is impossible about it.
        problem: String,
    },
    /// The guest went over a bound of its run.
    #[error("{message}")]
    Limit {
        /// `limit.…`
        code: &'static str,
        /// Which bound, and by how much.
        message: String,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::IllegalTransition { .. } => "run.illegal_transition",
            Self::AlreadySo(_) => "run.already_so",
            Self::Corrupt { .. } => "journal.corrupt",
            Self::Limit { code, .. } => code,
        }
    }
}
