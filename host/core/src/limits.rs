//! Limits that bound what one run may ask for. All are configurable; those a guest can observe are
//! recorded with the run, because a replay under other limits would be another execution.

use serde::{Deserialize, Serialize};

/// The bounds of one run. Hitting one never harms another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The largest input, output or failure detail, in bytes.
    pub payload_bytes: u64,
    /// How many operations of a run may be pending at once.
    pub pending_operations: u64,
    /// Message and fields of one log line together, in bytes; the rest is cut.
    pub log_line_bytes: u64,
    /// Log lines that one activation or task attempt may write; the rest is dropped and counted.
    pub log_lines_per_activation: u64,
    /// The longest name of a task or timer, in bytes.
    pub name_bytes: u64,
    /// Linear memory of a guest instance, in bytes.
    pub memory_bytes: u64,
    /// Fuel (about one unit per wasm instruction) of one activation.
    pub fuel: u64,
    /// Commands that one activation may issue.
    pub commands_per_activation: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 2 << 20,
            pending_operations: 10_000,
            log_line_bytes: 64 << 10,
            log_lines_per_activation: 10_000,
            name_bytes: 256,
            memory_bytes: 256 << 20,
            fuel: 5_000_000_000,
            commands_per_activation: 20_000,
        }
    }
}
