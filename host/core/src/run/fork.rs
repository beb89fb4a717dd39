//! What-if runs: the beginning of another run's journal, with some results edited, as the journal of
//! a run of its own. The service asks for a [`Draft`], replays what it gives, cuts it where the guest
//! asks for something else, and commits it.
//!
//! What a fork keeps is what its guest can see: ids, options, times, random numbers. What it does not
//! keep is what belongs to the original alone: messages on their way, children that are under way,
//! time limits that count.

use super::Run;
use super::outbox::Outbox;
use crate::event::{Entry, JournalEvent};
use crate::record::{ForkedFrom, Origin, Seen};
use crate::{
    Commit, InputHash, Message, MessageId, MessageKind, OpId, OpResult, Payload, Refusal, RunId,
    Timestamp, replay,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A result that takes the place of the one in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// What is edited.
    pub target: EditTarget,
    /// What it is to be.
    pub value: Payload,
}

/// What can be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditTarget {
    /// The result of an operation, or the event that ended it.
    Operation(OpId),
    /// The side value at this journal position.
    Value(u64),
}

impl std::fmt::Display for EditTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operation(op) => write!(f, "operation {op}"),
            Self::Value(seq) => write!(f, "the value at position {seq}"),
        }
    }
}

/// Who the fork will be.
#[derive(Debug, Clone, Copy)]
pub struct ForkRequest {
    /// Its id.
    pub id: RunId,
    /// The hash of what was asked for, by which a repeated request with the same key is compared.
    pub asked: InputHash,
    /// When it begins to differ from the original.
    pub now: Timestamp,
}

/// Why there is no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForkRefusal {
    /// The journal has no such position.
    #[error("the journal cannot be cut at position {at}; it can be cut from {from} to {to}")]
    Position {
        /// What was asked for.
        at: u64,
        /// The first position that can be.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// There is nothing to edit.
    #[error("{what} has no result in front of position {at} that can be edited")]
    NoResult {
        /// What was named.
        what: EditTarget,
        /// Where the journal is cut.
        at: u64,
    },
    /// Another edit makes this one impossible.
    #[error("{what} has its result behind position {at}, where the edits make another run of it")]
    EditUnused {
        /// What was named.
        what: EditTarget,
        /// Where the guest asks for something else.
        at: u64,
    },
    /// Nothing is left to do.
    #[error("the run has ended in front of position {at}")]
    Ended {
        /// Where the journal is cut.
        at: u64,
    },
    /// The original was asked to stop.
    #[error("the run was asked to stop in front of position {at}")]
    Cancelled {
        /// Where the journal is cut.
        at: u64,
    },
    /// A child would have to be told again.
    #[error("child run {child} is under way at position {at}, and has been sent an event")]
    ChildTold {
        /// The child of the original.
        child: RunId,
        /// Where the journal is cut.
        at: u64,
    },
    /// The journal of the original is damaged.
    #[error(transparent)]
    Journal(#[from] Refusal),
}

impl ForkRefusal {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Position { .. } => "fork.position",
            Self::NoResult { .. } => "fork.no_result",
            Self::EditUnused { .. } => "fork.edit_unused",
            Self::Ended { .. } => "fork.ended",
            Self::Cancelled { .. } => "fork.cancelled",
            Self::ChildTold { .. } => "fork.child_told",
            Self::Journal(refusal) => refusal.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Position { .. } => {
                "choose one of these positions; `everstep runs journal` shows them"
            }
            Self::NoResult { .. } => {
                "edit a task, child, event or side value of the last attempt whose result is in \
                 front of the cut, or cut the journal later"
            }
            Self::EditUnused { .. } => "leave this edit out, or fork the fork",
            Self::Ended { .. } | Self::Cancelled { .. } | Self::ChildTold { .. } => {
                "cut the journal earlier"
            }
            Self::Journal(_) => {
                "keep the data as it is, check the disk, and restore the run from a backup"
            }
        }
    }
}

/// The beginning of a journal that a fork may get, edited.
#[derive(Debug, Clone)]
pub struct Draft {
    /// As in the original, but for the edits, and with positions from 0.
    entries: Vec<Entry>,
    /// Where the original's journal begins.
    first: u64,
    /// Where each edit is told to the guest, and where it stands, by index.
    edits: Vec<(EditTarget, usize, usize)>,
}

/// A journal for a fork, not yet verified.
#[derive(Debug, Clone)]
pub struct Forked {
    /// The journal.
    pub entries: Vec<Entry>,
    /// The run that it makes.
    pub run: Run,
    /// Where the original's journal was cut.
    pub at: u64,
    /// Why it cannot be a fork as it is: an edit may still make another run of it.
    refused: Option<ForkRefusal>,
}

