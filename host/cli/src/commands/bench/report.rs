//! A measurement with everything that is needed to judge it.

use super::machine::{Machine, machine};
use serde::Serialize;
use std::fmt;

/// What a workload took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Measured {
    pub(super) workload: String,
    pub(super) steps: u64,
    pub(super) seconds: f64,
    pub(super) steps_per_second: f64,
    pub(super) latency_of: &'static str,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) cpu_us_per_step: f64,
    pub(super) fsyncs_per_step: f64,
    pub(super) bytes_per_step: f64,
    pub(super) rss_bytes: u64,
    pub(super) rss_peak_bytes: u64,
}

/// The same disk with nothing else: appends of one commit's size, one fsync each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Disk {
    pub(super) appends: u64,
    pub(super) bytes: usize,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) mean_us: f64,
}

/// What is printed of a measurement.
pub(super) trait Print: Serialize {
    /// Everything but where it was measured.
    fn print(&self, f: &mut fmt::Formatter<'_>, disk: &Disk) -> fmt::Result;
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report<M> {
    #[serde(flatten)]
    measured: M,
    raw_disk: Disk,
    machine: Machine,
    durability: &'static str,
    version: &'static str,
    build: &'static str,
}

impl<M> Report<M> {
    pub(super) fn new(measured: M, raw_disk: Disk) -> Self {
        Self {
            measured,
            raw_disk,
            machine: machine(),
            durability: "embedded store, fsync before every acknowledgement; starts in process",
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "dev profile" } else { "release profile" },
        }
    }
}

fn millis(us: u64) -> f64 {
    us as f64 / 1e3
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Print for Measured {
    fn print(&self, f: &mut fmt::Formatter<'_>, disk: &Disk) -> fmt::Result {
        let m = self;
        writeln!(f, "{}", m.workload)?;
        writeln!(f, "  throughput     {:.0} steps/s ({:.2} s)", m.steps_per_second, m.seconds)?;
        let (p50, p99) = (millis(m.p50_us), millis(m.p99_us));
        writeln!(f, "  latency        p50 {p50:.2} ms, p99 {p99:.2} ms per {}", m.latency_of)?;
        writeln!(f, "  CPU            {:.1} µs per step", m.cpu_us_per_step)?;
        writeln!(
            f,
            "  disk           {:.3} fsyncs, {:.0} bytes per step",
            m.fsyncs_per_step, m.bytes_per_step
        )?;
        writeln!(
            f,
            "  memory         {:.0} MB, peak {:.0} MB",
            mega(m.rss_bytes),
            mega(m.rss_peak_bytes)
        )?;
        writeln!(
            f,
            "  raw disk       p50 {:.2} ms, p99 {:.2} ms per fsync ({} appends of {} bytes)",
            millis(disk.p50_us),
            millis(disk.p99_us),
            disk.appends,
            disk.bytes
        )?;
        let step_us = m.seconds * 1e6 / m.steps as f64;
        writeln!(f, "  step / fsync   {:.2} (mean step {step_us:.0} µs)", step_us / disk.mean_us)
    }
}

impl<M: Print> fmt::Display for Report<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measured, raw_disk, machine, .. } = self;
        measured.print(f, raw_disk)?;
        writeln!(f, "  durability     {}", self.durability)?;
        write!(
            f,
            "  machine        {} × {}, {:.0} GB, Linux {}; everstep {}, {}",
            machine.cores,
            machine.processor,
            mega(machine.memory_bytes) / 1e3,
            machine.kernel,
            self.version,
            self.build
        )
    }
}
