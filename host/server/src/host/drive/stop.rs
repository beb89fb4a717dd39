//! Why a driver stops, in one word for all the places where it may.

use crate::link::HandBack;
use everstep_core::{Delivery, StuckCause};

/// Why a driver stops.
pub(super) enum Stop {
    /// Give the run back.
    Back(HandBack),
    /// The lease is lost: there is nothing to give back.
    Lost,
    /// Load the run again and go on.
    Reload,
    /// The run is stuck for this reason. The delivery could not be made.
    Stuck(Box<(StuckCause, Option<Delivery>)>),
}

impl Stop {
    pub(super) fn stuck(cause: StuckCause, undelivered: Option<Delivery>) -> Self {
        Self::Stuck(Box::new((cause, undelivered)))
    }
}