impl Draft {
    /// The journal, which begins at position `first`, up to position `at` or the end of the step that
    /// it is in.
    ///
    /// # Errors
    /// When it cannot be cut there, or an edit finds nothing to edit.
    pub fn new(
        journal: &[Entry],
        first: u64,
        at: u64,
        edits: &[Edit],
    ) -> Result<Self, ForkRefusal> {
        let length = journal.len() as u64;
        if at <= first || at > first + length {
            return Err(ForkRefusal::Position { at, from: first + 1, to: first + length });
        }
        let end = replay::step_end(journal, usize::try_from(at - first).unwrap_or(usize::MAX));
        let mut entries = journal[..end].to_vec();
        for entry in &mut entries {
            match &mut entry.event {
                JournalEvent::Delivered { seq, .. } => *seq = seq.saturating_sub(first),
                // The fork's guest may be told other things.
                JournalEvent::StateHashed { hash, .. } => *hash = None,
                _ => {}
            }
        }
        let mut draft = Self { entries, first, edits: Vec::new() };
        for edit in edits {
            draft.edit(edit)?;
        }
        Ok(draft)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index of the first step in which the guest is told something that was edited.
    #[must_use]
    pub fn first_edit(&self) -> Option<usize> {
        self.edits.iter().map(|(_, told, _)| *told).min()
    }

    fn edit(&mut self, Edit { target, value }: &Edit) -> Result<(), ForkRefusal> {
        let at = self.first + self.entries.len() as u64;
        let none = ForkRefusal::NoResult { what: *target, at };
        let is_start = |entry: &Entry| matches!(entry.event, JournalEvent::AttemptStarted { .. });
        let attempt = self.entries.iter().rposition(is_start).unwrap_or(0);
        let (told, stands) = match *target {
            EditTarget::Value(seq) => {
                let index = seq.checked_sub(self.first).and_then(|seq| usize::try_from(seq).ok());
                let index = index.filter(|index| (attempt..self.entries.len()).contains(index));
                let index = index.ok_or_else(|| none.clone())?;
                let JournalEvent::ValueRecorded { value: recorded, .. } =
                    &mut self.entries[index].event
                else {
                    return Err(none);
                };
                *recorded = value.clone();
                (replay::step_begin(&self.entries, index), index)
            }
            EditTarget::Operation(op) => {
                let ends = |entry: &Entry| entry.event.ends() == Some(op);
                let end = self.entries[attempt..].iter().position(ends).map(|at| at + attempt);
                let end = end.ok_or_else(|| none.clone())?;
                let stands = self.replace(end, op, value).ok_or(none)?;
                (self.told(end), stands)
            }
        };
        self.edits.push((*target, told, stands));
        Ok(())
    }

    /// Where the guest is told of what ended an operation at this index.
    fn told(&self, end: usize) -> usize {
        if self.entries[end].event.begins_step() {
            return end;
        }
        let tells = |entry: &Entry| matches!(entry.event, JournalEvent::Delivered { seq, op: None, .. } if seq == end as u64);
        self.entries.iter().position(tells).unwrap_or(end)
    }

    /// Gives the end of an operation at index `end` another value. Says where that stands; none when
    /// it ended in a way that has none.
    fn replace(&mut self, end: usize, ended: OpId, value: &Payload) -> Option<usize> {
        let event = &mut self.entries[end].event;
        let (source, nth) = match event {
            JournalEvent::TaskCompleted { output, .. } => {
                *output = value.clone();
                return Some(end);
            }
            JournalEvent::TaskFailed { attempts, deferred, .. } => {
                let (attempts, deferred, output) = (*attempts, *deferred, value.clone());
                *event = JournalEvent::TaskCompleted { op: ended, output, attempts, deferred };
                return Some(end);
            }
            JournalEvent::OperationEnded { result, .. }
            | JournalEvent::ChildEnded { result, .. } => {
                *result = OpResult::Value(value.clone());
                return Some(end);
            }
            JournalEvent::Delivered { seq, nth, .. } => (usize::try_from(*seq).ok()?, *nth),
            _ => return None,
        };
        match &mut self.entries.get_mut(source)?.event {
            JournalEvent::EventReceived { event } => event.data = value.clone(),
            JournalEvent::RunContinued { events, .. } => {
                events.get_mut(usize::try_from(nth).ok()?)?.data = value.clone();
            }
            _ => return None,
        }
        Some(source)
    }

    /// The journal of the fork when the original's is cut at this index: between two steps. It is to be
    /// replayed and checked.
    ///
    /// # Errors
    /// When an edit would be lost, or the fork would take something from the original.
    pub fn build(&self, cut: usize, request: &ForkRequest) -> Result<Forked, ForkRefusal> {
        let at = self.first + cut as u64;
        // What is told in the step behind the cut is decided anew with it.
        let unused = self.edits.iter().find(|(_, told, stands)| *stands >= cut && *told != cut);
        if let Some((what, ..)) = unused {
            return Err(ForkRefusal::EditUnused { what: *what, at });
        }
        let mut entries = self.entries[..cut].to_vec();
        let source = self.rename(&mut entries, request, at)?;
        let run = Run::fold(&entries, 0)?;
        let refused = match run.record() {
            record if record.is_terminal() => Some(ForkRefusal::Ended { at }),
            record if record.cancel.is_some() => Some(ForkRefusal::Cancelled { at }),
            _ => None,
        };
        if refused.is_some() {
            return Ok(Forked { entries, run, at, refused });
        }
        let mut messages = self.adopt_children(&mut entries, &run, request, at)?;
        messages.extend(
            run.outbox
                .all()
                .into_iter()
                .filter(|(id, _)| id.kind == MessageKind::Event && run.is_pending(id.op)),
        );
        entries.push(Entry {
            at: request.now.max(run.record().updated_at),
            event: JournalEvent::RunForked { from: source, at, messages },
        });
        let run = Run::fold(&entries, 0)?;
        Ok(Forked { entries, run, at, refused: None })
    }

    /// Makes the journal that of another run. Returns whose it was.
    fn rename(
        &self,
        entries: &mut [Entry],
        request: &ForkRequest,
        at: u64,
    ) -> Result<RunId, ForkRefusal> {
        let mut source = None;
        for entry in entries {
            if let JournalEvent::RunStarted { origin, .. }
            | JournalEvent::RunContinued { origin, .. } = &mut entry.event
            {
                source = Some(origin.id);
                *origin = Arc::new(forked_origin(origin, self.first, at, request));
            }
        }
        source.ok_or_else(|| {
            let problem = "it does not begin with RunStarted or RunContinued".into();
            Refusal::Corrupt { seq: self.first, problem }.into()
        })
    }

    /// Children that are under way belong to the original; the fork starts its own. Returns the
    /// messages that do.
    fn adopt_children(
        &self,
        entries: &mut [Entry],
        run: &Run,
        request: &ForkRequest,
        at: u64,
    ) -> Result<Vec<(MessageId, Message)>, ForkRefusal> {
        let mut originals = BTreeSet::new();
        let mut messages = Vec::new();
        for entry in entries.iter_mut() {
            match &mut entry.event {
                JournalEvent::ChildScheduled { op, child, request: asked, reuses: None }
                    if run.is_pending(*op) =>
                {
                    originals.insert(*child);
                    *child = request.id.child(*op, request.now);
                    let message = Message::Start { op: *op, child: *child, request: asked.clone() };
                    messages.push((MessageId { op: *op, kind: MessageKind::Start }, message));
                }
                JournalEvent::EventSent { to, .. } if originals.contains(to) => {
                    return Err(ForkRefusal::ChildTold { child: *to, at });
                }
                _ => {}
            }
        }
        Ok(messages)
    }
}

fn forked_origin(origin: &Origin, first: u64, at: u64, request: &ForkRequest) -> Origin {
    let seen = match &origin.forked_from {
        // A fork of a fork: what the guest sees is still that of the first one.
        Some(before) => Seen { first: before.seen.first + first, ..before.seen.clone() },
        None => Seen {
            run: origin.id,
            parent: origin.parent.map(|parent| parent.run),
            idempotency_key: origin.options.idempotency_key.clone(),
            first,
        },
    };
    let mut options = origin.options.clone();
    options.idempotency_key = None;
    let forked_from = Box::new(ForkedFrom { run: origin.id, at, asked: request.asked, seen });
    Origin {
        id: request.id,
        options,
        started_at: request.now,
        parent: None,
        forked_from: Some(forked_from),
        ..origin.clone()
    }
}

impl Forked {
    /// Whether it can be a fork as it is.
    ///
    /// # Errors
    /// When the run has ended there, or was asked to stop.
    pub fn check(&self) -> Result<(), ForkRefusal> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// The commit that makes the fork exist. `published` is what the original showed of itself there.
    ///
    /// # Errors
    /// Never, for a run that was built here.
    pub fn commit(&mut self, published: Option<Payload>) -> Result<Commit, Refusal> {
        let mut stored = self.run.record().clone();
        stored.published = published;
        self.run.adopt(&stored)?;
        Ok(Commit {
            expected_length: 0,
            entries: std::mem::take(&mut self.entries),
            ..self.run.restate()
        })
    }
}

impl Run {
    /// From here on the run is its own: what counted for the original counts anew, and what the
    /// original tells others, it tells.
    pub(super) fn forked(&mut self, messages: &[(MessageId, Message)], at: Timestamp) {
        self.paused = None;
        self.record.limited_from = at;
        self.operations.restart(at);
        self.outbox = Outbox::default();
        for (id, message) in messages {
            self.outbox.put(id.op, message.clone());
        }
    }
}
