//! What a workflow instance knows and has done: the data of its store. The imports read and write
//! it; [`crate::WorkflowInstance`] empties it after each activation.

use crate::budget::MemoryBudget;
use crate::fault::Fault;
use crate::image::Sink;
use crate::imports::wasi::VirtualWasi;
use crate::logs::{Clock, LogBuffer};
use crate::random::Stream;
use everstep_core::{Command, Limits, Manifest, OpId, Origin, Outcome, Payload, RunId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The stream of random numbers behind `context.random`.
const CONTEXT_STREAM: u64 = 1;

/// The most bytes of values that one activation may hand over: they stand in the memory of the host
/// until they are durable. Part of [`crate::CONFIG_VERSION`].
const ACTIVATION_BYTES: u64 = 128 << 20;

/// The run that an instance executes. Fixed for one attempt.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The run's id as the guest sees it; also the seed of everything random.
    pub run_id: RunId,
    /// The id that the run really has, from which its children have theirs. Another one in a fork.
    pub own_id: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// Its version.
    pub version: String,
    /// The options of the start, as a JSON object.
    pub options: Payload,
    /// The attempt of the run, from 1.
    pub attempt: u32,
    /// The run whose child it is.
    pub parent: Option<RunId>,
    /// When its start was accepted.
    pub started_at: Timestamp,
    /// Where its journal begins; differs each time that the run begins anew.
    pub first: u64,
    /// The bounds that were recorded with the run.
    pub limits: Limits,
}

impl RunContext {
    /// What an attempt of a run may know of it. `first` is where the run's journal begins.
    #[must_use]
    pub fn of(origin: &Origin, first: u64, attempt: u32) -> Self {
        // A fork has seen what its original has seen, and must go on to see it.
        let seen = origin.forked_from.as_deref().map(|fork| &fork.seen);
        let mut options = origin.options.clone();
        if let Some(seen) = seen {
            options.idempotency_key.clone_from(&seen.idempotency_key);
        }
        Self {
            run_id: seen.map_or(origin.id, |seen| seen.run),
            own_id: origin.id,
            workflow: origin.workflow.clone(),
            version: origin.version.clone(),
            // Options are maps with text as keys, which always have a JSON form.
            options: Payload::from_value(&options).unwrap_or_else(|_| Payload::null()),
            attempt,
            parent: match seen {
                Some(seen) => seen.parent,
                None => origin.parent.map(|parent| parent.run),
            },
            started_at: origin.started_at,
            first: first + seen.map_or(0, |seen| seen.first),
            limits: origin.limits,
        }
    }
}

/// What the guest is being used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Code that runs before `start`, or `definitions.describe`: only the log is there.
    Setup,
    /// Inside `start` or `resume`.
    Active,
}

/// The data of a workflow instance's store.
pub(crate) struct WorkflowState {
    /// None while the module is only asked for its manifest.
    pub(crate) run: Option<RunContext>,
    pub(crate) limits: Limits,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) phase: Phase,
    /// The time of the completion that is being delivered.
    pub(crate) now: Timestamp,
    /// The id that the next operation gets.
    pub(crate) next_op: OpId,
    pub(crate) commands: Vec<Command>,
    pub(crate) outcome: Option<Outcome>,
    /// Where in the code each of them was asked for; only a traced instance notes it.
    pub(crate) traces: Vec<String>,
    pub(crate) published: Option<Payload>,
    /// Values that are being computed, with the random numbers as they stood before.
    pub(crate) computing: Vec<(String, Stream, (Stream, Stream))>,
    /// Whether the guest has computed a value that a replay takes from the journal: its memory is not
    /// what a replay leaves.
    pub(crate) computed: bool,
    /// Bytes of values that the guest handed over in this activation.
    pub(crate) taken_bytes: u64,
    /// What the journal says was recorded in the activation that is being replayed.
    pub(crate) values: VecDeque<(String, Payload)>,
    /// The children that were started in the activation that is being replayed.
    pub(crate) children: BTreeMap<OpId, RunId>,
    pub(crate) logs: LogBuffer,
    pub(crate) random: Stream,
    pub(crate) wasi: VirtualWasi,
    pub(crate) budget: MemoryBudget,
    /// Where the guest's memories are shown to, while somebody looks.
    pub(crate) sink: Option<Sink>,
}

