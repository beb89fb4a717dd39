//! The log lines of one activation or one task attempt: bounded in number and length, in the order
//! in which the guest wrote them. Printed text becomes lines here.

use crate::fault::cut;
use everstep_core::{Limits, LogLevel, LogLine, LogSource, OpId, Payload, Timestamp};
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many lines of stderr an error message repeats.
const LAST_WORDS: usize = 12;

/// The most bytes of lines that one activation or task attempt leaves behind. They travel in one
/// commit, so there has to be an end.
const BYTES_MAX: usize = 4 << 20;

/// Where the time of a line comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The completion that a workflow handles.
    Standing(Timestamp),
    /// The wall clock, for tasks.
    Real,
}

/// One of the two streams that a guest prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Printed {
    Stdout,
    Stderr,
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// Bytes over the limit that were not kept.
    lost: usize,
}

/// Collects lines.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    lines: Vec<LogLine>,
    bytes: usize,
    dropped: u64,
    stdout: Partial,
    stderr: Partial,
    last_words: VecDeque<String>,
    clock: Clock,
    /// Set for tasks.
    op: Option<OpId>,
    attempt: u32,
    line_bytes: usize,
    lines_max: usize,
}

impl LogBuffer {
    pub(crate) fn new(clock: Clock, op: Option<OpId>, attempt: u32, limits: &Limits) -> Self {
        Self {
            lines: Vec::new(),
            bytes: 0,
            dropped: 0,
            stdout: Partial::default(),
            stderr: Partial::default(),
            last_words: VecDeque::new(),
            clock,
            op,
            attempt,
            line_bytes: usize::try_from(limits.log_line_bytes).unwrap_or(usize::MAX),
            lines_max: usize::try_from(limits.log_lines_per_activation).unwrap_or(usize::MAX),
        }
    }

    /// Moves the clock of a workflow. Lines that were written while the instance was set up, before
    /// there was a time, get this one.
    pub(crate) fn stand_at(&mut self, now: Timestamp) {
        self.clock = Clock::Standing(now);
        for line in &mut self.lines {
            line.at = now;
        }
    }

    /// Adds what the guest said through the logger. `fields` is a JSON object, or empty.
    pub(crate) fn log(&mut self, level: LogLevel, message: String, fields: &[u8]) {
        let fields = (!fields.is_empty()).then(|| self.fields(message.len(), fields));
        self.push(level, LogSource::Workflow, message, fields, 0);
    }

    /// Adds what the guest printed; whole lines are logged.
    pub(crate) fn print(&mut self, stream: Printed, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(stream, &bytes[..end]);
            self.end_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.append(stream, bytes);
    }

    /// Takes everything, with the lines that have not ended and a note on those dropped.
    pub(crate) fn take(&mut self) -> Vec<LogLine> {
        for stream in [Printed::Stdout, Printed::Stderr] {
            let partial = self.partial(stream);
            if !partial.bytes.is_empty() {
                self.end_line(stream);
            }
        }
        self.bytes = 0;
        let mut lines = std::mem::take(&mut self.lines);
        if self.dropped > 0 {
            let message = format!("{} further lines were dropped", self.dropped);
            self.dropped = 0;
            lines.push(self.line(LogLevel::Warn, LogSource::Workflow, message, None));
        }
        lines
    }

    /// The last lines on stderr, for an error message.
    pub(crate) fn last_words(&mut self) -> String {
        if !self.stderr.bytes.is_empty() {
            self.end_line(Printed::Stderr);
        }
        self.last_words.make_contiguous().join("\n")
    }

    fn partial(&mut self, stream: Printed) -> &mut Partial {
        match stream {
            Printed::Stdout => &mut self.stdout,
            Printed::Stderr => &mut self.stderr,
        }
    }

    fn append(&mut self, stream: Printed, bytes: &[u8]) {
        let limit = self.line_bytes;
        let partial = self.partial(stream);
        let room = limit.saturating_sub(partial.bytes.len()).min(bytes.len());
        partial.bytes.extend_from_slice(&bytes[..room]);
        partial.lost += bytes.len() - room;
    }

    fn end_line(&mut self, stream: Printed) {
        let partial = std::mem::take(self.partial(stream));
        let message = String::from_utf8_lossy(&partial.bytes).trim_end_matches('\r').to_owned();
        let (level, source) = match stream {
            Printed::Stdout => (LogLevel::Info, LogSource::Stdout),
            Printed::Stderr => (LogLevel::Warn, LogSource::Stderr),
        };
        if stream == Printed::Stderr && is_telling(&message) {
            if self.last_words.len() == LAST_WORDS {
                self.last_words.pop_front();
            }
            let mut words = message.clone();
            cut(&mut words, 1 << 10);
            self.last_words.push_back(words);
        }
        self.push(level, source, message, None, partial.lost);
    }

