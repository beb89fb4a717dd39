//! Being written.
/// The failure code of a run that took too long.
pub const RUN_TIMEOUT: &str = "run.timeout";
