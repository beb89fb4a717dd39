//! Replaying journals: feeding a guest what it was told before and checking that it asks for the
//! same again. The host rebuilds runs with it, `everstep runs replay` verifies with it.

use everstep_core::{
    Activation, Digest, Divergence, Entry, Payload, Record, Refusal, Run, Step, Steps,
};
use everstep_engine::{
    ActivationError, CONFIG_VERSION, Module, RunContext, SnapshotError, WorkflowInstance,
};
use std::sync::Arc;

/// Why a replay ended early. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The code asks for something else than the journal has.
    #[error("the replay diverges {0}")]
    Divergence(Box<Divergence>),
    /// The guest could not be activated.
    #[error("the guest failed in the replay of journal position {seq}: {error}")]
    Guest {
        /// The position of the delivery.
        seq: u64,
        /// What happened.
        error: ActivationError,
    },
    /// The guest could not be put into a snapshot, or not be brought back from it.
    #[error("there is no snapshot in front of journal position {seq}: {error}")]
    Snapshot {
        /// The position of the delivery.
        seq: u64,
        /// What happened.
        error: SnapshotError,
    },
    /// The journal cannot have come about.
    #[error(transparent)]
    Corrupt(#[from] Refusal),
}

/// Replays one attempt of a run, entry by entry.
pub struct Replayer {
    module: Arc<Module>,
    context: RunContext,
    input: Payload,
    attempt: u32,
    steps: Steps,
    instance: Option<WorkflowInstance>,
    activations: u64,
    published: Option<Payload>,
    broke: Option<Step>,
    /// Where in the code the guest asks for something else; only a traced replay finds out.
    trace: Option<String>,
    traced: bool,
    through_snapshots: bool,
}

impl Replayer {
    /// A replay of this attempt of the run; steps of other attempts are passed over.
    #[must_use]
    pub fn new(module: Arc<Module>, record: &Record, input: Payload, attempt: u32) -> Self {
        let context = RunContext::of(&record.origin, record.first, attempt);
        Self {
            module,
            context,
            input,
            attempt,
            steps: Steps::from(record.first),
            instance: None,
            activations: 0,
            published: None,
            broke: None,
            trace: None,
            traced: false,
            through_snapshots: false,
        }
    }

    /// A replay that goes on where a snapshot of the run was taken: with the guest as it was then, and the
    /// run as it was.
    pub(crate) fn going_on(
        module: &Arc<Module>,
        record: &Record,
        run: &Run,
        instance: WorkflowInstance,
    ) -> Self {
        let (input, attempt) = (run.input().clone(), run.record().attempt);
        let new = Self::new(Arc::clone(module), record, input, attempt);
        Self { steps: run.steps(), instance: Some(instance), ..new }
    }

    /// The same replay, which takes longer and finds out where in the code a divergence comes from.
    #[must_use]
    pub(crate) fn traced(self) -> Self {
        Self { traced: true, ..self }
    }

    /// The same replay, in which another instance takes each activation: it is made from a snapshot of the
    /// one in front of it.
    #[must_use]
    pub(crate) fn through_snapshots(self) -> Self {
        Self { through_snapshots: true, ..self }
    }

    /// Where in its code the guest asked for something else; none unless the replay is a traced one that
    /// ended with a divergence.
    pub(crate) fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// The step in which the replay ended early.
    pub(crate) fn broke(&mut self) -> Option<Step> {
        self.broke.take()
    }

    /// What was replayed: the instance, and what it published last.
    pub(crate) fn into_parts(self) -> (Option<WorkflowInstance>, Option<Payload>) {
        (self.instance, self.published)
    }

    /// Takes the next entry of the journal.
    ///
    /// # Errors
    /// At the first difference.
    pub fn push(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        match self.steps.push(entry)? {
            Some(step) => self.step(&step),
            None => Ok(()),
        }
    }

