//! A run as data: what a snapshot keeps of the state machine, so that a host need not fold the whole
//! journal again.
//!
//! Invariant: a run that was made from an image is what a fold of the journal up to there gives. What a
//! host does with a run just now (attempts that are under way, messages that were taken) is no part of it.

use super::Run;
use super::mailbox::Mailbox;
use super::operations::{Operations, Pending};
use super::outbox::Outbox;
use super::reuse::Reuse;
use crate::{Completion, Failure, Message, MessageId, OpId, OpResult, Payload, Record, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// See the module. It is read only by the version that wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunImage {
    record: Record,
    input: Payload,
    first_due: Timestamp,
    delayed: bool,
    last_at: Timestamp,
    generation: u32,
    operations: Vec<(OpId, Pending)>,
    answers: VecDeque<(OpId, OpResult)>,
    waiting: BTreeMap<u64, Completion>,
    mailbox: Mailbox,
    messages: Vec<(MessageId, Message)>,
    retry: Option<(Timestamp, Option<Failure>)>,
    paused: Option<String>,
    reuse: Reuse,
}

impl RunImage {
    /// The summary as of the image. Its `length` is the position behind it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether a run with this record can go on from here: the same attempt on the same module, in the
    /// same journal, which has only grown. A run that is tried again by hand wants results that an image
    /// from before need not have.
    #[must_use]
    pub fn fits(&self, stored: &Record) -> bool {
        let attempt = self.record.attempt_under_way();
        attempt.is_some()
            && attempt == stored.attempt_under_way()
            && self.record.origin.id == stored.origin.id
            && self.record.origin.module() == stored.origin.module()
            && self.record.first == stored.first
            && self.record.length <= stored.length
            && self.record.keeps_results == stored.keeps_results
    }
}

impl From<&Run> for RunImage {
    fn from(run: &Run) -> Self {
        Self {
            record: run.record.clone(),
            input: run.input.clone(),
            first_due: run.first_due,
            delayed: run.delayed,
            last_at: run.last_at,
            generation: run.generation,
            operations: run.operations.all(),
            answers: run.answers.clone(),
            waiting: run.waiting.clone(),
            mailbox: run.mailbox.clone(),
            messages: run.outbox.all(),
            retry: run.retry.clone(),
            paused: run.paused.clone(),
            reuse: run.reuse.clone(),
        }
    }
}

impl From<RunImage> for Run {
    fn from(image: RunImage) -> Self {
        let mut operations = Operations::default();
        for (op, pending) in image.operations {
            let answered = image.answers.iter().any(|(answered, _)| *answered == op);
            operations.add(op, pending, answered);
        }
        let mut outbox = Outbox::default();
        for (id, message) in image.messages {
            outbox.put(id.op, message);
        }
        Self {
            record: image.record,
            input: image.input,
            first_due: image.first_due,
            delayed: image.delayed,
            last_at: image.last_at,
            generation: image.generation,
            operations,
            answers: image.answers,
            waiting: image.waiting,
            mailbox: image.mailbox,
            outbox,
            retry: image.retry,
            paused: image.paused,
            reuse: image.reuse,
        }
    }
}