impl WorkflowState {
    /// The state of an instance that will execute a run.
    pub(crate) fn for_run(run: RunContext, manifest: Arc<Manifest>) -> Self {
        // A run that begins anew goes on with other random numbers.
        let seed = run.run_id.seed() ^ run.first.rotate_left(32);
        let (limits, attempt) = (run.limits, run.attempt);
        Self { run: Some(run), ..Self::new(seed, limits, attempt, manifest) }
    }

    /// The state of an instance that will only be asked what it contains.
    pub(crate) fn for_describe(limits: Limits) -> Self {
        let nothing = Manifest { format: 0, sdk: String::new(), workflows: vec![], tasks: vec![] };
        Self::new(0, limits, 1, Arc::new(nothing))
    }

    fn new(seed: u64, limits: Limits, attempt: u32, manifest: Arc<Manifest>) -> Self {
        let epoch = Timestamp::default();
        Self {
            run: None,
            limits,
            manifest,
            phase: Phase::Setup,
            now: epoch,
            next_op: OpId(1),
            commands: Vec::new(),
            outcome: None,
            traces: Vec::new(),
            published: None,
            taken_bytes: 0,
            computing: Vec::new(),
            computed: false,
            values: VecDeque::new(),
            children: BTreeMap::new(),
            logs: LogBuffer::new(Clock::Standing(epoch), None, attempt, &limits),
            // Not the attempt: a second attempt must compute the same inputs, or the results of
            // the first one could not answer for it.
            random: Stream::new(seed, CONTEXT_STREAM),
            wasi: VirtualWasi::new(seed),
            budget: MemoryBudget::new(limits.memory_bytes),
            sink: None,
        }
    }

    /// The run, when there is one.
    pub(crate) fn run(&self) -> Result<&RunContext, Fault> {
        self.run
            .as_ref()
            .ok_or_else(|| Fault::contract("`definitions.describe` must not ask for a context"))
    }

    /// Gives out the id of an operation that is about to be registered.
    pub(crate) fn next_op(&mut self, what: &str) -> Result<OpId, Fault> {
        self.check_active(what)?;
        if self.outcome.is_some() {
            return Err(Fault::contract(format!("{what} after the outcome of the run")));
        }
        self.check_room()?;
        let op = self.next_op;
        self.next_op = OpId(op.0 + 1);
        Ok(op)
    }

    /// Refuses whatever changes a run while no run is being driven.
    pub(crate) fn check_active(&self, what: &str) -> Result<(), Fault> {
        if self.phase == Phase::Active {
            return Ok(());
        }
        Err(Fault::contract(format!("{what} is possible only inside `start` and `resume`")))
    }

    /// Refuses commands over the limit of one activation.
    pub(crate) fn check_room(&self) -> Result<(), Fault> {
        let limit = self.limits.commands_per_activation;
        if (self.commands.len() as u64) < limit {
            return Ok(());
        }
        Err(Fault::limit(
            "limit.commands_per_activation",
            format!("one activation issued more than {limit} commands"),
        ))
    }

    /// Checks the length of a task's or timer's name.
    pub(crate) fn check_name(&self, name: &str, what: &str) -> Result<(), Fault> {
        let limit = self.limits.name_bytes;
        if name.len() as u64 <= limit {
            return Ok(());
        }
        Err(Fault::limit(
            "limit.name_bytes",
            format!("the name of {what} has {} bytes; the limit is {limit}", name.len()),
        ))
    }

    /// Takes a JSON value from the guest.
    pub(crate) fn payload(&mut self, bytes: &[u8], what: &str) -> Result<Payload, Fault> {
        let limit = self.limits.payload_bytes;
        if bytes.len() as u64 > limit {
            return Err(Fault::limit(
                "limit.payload_bytes",
                format!("{what} has {} bytes; the limit is {limit}", bytes.len()),
            ));
        }
        self.taken_bytes = self.taken_bytes.saturating_add(bytes.len() as u64);
        if self.taken_bytes > ACTIVATION_BYTES {
            let message =
                format!("one activation handed over more than {ACTIVATION_BYTES} bytes of values");
            return Err(Fault::limit("limit.activation_bytes", message));
        }
        Payload::from_bytes(bytes).map_err(|e| Fault::contract(format!("{what} is {e}")))
    }
}
