//! What everything in a simulation shares: the clock, the faults that may happen, the defects that are
//! planted to see whether they are found, the store behind everything, and the witness.

use crate::dice::Dice;
use crate::witness::Witness;
use everstep_core::Timestamp;
use everstep_store::Memory;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When every simulation begins: 2026-01-01.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);

static BEGAN: OnceLock<Instant> = OnceLock::new();
static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

/// The time, as the simulation makes it pass.
pub(crate) fn truth() -> Timestamp {
    let began = BEGAN.get_or_init(Instant::now);
    let passed = u64::try_from(began.elapsed().as_millis()).unwrap();
    BEGINNING.plus(passed)
}

/// The time that the server is told.
pub(crate) fn told() -> Timestamp {
    truth().plus(AHEAD_MS.load(Ordering::Relaxed))
}

/// A defect that is put in on purpose. Each has to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The store answers before anything is durable, and then sometimes nothing becomes so.
    AnswersFirst,
    /// A start is acknowledged that is nowhere.
    LosesStarts,
    /// An event is acknowledged that is nowhere.
    LosesEvents,
    /// Nobody looks at tokens of leases, and hosts are not told that they lost one.
    ChecksNoTokens,
    /// The clock of the server is ahead now and then, so that timers fire early.
    FiresEarly,
    /// A message to another run is taken for delivered and is not.
    LosesMessages,
    /// The result of a task is another one when it is read again.
    ChangesResults,
}

impl Defect {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("answers-first", Self::AnswersFirst),
        ("loses-starts", Self::LosesStarts),
        ("loses-events", Self::LosesEvents),
        ("checks-no-tokens", Self::ChecksNoTokens),
        ("fires-early", Self::FiresEarly),
        ("loses-messages", Self::LosesMessages),
        ("changes-results", Self::ChangesResults),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, defect)| defect)
    }
}

/// How often what goes wrong, in ten thousand, and for how long at all. Every seed has its own mixture:
/// some faults are met only where others are rare.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) refused: u64,
    pub(crate) answer_lost: u64,
    pub(crate) read_failed: u64,
    pub(crate) crash_at_commit: u64,
    pub(crate) request_dropped: u64,
    pub(crate) answer_dropped: u64,
    pub(crate) duplicated: u64,
    pub(crate) work_dropped: u64,
    pub(crate) slow: u64,
    pub(crate) slowest_ms: u64,
    /// The mean time between two disasters, in milliseconds; 0 for none.
    pub(crate) disaster_ms: u64,
    pub(crate) lasts: Duration,
    pub(crate) hosts: u64,
    pub(crate) runs: u64,
}

impl Plan {
    fn new(dice: &Dice) -> Self {
        let calm = dice.happens(500);
        let rate = |most: u64| match calm || dice.happens(4_000) {
            true => 0,
            false => dice.between(1, most),
        };
        Self {
            refused: rate(300),
            answer_lost: rate(300),
            read_failed: rate(100),
            crash_at_commit: rate(60),
            request_dropped: rate(300),
            answer_dropped: rate(300),
            duplicated: rate(600),
            work_dropped: rate(500),
            slow: rate(2_000),
            slowest_ms: *dice.one_of(&[50, 1_000, 8_000]),
            disaster_ms: rate(1) * *dice.one_of(&[4_000, 10_000, 30_000]),
            lasts: Duration::from_secs(dice.between(20, 150)),
            hosts: dice.between(1, 3),
            runs: dice.between(2, 10),
        }
    }

    /// Whether nothing goes wrong at all.
    pub(crate) fn is_calm(&self) -> bool {
        let rates = [
            self.refused,
            self.answer_lost,
            self.read_failed,
            self.crash_at_commit,
            self.request_dropped,
            self.answer_dropped,
            self.duplicated,
            self.work_dropped,
            self.slow,
            self.disaster_ms,
        ];
        rates.iter().all(|rate| *rate == 0)
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) defect: Option<Defect>,
    /// What is wrong from here on follows from this.
    pub(crate) dice: Dice,
    /// What is asked of the server.
    pub(crate) work: Dice,
    pub(crate) memory: Arc<Memory>,
    pub(crate) witness: Witness,
    /// Rings when the server is to crash.
    pub(crate) crash: Notify,
    healed: AtomicBool,
}

impl World {
    pub(crate) fn new(seed: u64, defect: Option<Defect>, aloud: bool) -> Arc<Self> {
        truth();
        let plan = Plan::new(&Dice::new(seed, 1));
        let world = Self {
            defect,
            dice: Dice::new(seed, 2),
            work: Dice::new(seed, 3),
            memory: Arc::new(Memory::new()),
            witness: Witness::new(aloud),
            crash: Notify::new(),
            healed: AtomicBool::new(false),
            plan,
        };
        world.witness.note(format_args!("plan {:?}", world.plan));
        Arc::new(world)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        AHEAD_MS.store(0, Ordering::Relaxed);
        self.witness.note(format_args!("nothing goes wrong any more"));
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Whether a fault happens now; it is counted.
    pub(crate) fn fault(&self, name: &'static str, in_ten_thousand: u64) -> bool {
        let happens = !self.is_healed() && self.dice.happens(in_ten_thousand);
        if happens {
            self.witness.count(name);
        }
        happens
    }

    /// Whether a planted defect shows itself now.
    pub(crate) fn has(&self, defect: Defect, in_ten_thousand: u64) -> bool {
        self.defect == Some(defect) && !self.is_healed() && self.dice.happens(in_ten_thousand)
    }

    /// Sets the clock of the server ahead, if that is the defect.
    pub(crate) fn shift_clock(&self) {
        if self.has(Defect::FiresEarly, 5_000) {
            AHEAD_MS.store(self.dice.between(1_000, 20_000), Ordering::Relaxed);
        } else {
            AHEAD_MS.store(0, Ordering::Relaxed);
        }
    }

    /// A moment: short as a rule, long now and then.
    pub(crate) async fn moment(&self) {
        let slow = self.fault("slow", self.plan.slow);
        let most = if slow { self.plan.slowest_ms } else { 3 };
        tokio::time::sleep(Duration::from_millis(self.dice.between(0, most))).await;
    }

    pub(crate) async fn pause(&self, low_ms: u64, high_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.dice.between(low_ms, high_ms))).await;
    }
}
