//! Lists over all shards: what is due, ready, has ended; pages of runs.
//!
//! A page of runs is found along the index that fits best (open runs of a module, children of a run,
//! runs of a workflow, or all), newest first; every other condition is tried on the records, block by
//! block. A call looks at a bounded number of runs and hands out a cursor where it stopped.

use super::Redis;
use super::keys::{Index, Part, of_workflow, stamp, unstamp};
use super::read::{PAGE_BYTES, unpack_record};
use super::scripts::{OPEN, RECORDS};
use super::walk::{Span, Walk};
use crate::{Due, Ended, Ready, RunPage, RunQuery, Shards, StoreError};
use everstep_core::{Digest, RunId, Timestamp};
use futures::future::try_join_all;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Runs that one call looks at, at most.
const MOST_SEEN: usize = 20_000;

/// Records that are fetched together, at most.
const BLOCK: usize = 512;

/// About what the records that one shard sends at once may have.
const SHARE_BYTES: usize = 1 << 20;

/// A member of an index, with what it says.
struct Seen {
    shard: u16,
    at: Timestamp,
    run: RunId,
}

impl Redis {
    pub(super) async fn list_due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let mut span = Span::of(Index::Due, b"");
        if let Some(after) = after {
            span = span.behind(&stamp(after.at, after.run));
        }
        span.highest = [b"[", &stamp(until, RunId::from_bytes([0xff; 16]))[..]].concat();
        let members = Walk::new(self, shards, &span, limit).take(limit).await?;
        members.iter().map(|it| seen(it).map(|Seen { at, run, .. }| Due { at, run })).collect()
    }

    pub(super) async fn list_ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        let mut span = Span::of(Index::Ready, b"");
        if let Some(after) = after {
            span = span.behind(&stamp(after.since, after.run));
        }
        let members = Walk::new(self, shards, &span, limit).take(limit).await?;
        let ready = |Seen { at, run, .. }| Ready { since: at, run };
        members.iter().map(|it| seen(it).map(ready)).collect()
    }

    pub(super) async fn list_ended(
        &self,
        after: Option<&Ended>,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        let mut span = Span::of(Index::Ended, b"");
        if let Some(after) = after {
            let front = of_workflow(&after.workflow);
            span = span.behind(&[&front, &stamp(after.at, after.run)[..]].concat());
        }
        let members = Walk::new(self, &Shards::all(), &span, limit).take(limit).await?;
        let ended = |member: &(u16, Vec<u8>)| {
            let Seen { at, run, .. } = seen(member)?;
            let (front, _) = member.1.split_at(member.1.len() - super::keys::STAMP);
            let name = front.strip_suffix(&[0]).unwrap_or(front).to_vec();
            let workflow = String::from_utf8(name).map_err(|_| strange(&member.1))?;
            Ok(Ended { workflow, at, run })
        };
        members.iter().map(ended).collect()
    }

    pub(super) async fn count_open(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let shards = (0..self.keys.shards).map(async |shard| {
            let key = self.keys.index(shard, Index::Open);
            self.link.run::<Vec<Vec<u8>>>(&OPEN, &[key], &[]).await
        });
        let mut counts = BTreeMap::new();
        for found in try_join_all(shards).await? {
            for pair in found.chunks_exact(2) {
                let module = pair[0].as_slice().try_into().map_err(|_| strange(&pair[0]))?;
                let count = std::str::from_utf8(&pair[1]).ok().and_then(|text| text.parse().ok());
                let count: u64 = count.ok_or_else(|| strange(&pair[1]))?;
                *counts.entry(Digest::from_bytes(module)).or_default() += count;
            }
        }
        Ok(counts)
    }

    pub(super) async fn list_runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let wanted = query.page_size();
        let span = span(query)?;
        let mut walk = Walk::new(self, &Shards::all(), &span, wanted + 1);
        let mut page = RunPage::default();
        let mut coming: VecDeque<Seen> = VecDeque::new();
        let (mut looked_at, mut bytes, mut last) = (0, 0, None);
        loop {
            let more = walk.take(BLOCK.min(wanted + 1).saturating_sub(coming.len())).await?;
            for member in &more {
                coming.push_back(seen(member)?);
            }
            if coming.is_empty() {
                return Ok(page);
            }
            let mut records = self.fetch(&coming).await?;
            while let Some(seen) = coming.front() {
                let Some(value) = records.remove(&seen.run) else { break };
                let place = (seen.at, seen.run);
                let record = value.as_deref().map(|value| unpack_record(seen.run, value));
                let matches = match &record {
                    // It was removed meanwhile.
                    None => false,
                    Some(Ok(record)) => query.matches(record),
                    Some(Err(_)) => true,
                };
                let full = page.runs.len() + page.damaged.len() >= wanted || bytes >= PAGE_BYTES;
                if matches && full || looked_at >= MOST_SEEN {
                    page.cursor = last.map(cursor);
                    return Ok(page);
                }
                bytes += if matches { value.as_ref().map_or(0, Vec::len) } else { 0 };
                match record.filter(|_| matches) {
                    Some(Ok(record)) => page.runs.push(record),
                    Some(Err(error)) => {
                        tracing::error!(run = %seen.run, %error, "a run's record is damaged");
                        page.damaged.push(seen.run);
                    }
                    None => {}
                }
                last = Some(place);
                looked_at += 1;
                coming.pop_front();
            }
        }
    }

    /// The records of these runs, at least of the first: by shard, as many as fit.
    async fn fetch(
        &self,
        runs: &VecDeque<Seen>,
    ) -> Result<HashMap<RunId, Option<Vec<u8>>>, StoreError> {
        let mut by_shard: BTreeMap<u16, Vec<RunId>> = BTreeMap::new();
        for seen in runs {
            by_shard.entry(seen.shard).or_default().push(seen.run);
        }
        let most = SHARE_BYTES.to_string();
        let shards = by_shard.into_values().map(async |runs| {
            let keys = |run: &RunId| [Part::Record, Part::Head].map(|it| self.keys.run(*run, it));
            let keys: Vec<String> = runs.iter().flat_map(keys).collect();
            let records: Vec<Option<Vec<u8>>> =
                self.link.run(&RECORDS, &keys, &[most.as_bytes()]).await?;
            Ok::<_, StoreError>(runs.into_iter().zip(records))
        });
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }
}

