//! What one activation may ask for. [`Run::handle`] looks here before it changes anything.

use super::Run;
use crate::{Activation, Command, Completion, Delivery, Refusal};

impl Run {
    pub(super) fn check_limits(
        &self,
        delivery: &Delivery,
        activation: &Activation,
    ) -> Result<(), Refusal> {
        let mut started = 0;
        let mut ended = u64::from(matches!(delivery.completion, Completion::Operation { .. }));
        for command in &activation.commands {
            match command {
                Command::CancelOperation { .. } => ended += 1,
                Command::RecordValue { .. } => {}
                Command::StartTask { .. }
                | Command::StartTimer { .. }
                | Command::AwaitEvent { .. }
                | Command::SendEvent { .. }
                | Command::StartChild { .. } => started += 1,
            }
        }
        let after = (self.record.pending + started).saturating_sub(ended);
        let limit = self.record.origin.limits.pending_operations;
        let unsent = self.outbox.len() as u64;
        if started > 0 && unsent > limit.saturating_mul(2) {
            let message = format!("{unsent} messages to other runs are on their way already");
            return Err(Refusal::Limit { code: "limit.unsent_messages", message });
        }
        if started > 0 && after > limit {
            return Err(Refusal::Limit {
                code: "limit.pending_operations",
                message: format!(
                    "the run would have {after} pending operations; {limit} are allowed"
                ),
            });
        }
        Ok(())
    }
}
