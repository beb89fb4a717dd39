//! Reads of one run. Whatever is returned has been checked against its checksum and its place.

use super::Redis;
use super::keys::Part;
use super::scripts::ITEMS;
use crate::StoreError;
use crate::codec::{Kind, damaged, decode};
use everstep_core::{InputHash, Record, RunId};
use redis::cmd;
use serde::de::DeserializeOwned;

/// Values are read until they have this size, whatever was asked for.
pub(super) const PAGE_BYTES: usize = 16 << 20;

impl Redis {
    pub(super) async fn read_record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        let get = cmd("GET").arg(self.keys.run(id, Part::Record)).to_owned();
        let value: Option<Vec<u8>> = self.link.ask(&get).await?;
        value.map(|value| unpack_record(id, &value)).transpose()
    }

    pub(super) async fn read_reference(
        &self,
        id: RunId,
        reference: InputHash,
    ) -> Result<bool, StoreError> {
        let mut is_member = cmd("SISMEMBER");
        is_member.arg(self.keys.run(id, Part::References)).arg(reference.as_bytes());
        self.link.ask(&is_member).await
    }

    /// Redis keeps them without order, so it sends all: 16 bytes each.
    pub(super) async fn read_references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError> {
        let members = cmd("SMEMBERS").arg(self.keys.run(id, Part::References)).to_owned();
        let members: Vec<Vec<u8>> = self.link.ask(&members).await?;
        let reference = |member: &Vec<u8>| {
            let bytes = member.as_slice().try_into().map(InputHash::from_bytes);
            bytes.map_err(|_| StoreError::corrupt(format!("run {id}: a reference is none")))
        };
        let mut references: Vec<_> = members.iter().map(reference).collect::<Result<_, _>>()?;
        references.retain(|it| after.is_none_or(|after| *it > after));
        references.sort_unstable();
        references.truncate(limit);
        Ok(references)
    }

    /// Journal entries or log lines from a position on.
    pub(super) async fn read_items<T: DeserializeOwned>(
        &self,
        kind: Kind,
        id: RunId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        // The fields of the head that say where it ends and begins.
        let (list, end, begin) = match kind {
            Kind::Logs => (Part::Logs, "n", ""),
            _ => (Part::Journal, "l", "f"),
        };
        let keys = [self.keys.run(id, Part::Head), self.keys.run(id, list)];
        let [position, most, bytes] =
            [from, limit.max(1) as u64, PAGE_BYTES as u64].map(|number| number.to_string());
        let args = [end, begin, &position, &most, &bytes].map(str::as_bytes);
        let found: Vec<Vec<u8>> = self.link.run(&ITEMS, &keys, &args).await?;
        let (word, found) = found.split_first().map_or((&[][..], &[][..]), |(w, f)| (w, f));
        if word == b"none" {
            return Ok(Vec::new());
        }
        if found.is_empty() {
            return Err(damaged(kind, id, from, "it is missing"));
        }
        (from..).zip(found).map(|(seq, value)| unpack(kind, id, seq, value)).collect()
    }
}

fn unpack<T: DeserializeOwned>(
    kind: Kind,
    run: RunId,
    seq: u64,
    value: &[u8],
) -> Result<T, StoreError> {
    let parts = || {
        let (crc, rest) = value.split_first_chunk()?;
        let (behind, data) = rest.split_first_chunk()?;
        Some((u32::from_le_bytes(*crc), u32::from_le_bytes(*behind), data))
    };
    let Some((crc, behind, data)) = parts() else {
        return Err(damaged(kind, run, seq, "it is too short"));
    };
    decode(kind, run, (seq, behind.into(), crc), data)
}

/// The record, if it is what was written.
pub(super) fn unpack_record(run: RunId, value: &[u8]) -> Result<Record, StoreError> {
    let parts = || {
        let (crc, rest) = value.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (log_lines, data) = rest.split_first_chunk()?;
        let lengths = (u64::from_le_bytes(*length), u64::from_le_bytes(*log_lines));
        Some((u32::from_le_bytes(*crc), lengths, data))
    };
    let Some((crc, (length, log_lines), data)) = parts() else {
        return Err(damaged(Kind::Record, run, 0, "it is missing, or too short"));
    };
    let record: Record = decode(Kind::Record, run, (length, log_lines, crc), data)?;
    if (record.id(), record.length, record.log_lines) != (run, length, log_lines) {
        return Err(damaged(Kind::Record, run, length, "its head says something else"));
    }
    Ok(record)
}
