//! What reaches runs from outside, and from each other: checked and decided as a server does it.
//! Invariant: each message has effect once, however often it is brought.

use crate::modules::{Refused, check_event, check_input};
use crate::world::World;
use everstep_core::api::{OnConflict, StartBody};
use everstep_core::{
    ChildRequest, External, KeyTemplate, Message, OpId, Parent, Payload, Refusal, Reply, Run,
    RunId, StartOptions, StartRequest, StateKind, UserEvent,
};

/// How many generations of parents a run may have.
const DEEPEST: u32 = 32;
/// How long a cancelled run may clean up, in milliseconds.
pub(crate) const GRACE_MS: u64 = 30_000;

impl World {
    /// Brings a message of a run to another one.
    pub(crate) fn deliver(&mut self, from: RunId, message: Message) -> Reply {
        let delivered = match message {
            Message::Start { op, child, request } => self.start_child(from, op, child, *request),
            Message::Event { to, event } => self.receive(to, *event).map(drop),
            // A run that is not there, or has ended, need not hear these.
            Message::Cancel { child, reason } => {
                let _ = self.tell(child, External::Cancel { reason, grace_ms: GRACE_MS });
                Ok(())
            }
            Message::End { parent, result } => {
                let _ = self.tell(parent.run, External::ChildEnded { op: parent.op, result });
                Ok(())
            }
        };
        match delivered {
            Ok(()) => Reply::Taken,
            Err(refused) => Reply::Refused(refused.into()),
        }
    }

    fn start_child(
        &mut self,
        from: RunId,
        op: OpId,
        child: RunId,
        request: ChildRequest,
    ) -> Result<(), Refused> {
        if self.store.find(child).is_some() {
            return Ok(());
        }
        let parent = &self.store.get(from).record.origin.parent;
        let depth = parent.map_or(0, |parent| parent.depth) + 1;
        if depth > DEEPEST {
            let message = format!("a child run may have at most {DEEPEST} generations of parents");
            return Err(Refused::new("child.too_deep", message));
        }
        let ChildRequest { workflow, version, input, options, delay_ms, .. } = request;
        let body = StartBody {
            version,
            input: Some(input),
            delay_ms,
            retry: options.retry,
            timeout_ms: options.timeout_ms,
            tags: options.tags,
            ..StartBody::new(workflow)
        };
        self.start_as(body, Some((child, Parent { run: from, op, depth }))).map(drop)
    }

    /// Starts a run, as a child when it has a parent; a child has its id from that.
    pub(crate) fn start_as(
        &mut self,
        mut body: StartBody,
        child: Option<(RunId, Parent)>,
    ) -> Result<RunId, Refused> {
        let input = body.input.take().unwrap_or_else(Payload::null);
        let (digest, workflow) = self.modules.find(&body.workflow, body.version.as_deref())?;
        check_input(workflow, &input)?;
        let template = body.key_template.as_ref().or(workflow.key.as_ref());
        // A child has its name from its parent.
        let has_name = body.idempotency_key.is_some() || child.is_some();
        if let Some(template) = template.filter(|_| !has_name) {
            let key = KeyTemplate::parse(template).and_then(|template| template.expand(&input));
            body.idempotency_key =
                Some(key.map_err(|e| Refused::new("key.template", e.to_string()))?);
        }
        let id = match (&body.idempotency_key, child) {
            (_, Some((id, _))) => id,
            (Some(key), None) => RunId::from_key(&workflow.name, key),
            (None, None) => self.new_id(),
        };
        if let Some(stored) = self.store.find(id) {
            let is_same = stored.record.origin.input_hash == input.hash();
            return match body.on_conflict {
                OnConflict::ReturnExisting if is_same => Ok(id),
                OnConflict::ReturnExisting => {
                    Err(Refused::new("key.input_mismatch", "the key has a run with another input"))
                }
                OnConflict::Error => Err(Refused::new("key.taken", "the key has a run already")),
            };
        }
        let delayed = body.delay_ms.map(|delay| self.now.plus(delay));
        let options = StartOptions {
            idempotency_key: body.idempotency_key,
            retry: body.retry.or(workflow.retry),
            timeout_ms: body.timeout_ms.or(workflow.timeout_ms),
            tags: body.tags,
            pool: body.pool,
        };
        let request = StartRequest {
            id,
            workflow: workflow.name.clone(),
            version: workflow.version.clone(),
            digest,
            engine: everstep_engine::CONFIG_VERSION,
            limits: everstep_core::Limits::default(),
            input,
            options,
            due: delayed.or(body.at),
            parent: child.map(|(_, parent)| parent),
        };
        self.apply(Run::start(request, self.now));
        Ok(id)
    }

    /// The same for the n-th run of every execution of a test.
    fn new_id(&self) -> RunId {
        let number = self.store.runs().len() as u64;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        RunId::new(self.now, random)
    }

    /// Sends an event to a run. False when it has one with this reference.
    pub(crate) fn receive(&mut self, to: RunId, event: UserEvent) -> Result<bool, Refused> {
        let stored = self.store.find(to).ok_or_else(|| unknown(to))?;
        let origin = &stored.record.origin;
        let (_, workflow) = self.modules.find(&origin.workflow, Some(&origin.version))?;
        let checked = check_event(workflow, &event.name, &event.data);
        let event = External::Event(Box::new(event));
        if event.reference().is_some_and(|reference| stored.references.contains(&reference)) {
            return Ok(false);
        }
        checked?;
        self.tell(to, event)?;
        Ok(true)
    }

    /// Lets the state machine decide what something from outside means. What a run has received it
    /// does not receive again; what is so already stays so.
    pub(crate) fn tell(&mut self, run: RunId, what: External) -> Result<(), Refused> {
        let stored = self.store.find(run).ok_or_else(|| unknown(run))?;
        let state = stored.record.state.kind();
        let is_so = match &what {
            External::Cancel { .. } | External::Terminate { .. } => state == StateKind::Cancelled,
            External::Pause { .. } => state == StateKind::Paused,
            _ => false,
        };
        let is_known = what.reference().is_some_and(|it| stored.references.contains(&it));
        if is_so || is_known {
            return Ok(());
        }
        match everstep_core::external(&stored.record, what, self.now) {
            Ok(commit) => self.apply(commit),
            Err(Refusal::AlreadySo(_)) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }
}

fn unknown(run: RunId) -> Refused {
    Refused::new("run.not_found", format!("there is no run {run}"))
}
