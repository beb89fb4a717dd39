//! A run that cannot go on without help: what stopped it is written down, nothing else is touched.

use super::{Driver, Stop};
use crate::host::load::{self, LoadError};
use crate::link::HandBack;
use everstep_core::{Commit, Delivery, Input, RunState, StuckCause};
use std::time::Duration;

impl Driver<'_> {
    /// Writes that the run is stuck. The guest is gone; what the state machine needs is folded from
    /// the journal, without a replay.
    pub(super) async fn get_stuck(
        &mut self,
        cause: StuckCause,
        undelivered: Option<Delivery>,
    ) -> Stop {
        tracing::warn!(run = %self.record.id(), code = cause.code, message = cause.message, "stuck");
        self.staged = None;
        let mut run = match load::fold(&self.record, &*self.parts.link).await {
            Ok(run) => run,
            // The journal itself is damaged: nothing can be decided, only noted.
            Err(LoadError::Stuck(cause)) => return self.note_damage(cause).await,
            Err(error) => return error.into(),
        };
        let input = Input::Stuck { cause, undelivered };
        match run.handle(input, self.parts.link.now()) {
            Ok(commit) => self.staged = Some(commit),
            Err(_) => return Stop::Back(HandBack::Idle(None)),
        }
        match self.flush().await {
            Ok(()) => Stop::Back(HandBack::Idle(None)),
            Err(stop) => stop,
        }
    }

    async fn note_damage(&mut self, cause: StuckCause) -> Stop {
        let mut record = self.record.clone();
        // A run that has ended stays so: that it was ended is how such a run is got rid of.
        if !record.is_terminal() {
            record.state = RunState::Stuck { cause };
        }
        record.ready = false;
        record.wake_at = None;
        let (entries, logs, references) = (Vec::new(), Vec::new(), Vec::new());
        let expected_length = record.length;
        let token = None;
        self.staged = Some(Commit { expected_length, token, entries, logs, record, references });
        match self.flush().await {
            Ok(()) => Stop::Back(HandBack::Idle(None)),
            Err(stop) => stop,
        }
    }
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Stuck(cause) => Self::stuck(cause, None),
            LoadError::LeaseLost => Self::Lost,
            LoadError::Upgraded => Self::Reload,
            LoadError::Passing(why) => {
                tracing::warn!(why, "a run could not be loaded");
                Self::Back(HandBack::Later(Duration::from_secs(1)))
            }
        }
    }
}
