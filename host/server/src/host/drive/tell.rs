//! What a run has to tell other runs, while it goes on and when it has ended. Nothing is taken out of
//! its outbox before the other side has it.

use super::{Driver, Stop};
use crate::host::messages;
use crate::host::warm::Resting;
use crate::link::HandBack;
use everstep_core::{Finished, Run};
use everstep_engine::Module;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Messages to other runs that are on their way at once.
const MESSAGES: usize = 256;
/// The pause before messages are sent again that may have been lost.
pub(super) const RESEND: Duration = Duration::from_millis(500);

impl Driver<'_> {
    /// Tells other runs what this one has to say, and takes in what they answer.
    pub(super) async fn send_messages(
        &mut self,
        guest: &mut Resting,
        module: &Arc<Module>,
    ) -> Result<(), Stop> {
        let messages = guest.run.take_messages(MESSAGES);
        let (replies, lost) = messages::send(&*self.parts.link, self.record.id(), messages).await;
        if !lost.is_empty() {
            // Everything else goes on meanwhile.
            guest.run.lost_messages(lost);
            self.resend_at = Some(Instant::now() + RESEND);
        }
        for (id, reply) in replies {
            let finished = guest.run.answered(id, reply, self.parts.link.now());
            self.finish(guest, module, finished, Vec::new()).await?;
            if self.batch_is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Whether there is something to tell now.
    pub(super) fn may_send(&self, guest: &Resting) -> bool {
        guest.run.has_messages() && self.resend_at.is_none_or(|at| at <= Instant::now())
    }

    /// Tells other runs what a run that has ended still has to say. The guest is not needed.
    pub(super) async fn wind_up<T>(&mut self, mut run: Run) -> Result<T, Stop> {
        if !run.record().is_terminal() {
            // Somebody had it tried again meanwhile.
            self.record = run.record().clone();
            return Err(Stop::Reload);
        }
        if self.record.ready && !run.has_messages() {
            self.staged = Some(run.restate());
        }
        while run.has_messages() {
            let messages = run.take_messages(MESSAGES);
            let (replies, lost) =
                messages::send(&*self.parts.link, self.record.id(), messages).await;
            for (id, reply) in replies {
                if let Finished::Decide(input) = run.answered(id, reply, self.parts.link.now()) {
                    self.decide(&mut run, input)?;
                }
            }
            self.flush().await?;
            if !lost.is_empty() {
                return Err(Stop::Back(HandBack::Later(RESEND)));
            }
        }
        self.flush().await?;
        Err(Stop::Back(HandBack::Idle(None)))
    }
}
