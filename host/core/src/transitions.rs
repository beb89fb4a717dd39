//! The transition table of a run, as data. Decisions are checked against it, refusals come from it,
//! and the documentation prints it.

use crate::StateKind;
use crate::StateKind::{
    AwaitingChild, AwaitingEvent, AwaitingRetry, Cancelled, Completed, Failed, Paused, Queued,
    Running, Scheduled, Sleeping, Stuck,
};

/// What can change a run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The guest was activated: started, or told of a completion.
    Activated,
    /// An attempt of a task failed and another will follow.
    TaskAttemptFailed,
    /// An operation ended while the run is paused.
    Kept,
    /// Another run has a message of this one.
    MessageTaken,
    /// An event came, or a child run ended.
    Received,
    /// Somebody asked the run to stop.
    Cancel,
    /// Somebody ended the run.
    Terminate,
    /// Somebody asked the run to stand still.
    Pause,
    /// Somebody asked a paused run to go on.
    Resume,
    /// Somebody ended a sleep early.
    Wake,
    /// Somebody asked a stuck run to continue, or a failed one to be tried again.
    Retry,
    /// Somebody gave the run another module.
    Upgrade,
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
            Self::Kept | Self::MessageTaken => "advanced",
            Self::Received => "sent an event",
            Self::Cancel => "cancelled",
            Self::Terminate => "terminated",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Wake => "woken",
            Self::Retry => "retried",
            Self::Upgrade => "upgraded",
            Self::Expired => "expired",
            Self::Stuck => "stopped",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Activated => "the guest was activated",
            Self::TaskAttemptFailed => "a task attempt failed, another follows",
            Self::Kept => "a task ended or a message was answered",
            Self::MessageTaken => "another run has a message of this one",
            Self::Received => "an event came, or a child run ended",
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Wake => "wake",
            Self::Retry => "retry",
            Self::Upgrade => "upgrade",
            Self::Expired => "time limit or cancel grace passed",
            Self::Stuck => "divergence, trap, limit or unloadable module",
        }
    }
}

