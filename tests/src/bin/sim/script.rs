//! The programs that simulated workflows execute: made from the seed, carried as the input of their
//! run, with an output that is known in advance whatever goes wrong on the way.

use crate::dice::Dice;
use everstep_core::RetryPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The workflow and its task, by name.
pub(crate) const WORKFLOW: &str = "script";
pub(crate) const TASK: &str = "work";
/// The failure of a run that is to fail.
pub(crate) const FAILURE: &str = "script.failed";
/// How long a slow attempt would take, and how long it may take.
pub(crate) const SLOW_MS: u64 = 3_600_000;
pub(crate) const SLOW_LIMIT_MS: u64 = 4_000;

/// What a task is to do. It is the input of the task.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Work {
    /// Tells it from all others of its run.
    pub(crate) id: u64,
    /// So many attempts fail.
    pub(crate) fails: u32,
    /// The first of them fails because it takes too long.
    pub(crate) slow: bool,
    pub(crate) takes_ms: u64,
    pub(crate) most_attempts: u32,
    pub(crate) pause_ms: u64,
    /// The value that the workflow recorded last: a replay that forgets it asks for another task.
    #[serde(default)]
    pub(crate) seen: u64,
}

/// One step of a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Task(Work),
    Sleep(u64),
    /// Waits for an event of this name.
    Event(String),
    /// Records a random value.
    Value,
    Child(Program),
    /// All of these at once.
    Join(Vec<Vec<Step>>),
    /// Whichever ends first; the others are given up.
    Race(Vec<Vec<Step>>),
    /// The attempt of the run fails here unless it is this one or a later one.
    FailBefore(u32),
}

/// What a run executes. It is the input of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    /// How often it begins anew when it is through.
    pub(crate) again: u32,
    /// What earlier rounds said.
    #[serde(default)]
    pub(crate) said: Vec<Value>,
}

impl Work {
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy::Fixed { max_attempts: self.most_attempts, delay_ms: self.pause_ms }
    }

    pub(crate) fn succeeds(&self) -> bool {
        self.fails < self.most_attempts
    }
}

/// What a program says in the end.
pub(crate) fn expected(program: &Program) -> Value {
    let mut arrived = std::collections::BTreeMap::new();
    let mut said = program.said.clone();
    for _ in 0..=program.again {
        said.extend(steps(&program.steps, &mut arrived));
    }
    Value::Array(said)
}

fn steps(program: &[Step], arrived: &mut std::collections::BTreeMap<String, u64>) -> Vec<Value> {
    let mut said = Vec::new();
    for step in program {
        match step {
            Step::Task(work) => said.push(done(work.id, work.succeeds())),
            Step::Sleep(_) => said.push(json!("slept")),
            Step::Event(name) => {
                let nth = arrived.entry(name.clone()).or_default();
                said.push(heard(name, *nth));
                *nth += 1;
            }
            Step::Value | Step::FailBefore(_) => {}
            Step::Child(child) => said.push(expected(child)),
            Step::Join(branches) => {
                let all = branches.iter().map(|branch| Value::Array(steps(branch, arrived)));
                said.push(all.collect());
            }
            Step::Race(_) => said.push(json!("raced")),
        }
    }
    said
}

pub(crate) fn done(id: u64, succeeded: bool) -> Value {
    json!(if succeeded { format!("task {id}") } else { format!("task {id} failed") })
}

/// The data of the nth event of a name.
pub(crate) fn heard(name: &str, nth: u64) -> Value {
    json!(format!("{name} {nth}"))
}

/// The events that a program waits for, by name, in order.
pub(crate) fn events(program: &Program) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..=program.again {
        awaited(&program.steps, &mut names);
    }
    names
}

fn awaited(steps: &[Step], names: &mut Vec<String>) {
    for step in steps {
        match step {
            Step::Event(name) => names.push(name.clone()),
            Step::Join(branches) => branches.iter().for_each(|branch| awaited(branch, names)),
            _ => {}
        }
    }
}

/// Makes programs.
pub(crate) struct Author<'d> {
    dice: &'d Dice,
    last_id: u64,
}

impl<'d> Author<'d> {
    pub(crate) fn new(dice: &'d Dice) -> Self {
        Self { dice, last_id: 0 }
    }

    /// A program for a run that clients start. `most_attempts` is how often the run may be tried.
    pub(crate) fn program(&mut self, most_attempts: u32) -> Program {
        let mut steps = self.sequence(6, 2, true);
        if most_attempts > 1 {
            let at = self.dice.between(0, steps.len() as u64);
            let until = u32::try_from(self.dice.between(2, u64::from(most_attempts))).unwrap();
            steps.insert(usize::try_from(at).unwrap(), Step::FailBefore(until));
        }
        let again = u32::from(most_attempts == 1 && self.dice.happens(1_500));
        Program { steps, again, said: Vec::new() }
    }

    fn sequence(&mut self, most: u64, depth: u32, events: bool) -> Vec<Step> {
        (0..self.dice.between(1, most)).map(|_| self.step(depth, events)).collect()
    }

    fn step(&mut self, depth: u32, events: bool) -> Step {
        let branches = |author: &mut Self, events| {
            (0..author.dice.between(2, 4)).map(|_| author.sequence(2, depth - 1, events)).collect()
        };
        match self.dice.between(0, if depth > 0 { 12 } else { 7 }) {
            0..=3 => Step::Task(self.work()),
            4 | 5 => Step::Sleep(self.time()),
            6 => Step::Value,
            7 if events && depth == 2 => Step::Event("letter".into()),
            7 if events => {
                self.last_id += 1;
                Step::Event(format!("call {}", self.last_id))
            }
            7 => Step::Task(self.work()),
            8 | 9 => Step::Join(branches(self, events)),
            10 => Step::Race(branches(self, false)),
            _ => {
                let again = u32::from(self.dice.happens(1_000));
                Step::Child(Program {
                    steps: self.sequence(3, depth - 1, false),
                    again,
                    said: Vec::new(),
                })
            }
        }
    }

    fn work(&mut self) -> Work {
        self.last_id += 1;
        let fails = *self.dice.one_of(&[0, 0, 0, 0, 1, 1, 2, 3]);
        Work {
            id: self.last_id,
            fails,
            slow: fails > 0 && self.dice.happens(3_000),
            takes_ms: *self.dice.one_of(&[0, 1, 20, 300, 2_000, 3_500]),
            most_attempts: *self.dice.one_of(&[1, 3, 3, 4]),
            pause_ms: *self.dice.one_of(&[0, 50, 1_000, 7_000]),
            seen: 0,
        }
    }

    /// Short times, and some that are longer than leases last.
    fn time(&self) -> u64 {
        *self.dice.one_of(&[0, 1, 5, 100, 999, 1_500, 10_000, 20_000, 70_000])
    }
}