    /// Replays the last step of a journal that may go on later.
    ///
    /// # Errors
    /// At a difference in the last step.
    pub fn catch_up(&mut self) -> Result<(), ReplayError> {
        match self.steps.take_last() {
            Some(step) => self.step(&step),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), ReplayError> {
        if step.attempt != self.attempt {
            return Ok(());
        }
        let compared = self.compare(step);
        if let Err(error) = &compared {
            self.broke = Some(step.clone());
            if let (ReplayError::Divergence(divergence), Some(instance)) =
                (error, &mut self.instance)
            {
                self.trace = instance.take_traces().into_iter().nth(step.index_of(divergence));
            }
        }
        compared
    }

    fn compare(&mut self, step: &Step) -> Result<(), ReplayError> {
        if self.through_snapshots {
            self.change_instances()
                .map_err(|error| ReplayError::Snapshot { seq: step.seq, error })?;
        }
        let activation =
            self.activate(step).map_err(|error| ReplayError::Guest { seq: step.seq, error })?;
        self.activations += 1;
        if activation.published.is_some() {
            self.published.clone_from(&activation.published);
        }
        step.check(&activation).map_err(ReplayError::Divergence)?;
        self.check_state(step)
    }

    /// Looks into the guest only where an audit did, because that takes time.
    fn check_state(&mut self, step: &Step) -> Result<(), ReplayError> {
        let Some(instance) = self.instance.as_mut().filter(|_| step.audited.is_some()) else {
            return Ok(());
        };
        let guest = |error| ReplayError::Guest { seq: step.seq, error };
        match instance.state_hash().map_err(guest)? {
            None => Ok(()),
            Some(hash) => step
                .check_state(self.module.digest(), CONFIG_VERSION, hash)
                .map_err(ReplayError::Divergence),
        }
    }

    fn change_instances(&mut self) -> Result<(), SnapshotError> {
        let Some(mut instance) = self.instance.take() else { return Ok(()) };
        let snapshot = instance.snapshot()?;
        drop(instance);
        self.instance = Some(self.module.restore(self.context.clone(), &snapshot)?);
        Ok(())
    }

    fn activate(&mut self, step: &Step) -> Result<Activation, ActivationError> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => none.insert(match self.traced {
                true => self.module.instantiate_traced(self.context.clone())?,
                false => self.module.instantiate(self.context.clone())?,
            }),
        };
        instance.replay(step, &self.input)
    }
}

/// What a replay from outside found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Entries that were read.
    pub entries: u64,
    /// Activations that were repeated and compared.
    pub activations: u64,
    /// The attempt that was replayed; 0 when none had begun.
    pub attempt: u32,
    /// The run as the journal leaves it.
    pub run: Run,
    /// What the attempt published last; none when it published nothing.
    pub published: Option<Payload>,
}

/// Replays the last attempt in a journal, without any effect. A journal that is cut short must end
/// with a whole step. `first` is the position of its first entry.
///
/// # Errors
/// At the first difference, or when the journal is damaged.
pub fn verify(
    module: &Arc<Module>,
    journal: &[Entry],
    first: u64,
) -> Result<Verified, ReplayError> {
    Ok(audit(module, journal, first, false)?.0)
}

/// [`verify`], and the hash of the guest's state behind the last activation; none when the attempt
/// had not begun, or when the module keeps state where no probe reaches. `through_snapshots` puts the
/// guest into a snapshot behind each activation, and goes on from that.
///
/// # Errors
/// See [`verify`].
pub fn audit(
    module: &Arc<Module>,
    journal: &[Entry],
    first: u64,
    through_snapshots: bool,
) -> Result<(Verified, Option<Digest>), ReplayError> {
    let run = Run::fold(journal, first)?;
    let (record, entries) = (run.record(), journal.len() as u64);
    let mut replayer =
        Replayer::new(Arc::clone(module), record, run.input().clone(), record.attempt);
    if through_snapshots {
        replayer = replayer.through_snapshots();
    }
    for entry in journal {
        replayer.push(entry)?;
    }
    replayer.catch_up()?;
    let Replayer { activations, published, attempt, instance, .. } = replayer;
    let memory = instance.map_or(Ok(None), |mut instance| instance.state_hash());
    let memory = memory.map_err(|error| ReplayError::Guest { seq: record.length, error })?;
    Ok((Verified { entries, activations, attempt, run, published }, memory))
}