/// One row: from a state, by a trigger, to one of some states.
pub type Transition = (StateKind, Trigger, &'static [StateKind]);

/// Where an activation can lead. A run that is queued after one has more to be told.
const AFTER_ACTIVATION: &[StateKind] = &[
    Scheduled,
    Queued,
    Running,
    Sleeping,
    AwaitingEvent,
    AwaitingChild,
    AwaitingRetry,
    Stuck,
    Completed,
    Failed,
    Cancelled,
];

/// Where a run can be whose record only now says what its journal says.
const WHILE_OPEN: &[StateKind] =
    &[Scheduled, Queued, Running, Sleeping, AwaitingEvent, AwaitingChild, AwaitingRetry, Stuck];

/// Every transition there is. What is not listed is refused.
pub const TRANSITIONS: &[Transition] = &[
    (Scheduled, Trigger::Activated, AFTER_ACTIVATION),
    (Queued, Trigger::Activated, AFTER_ACTIVATION),
    (Running, Trigger::Activated, AFTER_ACTIVATION),
    (Sleeping, Trigger::Activated, AFTER_ACTIVATION),
    (AwaitingEvent, Trigger::Activated, AFTER_ACTIVATION),
    (AwaitingChild, Trigger::Activated, AFTER_ACTIVATION),
    (AwaitingRetry, Trigger::Activated, AFTER_ACTIVATION),
    (Queued, Trigger::TaskAttemptFailed, &[Queued]),
    (Running, Trigger::TaskAttemptFailed, &[Running, AwaitingRetry]),
    (AwaitingRetry, Trigger::TaskAttemptFailed, &[AwaitingRetry]),
    (Paused, Trigger::TaskAttemptFailed, &[Paused]),
    (Paused, Trigger::Kept, &[Paused]),
    (Scheduled, Trigger::MessageTaken, &[Scheduled]),
    (Queued, Trigger::MessageTaken, WHILE_OPEN),
    (Running, Trigger::MessageTaken, WHILE_OPEN),
    (Sleeping, Trigger::MessageTaken, WHILE_OPEN),
    (AwaitingEvent, Trigger::MessageTaken, WHILE_OPEN),
    (AwaitingChild, Trigger::MessageTaken, WHILE_OPEN),
    (AwaitingRetry, Trigger::MessageTaken, WHILE_OPEN),
    (Paused, Trigger::MessageTaken, &[Paused]),
    (Completed, Trigger::MessageTaken, &[Completed]),
    (Failed, Trigger::MessageTaken, &[Failed]),
    (Cancelled, Trigger::MessageTaken, &[Cancelled]),
    (Scheduled, Trigger::Received, &[Scheduled]),
    (Queued, Trigger::Received, &[Queued]),
    (Running, Trigger::Received, &[Queued]),
    (Sleeping, Trigger::Received, &[Queued]),
    (AwaitingEvent, Trigger::Received, &[Queued]),
    (AwaitingChild, Trigger::Received, &[Queued]),
    (AwaitingRetry, Trigger::Received, &[AwaitingRetry, Queued]),
    (Paused, Trigger::Received, &[Paused]),
    (Stuck, Trigger::Received, &[Stuck]),
    (Scheduled, Trigger::Cancel, &[Cancelled]),
    (Queued, Trigger::Cancel, &[Queued, Cancelled]),
    (Running, Trigger::Cancel, &[Queued]),
    (Sleeping, Trigger::Cancel, &[Queued]),
    (AwaitingEvent, Trigger::Cancel, &[Queued]),
    (AwaitingChild, Trigger::Cancel, &[Queued]),
    (AwaitingRetry, Trigger::Cancel, &[Queued, Cancelled]),
    (Paused, Trigger::Cancel, &[Queued, Cancelled]),
    (Stuck, Trigger::Cancel, &[Cancelled]),
    (Scheduled, Trigger::Terminate, &[Cancelled]),
    (Queued, Trigger::Terminate, &[Cancelled]),
    (Running, Trigger::Terminate, &[Cancelled]),
    (Sleeping, Trigger::Terminate, &[Cancelled]),
    (AwaitingEvent, Trigger::Terminate, &[Cancelled]),
    (AwaitingChild, Trigger::Terminate, &[Cancelled]),
    (AwaitingRetry, Trigger::Terminate, &[Cancelled]),
    (Paused, Trigger::Terminate, &[Cancelled]),
    (Stuck, Trigger::Terminate, &[Cancelled]),
    (Scheduled, Trigger::Pause, &[Paused]),
    (Queued, Trigger::Pause, &[Paused]),
    (Running, Trigger::Pause, &[Paused]),
    (Sleeping, Trigger::Pause, &[Paused]),
    (AwaitingEvent, Trigger::Pause, &[Paused]),
    (AwaitingChild, Trigger::Pause, &[Paused]),
    (AwaitingRetry, Trigger::Pause, &[Paused]),
    (Paused, Trigger::Resume, &[Queued]),
    (Sleeping, Trigger::Wake, &[Queued]),
    (Stuck, Trigger::Retry, &[Queued]),
    (Failed, Trigger::Retry, &[Queued]),
    (Scheduled, Trigger::Upgrade, &[Scheduled]),
    (Queued, Trigger::Upgrade, &[Queued]),
    (Running, Trigger::Upgrade, &[Running]),
    (Sleeping, Trigger::Upgrade, &[Sleeping]),
    (AwaitingEvent, Trigger::Upgrade, &[AwaitingEvent]),
    (AwaitingChild, Trigger::Upgrade, &[AwaitingChild]),
    (AwaitingRetry, Trigger::Upgrade, &[AwaitingRetry]),
    (Paused, Trigger::Upgrade, &[Paused]),
    (Stuck, Trigger::Upgrade, &[Stuck]),
    (Scheduled, Trigger::Expired, &[Failed]),
    (Queued, Trigger::Expired, &[Failed, Cancelled]),
    (Running, Trigger::Expired, &[Failed, Cancelled]),
    (Sleeping, Trigger::Expired, &[Failed, Cancelled]),
    (AwaitingEvent, Trigger::Expired, &[Failed, Cancelled]),
    (AwaitingChild, Trigger::Expired, &[Failed, Cancelled]),
    (AwaitingRetry, Trigger::Expired, &[Failed, Cancelled]),
    (Paused, Trigger::Expired, &[Failed, Cancelled]),
    (Scheduled, Trigger::Stuck, &[Stuck]),
    (Queued, Trigger::Stuck, &[Stuck]),
    (Running, Trigger::Stuck, &[Stuck]),
    (Sleeping, Trigger::Stuck, &[Stuck]),
    (AwaitingEvent, Trigger::Stuck, &[Stuck]),
    (AwaitingChild, Trigger::Stuck, &[Stuck]),
    (AwaitingRetry, Trigger::Stuck, &[Stuck]),
    (Paused, Trigger::Stuck, &[Stuck]),
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
            // A failed run can be tried again by hand.
            let is_final = kind.is_terminal() && kind != Failed;
            let moves = TRANSITIONS.iter().any(|(from, _, to)| *from == kind && *to != [kind]);
            assert_eq!((leaves, moves), (true, !is_final), "{kind:?}");
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