/// Where to look for the runs of a query.
fn span(query: &RunQuery) -> Result<Span, StoreError> {
    let (index, front) = match query {
        RunQuery { open_on: Some(module), .. } => (Index::Open, module.as_bytes().to_vec()),
        RunQuery { parent: Some(run), .. } => (Index::Children, run.as_bytes().to_vec()),
        RunQuery { workflow: Some(workflow), .. } => (Index::Workflow, of_workflow(workflow)),
        _ => (Index::Start, Vec::new()),
    };
    let mut span = Span { backwards: true, ..Span::of(index, &front) };
    if let Some(from) = query.started_from {
        span.lowest.extend(from.as_millis().to_be_bytes());
    }
    let before = query.started_before.map(|before| before.as_millis().to_be_bytes().to_vec());
    let behind = query.cursor.as_deref().map(place).transpose()?;
    let behind = behind.map(|(at, run)| stamp(at, run).to_vec());
    if let Some(bound) = before.into_iter().chain(behind).min() {
        span.highest = [b"(", &front[..], &bound].concat();
    }
    Ok(span)
}

fn seen((shard, member): &(u16, Vec<u8>)) -> Result<Seen, StoreError> {
    let (at, run) = unstamp(member).ok_or_else(|| strange(member))?;
    Ok(Seen { shard: *shard, at, run })
}

fn strange(member: &[u8]) -> StoreError {
    StoreError::corrupt(format!("an index has a member of {} bytes that is none", member.len()))
}

/// The place of the last run of a page: its start and its id.
fn cursor((at, run): (Timestamp, RunId)) -> String {
    format!("{:x}-{:x}", at.as_millis(), u128::from_be_bytes(*run.as_bytes()))
}

fn place(cursor: &str) -> Result<(Timestamp, RunId), StoreError> {
    let place = cursor.split_once('-').and_then(|(at, run)| {
        let at = u64::from_str_radix(at, 16).ok()?;
        let run = u128::from_str_radix(run, 16).ok()?;
        Some((Timestamp::from_millis(at), RunId::from_bytes(run.to_be_bytes())))
    });
    place.ok_or_else(|| StoreError::BadCursor(cursor.chars().take(80).collect()))
}
