//! What a run of the suite comes to, as a table for people. Printed by the program and by the test.

use super::Plan;
use super::check::{Promise, Verdict};
use std::fmt;
use std::time::Duration;

/// Every promise, in the order of the table.
const PROMISES: &[Promise] = &[
    Promise::Acknowledged,
    Promise::Ends,
    Promise::Results,
    Promise::Witnessed,
    Promise::NotRepeated,
    Promise::NotBefore,
    Promise::Timers,
    Promise::OneHistory,
    Promise::Programs,
];
/// Violations that are shown of each promise, and exits; all of them are counted.
const SHOWN: usize = 5;

/// See the module.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was to be done.
    pub plan: Plan,
    /// How often each kind of fault happened.
    pub faults: Vec<(&'static str, u64)>,
    /// Starts that were asked for.
    pub asked: u64,
    /// Starts that were acknowledged.
    pub acknowledged: usize,
    /// Events that were acknowledged.
    pub events: usize,
    /// Runs that completed.
    pub completed: usize,
    /// Lines of the ledger.
    pub effects: usize,
    /// Journals that were read on the way.
    pub sightings: usize,
    /// How processes ended that nobody had ended.
    pub exits: Vec<String>,
    /// What was not kept.
    pub verdict: Verdict,
    /// How long all of it took.
    pub took: Duration,
    /// How long it took from the last fault until the last run had ended and was read.
    pub recovery: Duration,
}

impl Report {
    /// Whether everything was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { stored, lasts, seed, folder } = &self.plan;
        writeln!(f, "{stored:?}, {} s of faults, seed {seed}", lasts.as_secs())?;
        writeln!(f, "\nfaults")?;
        for (name, count) in &self.faults {
            writeln!(f, "  {name:<48}{count:>8}")?;
        }
        let total: u64 = self.faults.iter().map(|(_, count)| count).sum();
        writeln!(f, "  {:<48}{total:>8}", "all")?;
        let seconds = |time: Duration| usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        writeln!(f, "\nseen")?;
        for (what, count) in [
            ("starts asked for", usize::try_from(self.asked).unwrap_or(usize::MAX)),
            ("starts acknowledged", self.acknowledged),
            ("events acknowledged", self.events),
            ("runs completed", self.completed),
            ("effects in the ledger", self.effects),
            ("journals read on the way", self.sightings),
            ("exits of programs by themselves", self.exits.len()),
            ("late attempts of hosts that stood still", self.verdict.excused as usize),
            ("seconds until everything had ended", seconds(self.recovery)),
            ("seconds in all", seconds(self.took)),
        ] {
            writeln!(f, "  {what:<48}{count:>8}")?;
        }
        for exit in self.exits.iter().take(SHOWN) {
            writeln!(f, "    {exit}")?;
        }
        writeln!(f, "\nviolations")?;
        for promise in PROMISES {
            let of = self.verdict.violations.iter().filter(|it| it.promise == *promise);
            writeln!(f, "  {:<48}{:>8}", promise.name(), of.clone().count())?;
            for violation in of.take(SHOWN) {
                let run = violation.run.map(|run| format!("{run}: ")).unwrap_or_default();
                writeln!(f, "    {run}{}", violation.what)?;
            }
        }
        if !self.is_good() {
            writeln!(f, "\nlogs, ledger, journals and faults lie in {}", folder.display())?;
        }
        Ok(())
    }
}
