//! The guest of a simulation: plays a program the way the SDK plays a workflow, as a future that is
//! polled once for each completion. It asks for operations by commands and knows nothing but what it is
//! told.

use crate::script::{FAILURE, Program, SLOW_LIMIT_MS, Step, TASK, WORKFLOW, Work, done};
use everstep_core::{
    Activation, ChildRequest, Command, Completion, Delivery, Failure, OnParentEnd, OpId, OpResult,
    Outcome, Payload, StartOptions, TaskOptions, TimerDue,
};
use everstep_engine::ScriptedGuest;
use futures::future::{BoxFuture, FutureExt, join_all, select_all};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// What guest and future share.
#[derive(Default)]
struct Desk {
    next_op: u64,
    commands: Vec<Command>,
    results: BTreeMap<OpId, OpResult>,
    recorded: VecDeque<(String, Payload)>,
    seen: u64,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Desk>>);

/// An operation that is under way. One that is dropped before its end is given up.
struct Operation {
    shared: Shared,
    op: OpId,
    ended: bool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap()
    }

    fn ask(&self, command: impl FnOnce(OpId) -> Command) -> Operation {
        let mut desk = self.desk();
        let op = OpId(desk.next_op);
        desk.next_op += 1;
        desk.commands.push(command(op));
        Operation { shared: self.clone(), op, ended: false }
    }

    fn record(&self) {
        let mut desk = self.desk();
        let value = match desk.recorded.pop_front() {
            Some((_, value)) => value,
            // Another one in every live execution: only the journal knows which it was.
            None => Payload::from_value(&rand::random::<u32>()).unwrap(),
        };
        desk.seen = value.read().unwrap();
        desk.commands.push(Command::RecordValue { name: "value".into(), value });
    }

    fn work(&self, work: &Work) -> Operation {
        let work = Work { seen: self.desk().seen, ..work.clone() };
        let limit = work.slow.then_some(SLOW_LIMIT_MS);
        self.ask(|op| Command::StartTask {
            op,
            name: TASK.into(),
            input: Payload::from_value(&work).unwrap(),
            options: TaskOptions {
                retry: Some(work.retry()),
                attempt_timeout_ms: limit,
                total_timeout_ms: None,
            },
        })
    }

    fn child(&self, child: &Program) -> Operation {
        self.ask(|op| Command::StartChild {
            op,
            request: Box::new(ChildRequest {
                workflow: WORKFLOW.into(),
                version: None,
                input: Payload::from_value(child).unwrap(),
                options: StartOptions::default(),
                delay_ms: None,
                on_parent_end: OnParentEnd::Cancel,
            }),
        })
    }
}

impl Future for Operation {
    type Output = OpResult;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<OpResult> {
        let op = self.op;
        let result = self.shared.desk().results.remove(&op);
        match result {
            Some(result) => {
                self.ended = true;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.desk().commands.push(Command::CancelOperation { op: self.op });
        }
    }
}

type Said = Result<Vec<Value>, Failure>;

fn play(shared: Shared, steps: Vec<Step>, attempt: u32) -> BoxFuture<'static, Said> {
    async move {
        let mut said = Vec::new();
        for step in steps {
            match step {
                Step::Task(work) => {
                    said.push(match shared.work(&work).await {
                        OpResult::Value(id) if id.read().ok() == Some(work.id) => {
                            done(work.id, true)
                        }
                        OpResult::Failed(_) => done(work.id, false),
                        other => json!(format!("{other:?}")),
                    });
                }
                Step::Sleep(ms) => {
                    let due = TimerDue::After(ms);
                    let name = String::new();
                    let result = shared.ask(|op| Command::StartTimer { op, name, due }).await;
                    said.push(json!(if result == OpResult::Fired { "slept" } else { "woken" }));
                }
                Step::Event(name) => {
                    let timeout_ms = None;
                    let wait = |op| Command::AwaitEvent { op, name, timeout_ms };
                    said.push(value_of(shared.ask(wait).await));
                }
                Step::Value => shared.record(),
                Step::Child(child) => said.push(value_of(shared.child(&child).await)),
                Step::Join(branches) => {
                    let branches = branches.into_iter().map(|it| play(shared.clone(), it, attempt));
                    let all: Result<Vec<_>, _> = join_all(branches).await.into_iter().collect();
                    said.push(all?.into_iter().map(Value::Array).collect());
                }
                Step::Race(branches) => {
                    let branches = branches.into_iter().map(|it| play(shared.clone(), it, attempt));
                    let (first, _, _) = select_all(branches).await;
                    first?;
                    said.push(json!("raced"));
                }
                Step::FailBefore(until) if attempt < until => {
                    return Err(Failure::new(FAILURE, format!("attempt {attempt} is to fail")));
                }
                Step::FailBefore(_) => {}
            }
        }
        Ok(said)
    }
    .boxed()
}

fn value_of(result: OpResult) -> Value {
    match result {
        OpResult::Value(value) => value.read().unwrap(),
        other => json!(format!("{other:?}")),
    }
}

/// An attempt of a run.
#[derive(Default)]
pub(crate) struct Player {
    shared: Shared,
    program: Program,
    // Nothing but `activate` touches it; the lock says so to the compiler.
    playing: Mutex<Option<BoxFuture<'static, Said>>>,
}

impl Player {
    fn outcome(&self, said: Said) -> Outcome {
        let said = match said {
            Ok(said) => [self.program.said.clone(), said].concat(),
            Err(failure) => return Outcome::Failed(failure),
        };
        match self.program.again.checked_sub(1) {
            None => Outcome::Completed(Payload::from_value(&said).unwrap()),
            Some(again) => {
                let next = Program { again, said, steps: self.program.steps.clone() };
                Outcome::Continued(Payload::from_value(&next).unwrap())
            }
        }
    }
}

impl ScriptedGuest for Player {
    fn activate(
        &mut self,
        delivery: &Delivery,
        input: &Payload,
        recorded: Vec<(String, Payload)>,
    ) -> Activation {
        self.shared.desk().recorded = recorded.into();
        let mut activation = Activation::default();
        match &delivery.completion {
            Completion::Start { attempt, first_op } => {
                self.shared.desk().next_op = first_op.0;
                self.program = input.read().unwrap();
                let steps = self.program.steps.clone();
                *self.playing.get_mut().unwrap() = Some(play(self.shared.clone(), steps, *attempt));
            }
            Completion::Operation { op, result } => {
                self.shared.desk().results.insert(*op, result.clone());
            }
            Completion::CancelRequested { .. } => {
                // Giving up the operations is what a workflow does that looks at nothing else.
                *self.playing.get_mut().unwrap() = None;
                activation.outcome = Some(Outcome::Cancelled);
            }
        }
        let playing = self.playing.get_mut().unwrap();
        if let Some(future) = playing
            && let Poll::Ready(said) = future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            *playing = None;
            activation.outcome = Some(self.outcome(said));
        }
        activation.commands = std::mem::take(&mut self.shared.desk().commands);
        activation
    }
}
