//! Taking snapshots of runs, and going on from them. The driver asks after each commit, the loader before
//! it replays; the link keeps the bytes.
//!
//! Invariant: a snapshot only saves time. It is taken of what is durable, read only when it is intact and of
//! this version, and used only where it fits the run's record; in every other case the journal is replayed.

use super::warm::Resting;
use crate::link::{HostLink, Note};
use everstep_core::{Record, Run, RunImage};
use everstep_engine::{Module, RunContext, SnapshotError, WorkflowInstance};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What taking a snapshot is thought to cost before one was taken.
const FIRST_GUESS: Duration = Duration::from_micros(500);
/// A run that is put aside is worth a snapshot when its replay takes so many times as long.
const WHEN_ASIDE: u32 = 2;
/// What snapshots may take beyond their share for a moment.
const BURST: Duration = Duration::from_millis(50);
/// How many seconds' bytes may be written at once.
const BURST_SECONDS: u64 = 10;
/// Snapshots that are on their way to the store at once; what comes then is not kept.
const ON_THE_WAY: usize = 16;
/// The largest snapshot that is kept.
const MOST_BYTES: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"EVRUN001";
const HASH: usize = 32;

/// What stands in front of the guest.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The version of Everstep, which alone knows what the run means.
    version: String,
    run: RunImage,
}

/// What a run would cost to be brought back, and what a snapshot of it costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// The time of the activations since the last snapshot.
    replay: Duration,
    /// What taking one took last time.
    taking: Duration,
    /// The bytes of the last one.
    bytes: u64,
    /// Whether there is one.
    taken: bool,
}

impl Default for Cost {
    fn default() -> Self {
        Self { replay: Duration::ZERO, taking: FIRST_GUESS, bytes: 0, taken: false }
    }
}

impl Cost {
    /// What a run has cost to be brought back: its whole replay, or that of what stands behind its
    /// snapshot.
    pub(super) fn of(replay: Duration, taken: bool) -> Self {
        Self { replay, taken, ..Self::default() }
    }
}

/// Takes snapshots where they are worth it.
pub(super) struct Snapshots {
    link: Arc<dyn HostLink>,
    /// The part of the time of activations that snapshots may take; 0 for none.
    share: f64,
    /// The time of all activations, and of all snapshots, in nanoseconds.
    worked: AtomicU64,
    spent: AtomicU64,
    /// The bytes that may be written in a second, on average, and those that were written since then.
    bytes_per_second: u64,
    written: AtomicU64,
    since: Instant,
    on_the_way: Arc<Semaphore>,
}

impl Snapshots {
    pub(super) fn new(link: Arc<dyn HostLink>, share: f64, bytes_per_second: u64) -> Self {
        Self {
            link,
            share,
            worked: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            bytes_per_second,
            written: AtomicU64::new(0),
            since: Instant::now(),
            on_the_way: Arc::new(Semaphore::new(ON_THE_WAY)),
        }
    }

    /// An activation of the run took so long.
    pub(super) fn worked(&self, cost: &mut Cost, activation: Duration) {
        cost.replay += activation;
        self.worked.fetch_add(nanos(activation), Ordering::Relaxed);
    }

    /// Takes one when replaying the run has become that much more expensive. Everything that the run has
    /// decided must be durable.
    pub(super) fn consider(&self, guest: &mut Resting) {
        let Cost { replay, taking, .. } = guest.cost;
        if self.share > 0.0 && replay.as_secs_f64() * self.share >= taking.as_secs_f64() {
            self.take(guest);
        }
    }

    /// The same for a run that comes to rest: the next thing may be that it has to be brought back.
    pub(super) fn at_rest(&self, guest: &mut Resting) {
        if self.is_worth_it_aside(&guest.cost) {
            self.take(guest);
        }
    }

    /// The same for runs for which there is no room in memory.
    pub(super) fn evicted(self: &Arc<Self>, guests: Vec<Resting>) {
        for mut guest in guests.into_iter().filter(|guest| self.is_worth_it_aside(&guest.cost)) {
            let (this, handle) = (Arc::clone(self), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || {
                let _entered = handle.enter();
                this.take(&mut guest);
            });
        }
    }

    fn is_worth_it_aside(&self, Cost { replay, taking, .. }: &Cost) -> bool {
        let allowed = self.worked.load(Ordering::Relaxed) as f64 * self.share;
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(nanos(*taking));
        let in_bounds = spent as f64 <= allowed + nanos(BURST) as f64;
        self.share > 0.0 && *replay >= *taking * WHEN_ASIDE && in_bounds
    }