    /// Fields that fit and are JSON are kept as they are; others are replaced by a note.
    fn fields(&self, message_bytes: usize, fields: &[u8]) -> Payload {
        let note = |text: String| {
            Payload::from_value(&serde_json::json!({ "fields_dropped": text }))
                .unwrap_or_else(|_| Payload::null())
        };
        if message_bytes.saturating_add(fields.len()) > self.line_bytes {
            return note(format!("{} bytes are over the limit of a line", fields.len()));
        }
        match Payload::from_bytes(fields) {
            Ok(payload) if payload.as_str().trim_start().starts_with('{') => payload,
            Ok(_) => note("not a JSON object".into()),
            Err(error) => note(error.to_string()),
        }
    }

    fn push(
        &mut self,
        level: LogLevel,
        source: LogSource,
        mut message: String,
        fields: Option<Payload>,
        lost: usize,
    ) {
        if self.lines.len() >= self.lines_max || self.bytes >= BYTES_MAX {
            self.dropped += 1;
            return;
        }
        let whole = message.len() + lost;
        cut(&mut message, self.line_bytes);
        if message.len() < whole && (lost > 0 || whole > self.line_bytes) {
            message.push_str(&format!(" … (cut, the line had {whole} bytes)"));
        }
        self.bytes += message.len() + fields.as_ref().map_or(0, Payload::len);
        let line = self.line(level, source, message, fields);
        self.lines.push(line);
    }

    /// Completes a line; whatever a task writes has the task as its source.
    fn line(
        &self,
        level: LogLevel,
        source: LogSource,
        message: String,
        fields: Option<Payload>,
    ) -> LogLine {
        let at = match self.clock {
            Clock::Standing(at) => at,
            Clock::Real => now(),
        };
        let source = if self.op.is_some() { LogSource::Task } else { source };
        LogLine { at, level, source, message, fields, op: self.op, attempt: self.attempt }
    }
}

/// Whether a line on stderr helps to understand a failure. The advice of Rust's panic handler does
/// not: a guest has no environment.
fn is_telling(line: &str) -> bool {
    !line.trim().is_empty() && !line.contains("RUST_BACKTRACE")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(line_bytes: u64, lines: u64) -> LogBuffer {
        let limits = Limits {
            log_line_bytes: line_bytes,
            log_lines_per_activation: lines,
            ..Limits::default()
        };
        LogBuffer::new(Clock::Standing(Timestamp::from_millis(5)), None, 1, &limits)
    }

    fn messages(buffer: &mut LogBuffer) -> Vec<String> {
        buffer.take().into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn printed_text_becomes_lines() {
        let mut logs = buffer(100, 100);
        logs.print(Printed::Stdout, b"one\r\ntw");
        logs.print(Printed::Stderr, b"oops\n");
        logs.print(Printed::Stdout, b"o\n\nrest");
        assert_eq!(messages(&mut logs), ["one", "oops", "two", "", "rest"]);
        assert_eq!(logs.last_words(), "oops");
        assert!(logs.take().is_empty());
    }

    #[test]
    fn long_lines_are_cut_and_marked_and_floods_are_counted() {
        let mut logs = buffer(4, 2);
        logs.print(Printed::Stdout, b"123456\n");
        logs.log(LogLevel::Info, "äöü".into(), b"");
        logs.log(LogLevel::Info, "no".into(), b"");
        assert_eq!(
            messages(&mut logs),
            [
                "1234 … (cut, the line had 6 bytes)",
                "äö … (cut, the line had 6 bytes)",
                "1 further lines were dropped"
            ]
        );
    }

    #[test]
    fn fields_that_cannot_be_kept_say_why() {
        let mut logs = buffer(40, 9);
        logs.log(LogLevel::Info, "a".into(), br#"{"x":1}"#);
        logs.log(LogLevel::Info, "b".into(), b"[1]");
        logs.log(LogLevel::Info, "c".into(), b"{");
        logs.log(LogLevel::Info, "d".into(), &[b' '; 50]);
        let fields: Vec<String> = logs
            .take()
            .iter()
            .map(|line| line.fields.as_ref().map(ToString::to_string).unwrap_or_default())
            .collect();
        assert_eq!(fields[0], r#"{"x":1}"#);
        assert!(fields[1].contains("not a JSON object"));
        assert!(fields[2].contains("not a JSON value"));
        assert!(fields[3].contains("50 bytes"));
    }
}
