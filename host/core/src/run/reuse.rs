//! Results that a next attempt of the run may reuse: an operation that completed in an earlier
//! attempt answers from the journal when it is asked for again with the same kind, name and input,
//! in order of occurrence. Runs that are never retried keep nothing here.

use crate::activation::CommandIdentity;
use crate::{OpId, OpResult};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Reuse {
    enabled: bool,
    /// What completed in the current attempt.
    current: BTreeMap<OpId, (CommandIdentity, OpResult)>,
    /// What earlier attempts left, in order of occurrence.
    earlier: BTreeMap<CommandIdentity, VecDeque<(OpId, OpResult)>>,
    /// What failed in the last attempt: an operator may give it another outcome.
    failed: BTreeMap<OpId, CommandIdentity>,
}

impl Reuse {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }

    /// Notes how an operation of the current attempt ended.
    pub(super) fn ended(&mut self, op: OpId, identity: CommandIdentity, result: &OpResult) {
        match result {
            OpResult::Value(_) | OpResult::Fired => {
                self.current.insert(op, (identity, result.clone()));
            }
            OpResult::Failed(_) => {
                self.failed.insert(op, identity);
            }
            OpResult::TimedOut | OpResult::Cancelled => {}
        }
    }

    /// Gives what failed in the last attempt another outcome; false when it did not fail.
    pub(super) fn set(&mut self, op: OpId, result: OpResult) -> bool {
        let Some(identity) = self.failed.remove(&op) else { return false };
        let results = self.earlier.entry(identity).or_default();
        let index = results.iter().position(|(other, _)| *other > op).unwrap_or(results.len());
        results.insert(index, (op, result));
        true
    }

    /// Whether another attempt may follow that wants the results.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// What failed in the last attempt.
    pub(super) fn failed(&self) -> impl Iterator<Item = (OpId, &CommandIdentity)> {
        self.failed.iter().map(|(op, identity)| (*op, identity))
    }

    /// Another attempt begins: what failed in the one before it is tried anew.
    pub(super) fn attempt_started(&mut self) {
        self.failed.clear();
    }

    /// The attempt is over. What it completed (some of it by reuse) comes before what it did not
    /// get to ask for again.
    pub(super) fn attempt_ended(&mut self) {
        let mut next: BTreeMap<CommandIdentity, VecDeque<_>> = BTreeMap::new();
        for (op, (identity, result)) in std::mem::take(&mut self.current) {
            next.entry(identity).or_default().push_back((op, result));
        }
        for (identity, left) in std::mem::take(&mut self.earlier) {
            next.entry(identity).or_default().extend(left);
        }
        self.earlier = next;
    }

    /// The operations that could answer commands with this identity, in order of occurrence.
    pub(super) fn candidates(&self, identity: &CommandIdentity) -> impl Iterator<Item = OpId> {
        self.earlier.get(identity).into_iter().flatten().map(|(op, _)| *op)
    }

    /// Takes the result of an earlier operation; none when there is no such result left.
    pub(super) fn take(&mut self, identity: &CommandIdentity, op: OpId) -> Option<OpResult> {
        let left = self.earlier.get_mut(identity)?;
        let index = left.iter().position(|(candidate, _)| *candidate == op)?;
        let (_, result) = left.remove(index)?;
        if left.is_empty() {
            self.earlier.remove(identity);
        }
        Some(result)
    }
}
