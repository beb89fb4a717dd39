//! What the measurements are taken on, and what this process has used of it.

use serde::Serialize;
use std::time::Duration;

/// The machine, for the reader of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
}

/// What the process has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) rss_bytes: u64,
    pub(super) rss_peak_bytes: u64,
}

pub(super) fn machine() -> Machine {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Machine { processor, cores, memory_bytes: kilobytes("/proc/meminfo", "MemTotal"), kernel }
}

pub(super) fn usage() -> Usage {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(used.tv_nsec).unwrap_or_default();
    Usage {
        cpu: Duration::new(seconds, nanos),
        rss_bytes: kilobytes("/proc/self/status", "VmRSS"),
        rss_peak_bytes: kilobytes("/proc/self/status", "VmHWM"),
    }
}

fn kilobytes(file: &str, name: &str) -> u64 {
    let text = field(file, name).unwrap_or_default();
    let number = text.split_whitespace().next().and_then(|digits| digits.parse::<u64>().ok());
    number.unwrap_or_default() * 1_024
}

/// A value of a file with lines of the form `name: value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}