    /// Whether a snapshot of this size may be written now.
    fn has_bytes_for(&self, bytes: u64) -> bool {
        let seconds = self.since.elapsed().as_secs().saturating_add(BURST_SECONDS);
        let allowed = self.bytes_per_second.saturating_mul(seconds);
        self.written.load(Ordering::Relaxed).saturating_add(bytes) <= allowed
    }

    fn take(&self, guest: &mut Resting) {
        let Some(instance) = &mut guest.instance else { return };
        if instance.module().unsound().is_some() || !self.has_bytes_for(guest.cost.bytes) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.on_the_way).try_acquire_owned() else { return };
        let begun = Instant::now();
        let taken = seal(&guest.run, instance);
        guest.cost.replay = Duration::ZERO;
        guest.cost.taking = begun.elapsed();
        self.spent.fetch_add(nanos(guest.cost.taking), Ordering::Relaxed);
        let run = guest.run.record().id();
        match taken {
            Ok(bytes) if bytes.len() <= MOST_BYTES => {
                guest.cost.taken = true;
                guest.cost.bytes = bytes.len() as u64;
                self.written.fetch_add(guest.cost.bytes, Ordering::Relaxed);
                let link = Arc::clone(&self.link);
                tokio::spawn(async move {
                    let _permit = permit;
                    link.note(Note::SnapshotTaken { bytes: bytes.len() as u64 });
                    link.put_snapshot(run, Some(bytes)).await;
                });
            }
            Ok(bytes) => tracing::debug!(%run, bytes = bytes.len(), "a snapshot is too large"),
            Err(error) => tracing::debug!(%run, %error, "no snapshot"),
        }
    }

    /// Forgets the snapshot of a run that has ended.
    pub(super) async fn forget(&self, guest: &Resting) {
        if guest.cost.taken {
            self.link.put_snapshot(guest.run.record().id(), None).await;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A run as its snapshot has it, when there is one that fits the record.
pub(super) async fn find(
    record: &Record,
    module: &Arc<Module>,
    link: &dyn HostLink,
) -> Option<(Run, WorkflowInstance)> {
    let attempt = record.attempt_under_way()?;
    if module.unsound().is_some() {
        return None;
    }
    let bytes = link.snapshot(record.id()).await?;
    match open(&bytes, record, attempt, module) {
        Ok(found) => Some(found),
        Err(reason) => {
            tracing::info!(run = %record.id(), reason, "a snapshot is not used, the journal is replayed");
            link.note(Note::SnapshotRefused);
            None
        }
    }
}

/// Magic, hash of all that follows, length of the head, the head, the guest.
fn seal(run: &Run, instance: &mut WorkflowInstance) -> Result<Vec<u8>, SnapshotError> {
    let guest = instance.snapshot()?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let head = rmp_serde::to_vec_named(&Head { version, run: RunImage::from(run) });
    let head = head.map_err(|error| SnapshotError::Damaged(error.to_string()))?;
    let length = u32::try_from(head.len());
    let length = length.map_err(|error| SnapshotError::Damaged(error.to_string()))?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + HASH + 4 + head.len() + guest.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; HASH]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&guest);
    let hash = Sha256::digest(&bytes[MAGIC.len() + HASH..]);
    bytes[MAGIC.len()..MAGIC.len() + HASH].copy_from_slice(&hash);
    Ok(bytes)
}

fn open(
    bytes: &[u8],
    record: &Record,
    attempt: u32,
    module: &Arc<Module>,
) -> Result<(Run, WorkflowInstance), String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("it is no snapshot of this format")?;
    let (hash, body) = body.split_at_checked(HASH).ok_or("it is cut short")?;
    if Sha256::digest(body)[..] != *hash {
        return Err("its hash does not match".into());
    }
    let (length, body) = body.split_first_chunk::<4>().ok_or("it is cut short")?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (head, guest) = body.split_at_checked(length).ok_or("it is cut short")?;
    let Head { version, run } = rmp_serde::from_slice(head).map_err(|error| error.to_string())?;
    if version != env!("CARGO_PKG_VERSION") {
        return Err(format!("version {version} took it"));
    }
    if !run.fits(record) {
        return Err("it is of another run, or of an earlier attempt or module of this one".into());
    }
    let context = RunContext::of(&record.origin, record.first, attempt);
    let instance = module.restore(context, guest).map_err(|error| error.to_string())?;
    Ok((run.into(), instance))
}
