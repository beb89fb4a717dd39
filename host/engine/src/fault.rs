//! From a wasmtime error to whose fault it is. Host imports refuse a guest with a [`Fault`]; traps
//! and the host's own troubles come out of wasmtime. [`explain`] sorts them, and writes the message
//! with the guest's last words and its backtrace.

use crate::budget::{HostOutOfMemory, MemoryBudget};
use crate::error::ActivationError;
use everstep_core::StuckCause;
use std::borrow::Cow;
use std::fmt::Write as _;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

/// The most bytes of a message that the guest's backtrace and output may make.
const MESSAGE_BYTES: usize = 16 << 10;

/// A guest asked for something that it must not have. The same in every replay.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// A stable dotted word.
    pub(crate) code: &'static str,
    /// What it did.
    pub(crate) message: String,
    /// What to do instead.
    pub(crate) remedy: &'static str,
}

impl Fault {
    /// The guest broke the contract of `wit/`.
    pub(crate) fn contract(message: impl Into<String>) -> Self {
        Self {
            code: "guest.contract",
            message: message.into(),
            remedy: "The module breaks the contract of everstep:workflow; rebuild it with a \
                     current SDK.",
        }
    }

    /// The guest hit one of its limits.
    pub(crate) fn limit(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            remedy: "Ask for less, or raise the limit for runs to come and start the run anew.",
        }
    }

    /// The guest used something that only tasks have.
    pub(crate) fn unavailable(what: &str) -> Self {
        Self {
            code: "guest.unavailable",
            message: format!("{what} is not available in a workflow; do this in a task"),
            remedy: "Move the call into a task (`#[task]`), and start that task from the workflow.",
        }
    }

    /// The guest waited for something that cannot happen during an activation.
    pub(crate) fn blocking() -> Self {
        Self {
            code: "guest.blocking",
            message: "the workflow blocked: a workflow must never wait inside an activation, \
                      time stands still in it; use `run.sleep` instead"
                .into(),
            remedy: "Replace the blocking wait (std::thread::sleep, a blocking read, a poll) with \
                     `run.sleep(…).await`, or move it into a task.",
        }
    }

    /// The guest called `exit`.
    pub(crate) fn exit() -> Self {
        Self {
            code: "guest.exit",
            message: "the workflow called exit".into(),
            remedy: "Return from the workflow, with an error if it failed, instead of exiting.",
        }
    }
}

/// What [`explain`] needs to know besides the error.
pub(crate) struct Circumstances<'a> {
    pub(crate) budget: &'a MemoryBudget,
    /// The last lines that the guest wrote to stderr.
    pub(crate) last_words: String,
    /// The fuel that the activation had.
    pub(crate) fuel: u64,
}

/// Sorts an error of a workflow instance by whose fault it is.
pub(crate) fn explain(error: &wasmtime::Error, around: &Circumstances<'_>) -> ActivationError {
    if let Some(host) = host_error(error) {
        return host;
    }
    let (code, summary, remedy) = guest_error(error, around);
    ActivationError::Stuck(StuckCause {
        code: code.into(),
        message: describe(error, &summary, &around.last_words),
        remedy: remedy.into(),
        divergence: None,
    })
}

/// Errors that say nothing about the guest.
pub(crate) fn host_error(error: &wasmtime::Error) -> Option<ActivationError> {
    if error.is::<PoolConcurrencyLimitError>() {
        return Some(ActivationError::Capacity);
    }
    if let Some(memory) = error.downcast_ref::<HostOutOfMemory>() {
        return Some(ActivationError::OutOfMemory(memory.to_string()));
    }
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
        return Some(ActivationError::Interrupted);
    }
    None
}

fn guest_error(
    error: &wasmtime::Error,
    around: &Circumstances<'_>,
) -> (&'static str, Cow<'static, str>, &'static str) {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return (fault.code, fault.message.clone().into(), fault.remedy);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => (
            "guest.fuel",
            format!("one activation used up its {} units of fuel", around.fuel).into(),
            "Look for an endless loop; move heavy computation into a task, or raise the fuel limit \
             for runs to come.",
        ),
        Some(Trap::StackOverflow) => (
            "guest.stack",
            "the guest recursed too deeply".into(),
            "Look for endless recursion; replace deep recursion with a loop.",
        ),
        // A guest that cannot have memory gives up, in one way or another.
        _ if around.budget.was_refused() => (
            "limit.memory",
            format!("the guest asked for more than its {} bytes of memory", around.budget.limit())
                .into(),
            "Keep less data in the workflow, or raise the memory limit for runs to come.",
        ),
        Some(trap) => (
            "guest.trap",
            format!("the guest trapped: {trap}").into(),
            "Correct the code where the backtrace points, and upload it as a replacement: the run \
             continues from its journal.",
        ),
        None => (
            "guest.trap",
            format!("the guest failed: {}", error.root_cause()).into(),
            "Correct the code where the backtrace points, and upload it as a replacement: the run \
             continues from its journal.",
        ),
    }
}

/// The summary, what the guest printed last, and where it was.
pub(crate) fn describe(error: &wasmtime::Error, summary: &str, last_words: &str) -> String {
    let mut text = summary.to_owned();
    if !last_words.is_empty() {
        let _ = write!(text, "\nlast lines on stderr:\n{last_words}");
    }
    let trace = error.downcast_ref::<WasmBacktrace>().map(|trace| frames(&trace.to_string()));
    if let Some(trace) = trace.filter(|trace| !trace.is_empty()) {
        let _ = write!(text, "\nguest backtrace:\n{trace}");
    }
    cut(&mut text, MESSAGE_BYTES);
    text
}

/// The frames of a backtrace as wasmtime prints them, without the machinery of a panic, and with
/// the frames of a recursion counted instead of repeated.
pub(crate) fn frames(trace: &str) -> String {
    let mut frames: Vec<(&str, String)> = Vec::new();
    for line in trace.lines().skip(1) {
        match (line.split_once(" - "), frames.last_mut()) {
            (Some((_, name)), _) => frames.push((name, line.to_owned())),
            // The place in the source, below the name of the function.
            (None, Some((_, frame))) => {
                let _ = write!(frame, "\n{line}");
            }
            (None, None) => {}
        }
    }
    let is_machinery =
        |name: &str| name.contains("rust_begin_unwind") || name.contains("handle_alloc_error");
    let begin = frames.iter().rposition(|(name, _)| is_machinery(name)).map_or(0, |at| at + 1);
    let brief: Vec<String> = frames[begin..]
        .chunk_by(|one, next| one.0 == next.0)
        .filter_map(|same| {
            let (_, frame) = same.last()?;
            let times = same.len();
            Some(if times == 1 { frame.clone() } else { format!("{frame} ({times} times)") })
        })
        .collect();
    brief.join("\n")
}

/// Shortens a text to at most `limit` bytes, at a character boundary.
pub(crate) fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backtraces_are_brief() {
        let trace = "error while executing at wasm backtrace:\n    0: 0x1 - m!abort\n    \
            1: 0x2 - m!__rustc::rust_begin_unwind\n    2: 0x3 - m!a\n    3: 0x4 - m!b\n    \
            4: 0x5 - m!b\n    5: 0x6 - m!b\n    6: 0x7 - m!start\n      at lib.rs:3:1";
        assert_eq!(
            frames(trace),
            "    2: 0x3 - m!a\n    5: 0x6 - m!b (3 times)\n    6: 0x7 - m!start\n      at lib.rs:3:1"
        );
        assert_eq!(frames("nothing"), "");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut text = "aäb".to_owned();
        cut(&mut text, 2);
        assert_eq!(text, "a");
    }
}
