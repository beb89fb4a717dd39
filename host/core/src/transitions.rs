//! The transition table of a run, as data. Decisions are checked against it, refusals come from it,
//! and the documentation prints it.

use crate::StateKind;
use crate::StateKind::{
    AwaitingRetry, Cancelled, Completed, Failed, Queued, Running, Scheduled, Sleeping, Stuck,
};

/// What can change a run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The guest was activated: started, or told of a completion.
    Activated,
    /// An attempt of a task failed and another will follow.
    TaskAttemptFailed,
    /// Somebody asked the run to stop.
    Cancel,
    /// Somebody asked a stuck run to continue.
    Retry,
    /// The run's time limit, or the grace period of a cancel, passed.
    Expired,
    /// A divergence, a trap, a limit, a module that does not load.
    Stuck,
}

impl Trigger {
    /// The word that completes "the run cannot be …".
    #[must_use]
    pub fn participle(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::TaskAttemptFailed => "advanced",
            Self::Cancel => "cancelled",
            Self::Retry => "retried",
            Self::Expired => "expired",
            Self::Stuck => "stopped",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Activated => "the guest was activated",
            Self::TaskAttemptFailed => "a task attempt failed, another follows",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Expired => "time limit or cancel grace passed",
            Self::Stuck => "divergence, trap, limit or unloadable module",
        }
    }
}

/// One row: from a state, by a trigger, to one of some states.
pub type Transition = (StateKind, Trigger, &'static [StateKind]);

/// Where an activation can lead. A run that is queued after one has more to be told.
const AFTER_ACTIVATION: &[StateKind] =
    &[Queued, Running, Sleeping, AwaitingRetry, Stuck, Completed, Failed, Cancelled];

/// Every transition there is. What is not listed is refused.
pub const TRANSITIONS: &[Transition] = &[
    (Scheduled, Trigger::Activated, AFTER_ACTIVATION),
    (Queued, Trigger::Activated, AFTER_ACTIVATION),
    (Running, Trigger::Activated, AFTER_ACTIVATION),
    (Sleeping, Trigger::Activated, AFTER_ACTIVATION),
    (AwaitingRetry, Trigger::Activated, AFTER_ACTIVATION),
    (Queued, Trigger::TaskAttemptFailed, &[Queued]),
    (Running, Trigger::TaskAttemptFailed, &[Running, AwaitingRetry]),
    (AwaitingRetry, Trigger::TaskAttemptFailed, &[AwaitingRetry]),
    (Scheduled, Trigger::Cancel, &[Cancelled]),
    (Queued, Trigger::Cancel, &[Queued, Cancelled]),
    (Running, Trigger::Cancel, &[Queued]),
    (Sleeping, Trigger::Cancel, &[Queued]),
    (AwaitingRetry, Trigger::Cancel, &[Queued, Cancelled]),
    (Stuck, Trigger::Cancel, &[Cancelled]),
    (Stuck, Trigger::Retry, &[Queued]),
    (Scheduled, Trigger::Expired, &[Failed]),
    (Queued, Trigger::Expired, &[Failed, Cancelled]),
    (Running, Trigger::Expired, &[Failed, Cancelled]),
    (Sleeping, Trigger::Expired, &[Failed, Cancelled]),
    (AwaitingRetry, Trigger::Expired, &[Failed, Cancelled]),
    (Scheduled, Trigger::Stuck, &[Stuck]),
    (Queued, Trigger::Stuck, &[Stuck]),
    (Running, Trigger::Stuck, &[Stuck]),
    (Sleeping, Trigger::Stuck, &[Stuck]),
    (AwaitingRetry, Trigger::Stuck, &[Stuck]),
];

/// Whether this trigger may lead from one state to the other.
#[must_use]
pub fn allows(from: StateKind, trigger: Trigger, to: StateKind) -> bool {
    TRANSITIONS.iter().any(|(f, t, targets)| *f == from && *t == trigger && targets.contains(&to))
}

/// Whether a run in this state takes the trigger at all.
#[must_use]
pub fn accepts(from: StateKind, trigger: Trigger) -> bool {
    TRANSITIONS.iter().any(|(f, t, _)| *f == from && *t == trigger)
}

/// The table as Markdown, for the documentation.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| from | what happens | to |\n|---|---|---|\n");
    for (from, trigger, targets) in TRANSITIONS {
        let targets: Vec<_> = targets.iter().map(|to| format!("`{}`", to.as_str())).collect();
        let (from, what) = (from.as_str(), trigger.describe());
        text.push_str(&format!("| `{from}` | {what} | {} |\n", targets.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn terminal_states_are_final_and_every_other_state_can_be_left() {
        for kind in StateKind::ALL {
            let leaves = TRANSITIONS.iter().any(|(from, ..)| *from == kind);
            assert_eq!(leaves, !kind.is_terminal(), "{kind:?}");
        }
    }

    #[test]
    fn every_row_stands_once() {
        for (i, (from, trigger, _)) in TRANSITIONS.iter().enumerate() {
            let again = TRANSITIONS[i + 1..].iter().any(|(f, t, _)| f == from && t == trigger);
            assert!(!again, "{from:?} {trigger:?}");
        }
    }

    #[test]
    fn the_documentation_prints_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/states.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(&markdown()), "docs/states.md must contain:\n{}", markdown());
    }
}
