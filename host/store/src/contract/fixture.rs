//! Commits made by hand. The cases change what they are about; the rest just has to be consistent.

use everstep_core::record::{Origin, QueueReason};
use everstep_core::{
    Commit, Digest, Entry, InputHash, JournalEvent, Limits, LogLevel, LogLine, LogSource, OpId,
    Payload, Record, RunId, RunState, StartOptions, Timestamp,
};
use std::sync::Arc;

/// The id of the run that the tests call number `n`; ids are ordered like their numbers.
#[must_use]
pub fn run_id(n: u64) -> RunId {
    RunId::from_bytes((u128::from(n) << 64 | 0x5ee5).to_be_bytes())
}

/// The commit that starts run `n`, `n` milliseconds after the beginning of the tests' time.
#[must_use]
pub fn first(n: u64) -> Commit {
    let at = Timestamp::from_millis(1_700_000_000_000 + n);
    let input = Payload::null();
    let origin = Arc::new(Origin {
        id: run_id(n),
        workflow: "onboarding".into(),
        version: "1".into(),
        digest: Digest::of(b"module"),
        engine: 1,
        limits: Limits::default(),
        input_hash: input.hash(),
        options: StartOptions::default(),
        started_at: at,
        due: None,
    });
    let event = JournalEvent::RunStarted { origin: Arc::clone(&origin), input, due: at };
    Commit {
        expected_length: 0,
        token: None,
        entries: vec![Entry { at, event }],
        logs: Vec::new(),
        record: Record {
            origin,
            state: RunState::Queued { reason: QueueReason::New },
            attempt: 0,
            length: 1,
            log_lines: 0,
            next_op: OpId(1),
            pending: 0,
            undelivered: 0,
            wake_at: None,
            ready: true,
            cancel: None,
            updated_at: at,
        },
    }
}

/// The commit behind `record` with so many entries and log lines. Entry and line `i` of a run are
/// always [`entry`] and [`line`] `i`.
#[must_use]
pub fn next(record: &Record, entries: u64, lines: u64) -> Commit {
    let mut record = record.clone();
    let expected_length = record.length;
    let first_line = record.log_lines;
    record.length += entries;
    record.log_lines += lines;
    record.state = RunState::Running;
    record.updated_at = record.updated_at.plus(1);
    Commit {
        expected_length,
        token: None,
        entries: (expected_length..record.length).map(entry).collect(),
        logs: (first_line..record.log_lines).map(line).collect(),
        record,
    }
}

/// The entry that stands at this position.
pub(crate) fn entry(seq: u64) -> Entry {
    let event = match seq % 2 {
        0 => JournalEvent::TimerFired { op: OpId(seq) },
        _ => JournalEvent::TaskScheduled {
            op: OpId(seq),
            name: "send".into(),
            input: Payload::from_value(&seq).unwrap(),
            input_hash: InputHash::of(&seq.to_le_bytes()),
            options: everstep_core::TaskOptions::default(),
            reuses: None,
        },
    };
    Entry { at: Timestamp::from_millis(1_700_000_000_000 + seq), event }
}

/// The log line that stands at this position.
pub(crate) fn line(seq: u64) -> LogLine {
    LogLine {
        at: Timestamp::from_millis(1_700_000_000_000 + seq),
        level: LogLevel::Info,
        source: LogSource::Workflow,
        message: format!("line {seq}"),
        fields: Payload::from_value(&[seq]).ok(),
        op: None,
        attempt: 1,
    }
}
