//! Runs many seeds, each in a process of its own, a few at a time, and says what they come to. A process
//! of its own is what makes a seed the same whatever ran before it.

use crate::world::{Defect, World};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Every so many seeds, one is run twice and compared.
const TWICE: u64 = 20;
/// The longest that a seed may take in real time.
const LONGEST: Duration = Duration::from_secs(120);
/// Failing seeds that are told of.
const TOLD: usize = 10;

const USAGE: &str = "usage: sim [--seeds N] [--first SEED] [--jobs N] [--defect NAME]
       sim --seed SEED [--defect NAME] [--quiet]";

/// What is to be done.
pub(crate) enum Wish {
    Many(Many),
    One { seed: u64, defect: Option<Defect>, aloud: bool },
}

pub(crate) struct Many {
    seeds: u64,
    first: u64,
    jobs: u64,
    defect: Option<String>,
}

/// What one seed came to. A process prints it as its only line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    seed: u64,
    /// Over the whole trace.
    hash: String,
    runs: u64,
    commits: u64,
    attempts: u64,
    simulated_s: u64,
    faults: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
}

impl Report {
    pub(crate) fn new(seed: u64, world: &World) -> Self {
        let (hash, runs, commits, attempts, faults, violations) = world.witness.summary();
        let faults = faults.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let (hash, simulated_s) = (format!("{hash:016x}"), world.witness.passed_s());
        Self { seed, hash, runs, commits, attempts, simulated_s, faults, violations }
    }
}

/// Reads the command line.
pub(crate) fn read_wish() -> Result<Wish, String> {
    let jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut many = Many { seeds: 300, first: 1, jobs, defect: None };
    let (mut one, mut aloud) = (None, true);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{text} is not a number\n{USAGE}"))
        };
        match word.as_str() {
            "--seeds" => many.seeds = number(value()?)?,
            "--first" => many.first = number(value()?)?,
            "--jobs" => many.jobs = number(value()?)?.max(1),
            "--seed" => one = Some(number(value()?)?),
            "--defect" => many.defect = Some(value()?),
            "--quiet" => aloud = false,
            _ => return Err(format!("{word} is not known\n{USAGE}")),
        }
    }
    let defect = match &many.defect {
        Some(name) => Some(Defect::named(name).ok_or_else(|| {
            let known: Vec<_> = Defect::ALL.iter().map(|(name, _)| *name).collect();
            format!("there is no defect {name}; there are {}", known.join(", "))
        })?),
        None => None,
    };
    Ok(match one {
        Some(seed) => Wish::One { seed, defect, aloud },
        None => Wish::Many(many),
    })
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    runs: u64,
    commits: u64,
    attempts: u64,
    simulated_s: u64,
    twice: u64,
    faults: BTreeMap<String, u64>,
    failed: Vec<(u64, Vec<String>)>,
}

/// Runs many seeds. Fails when one of them does.
pub(crate) fn run(many: &Many) -> ExitCode {
    let (next, sum, begun) =
        (AtomicU64::new(many.first), Mutex::new(Sum::default()), Instant::now());
    let end = many.first + many.seeds;
    std::thread::scope(|scope| {
        for _ in 0..many.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = run_seed(many, seed);
                    sum.lock().unwrap().add(seed, result);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap();
    sum.failed.sort();
    sum.print(many, begun.elapsed());
    ExitCode::from(u8::from(!sum.failed.is_empty()))
}

/// Runs a seed, and again now and then. An error is a violation that the process could not tell.
fn run_seed(many: &Many, seed: u64) -> Result<(Report, bool), String> {
    let report = run_once(many, seed)?;
    let twice = seed.is_multiple_of(TWICE);
    if twice {
        let again = run_once(many, seed)?;
        if again != report {
            return Err(format!("not deterministic: {} and {}", report.hash, again.hash));
        }
    }
    Ok((report, twice))
}

fn run_once(many: &Many, seed: u64) -> Result<Report, String> {
    let myself = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(myself);
    command.args(["--quiet", "--seed", &seed.to_string()]).env("RUST_BACKTRACE", "0");
    if let Some(defect) = &many.defect {
        command.args(["--defect", defect]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let begun = Instant::now();
    // Its one line is shorter than what a pipe holds, so it never waits for this process.
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if begun.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it does not end in {} s", LONGEST.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("it broke off: {}", said.chars().take(600).collect::<String>())
    })
}

impl Sum {
    fn add(&mut self, seed: u64, result: Result<(Report, bool), String>) {
        self.seeds += 1;
        match result {
            Ok((report, twice)) => {
                self.runs += report.runs;
                self.commits += report.commits;
                self.attempts += report.attempts;
                self.simulated_s += report.simulated_s;
                self.twice += u64::from(twice);
                for (name, count) in report.faults {
                    *self.faults.entry(name).or_default() += count;
                }
                if !report.violations.is_empty() {
                    self.failed.push((seed, report.violations));
                }
            }
            Err(why) => self.failed.push((seed, vec![why])),
        }
    }

    fn print(&self, many: &Many, took: Duration) {
        for (name, count) in &self.faults {
            println!("{count:>10}  {name}");
        }
        println!(
            "{} seeds ({} of them twice, with the same trace), {} runs, {} commits, {} task attempts, \
             {:.1} simulated hours, {} failed, {:.1} s",
            self.seeds,
            self.twice,
            self.runs,
            self.commits,
            self.attempts,
            self.simulated_s as f64 / 3_600.0,
            self.failed.len(),
            took.as_secs_f64(),
        );
        let defect = many.defect.as_ref().map_or(String::new(), |name| format!(" DEFECT={name}"));
        for (seed, violations) in self.failed.iter().take(TOLD) {
            println!("seed {seed} failed; to see it again: make sim SEED={seed}{defect}");
            for violation in violations {
                println!("  {}", violation.chars().take(500).collect::<String>());
            }
        }
    }
}
