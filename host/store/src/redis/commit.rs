//! A commit as one script. Its values are made here, with their checksums; the script judges and
//! writes, and knows nothing of what is in them.

use super::Redis;
use super::keys::{Index, Keys};
use super::link::{Reply, typed};
use super::scripts::COMMIT;
use crate::StoreError;
use crate::admission::Claim;
use crate::codec::{Kind, check_size, checksum, encode};
use everstep_core::{Commit, RunId};
use serde::Serialize;

/// A commit, ready to be sent, as often as it takes.
pub(super) struct Packed {
    pub(super) run: RunId,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
    expected_length: u64,
    pub(super) bytes: usize,
}

impl Packed {
    /// `id` is one that no other commit has.
    pub(super) fn new(commit: &Commit, id: [u8; 16], keys: &Keys) -> Result<Self, StoreError> {
        let claim = Claim::of(commit)?;
        let run = commit.run_id();
        let (record, origin) = (&commit.record, &commit.record.origin);
        let flag = |is: bool| if is { b"1".to_vec() } else { Vec::new() };
        let number = |number: u64| number.to_string().into_bytes();
        let mut args = vec![
            id.to_vec(),
            number(claim.expected_length),
            claim.token.map_or_else(Vec::new, |token| format!("{:016x}", token.0).into_bytes()),
            number(claim.first_log_line),
            number(claim.length),
            number(claim.log_lines),
            number(record.first),
            pack_record(run, claim.length, claim.log_lines, &encode(record)?),
            record.wake_at.map_or_else(Vec::new, |at| at.as_millis().to_be_bytes().to_vec()),
            flag(record.ready),
            record.updated_at.as_millis().to_be_bytes().to_vec(),
            flag(record.is_terminal()),
            run.as_bytes().to_vec(),
            origin.started_at.as_millis().to_be_bytes().to_vec(),
            origin.workflow.clone().into_bytes(),
            origin.parent.map_or_else(Vec::new, |parent| parent.run.as_bytes().to_vec()),
            origin.digest.as_bytes().to_vec(),
            number(commit.references.len() as u64),
            number(commit.entries.len() as u64),
            keys.hints().into_bytes(),
        ];
        args.extend(commit.references.iter().map(|reference| reference.as_bytes().to_vec()));
        pack_all(Kind::Journal, run, claim.expected_length, &commit.entries, &mut args)?;
        pack_all(Kind::Logs, run, claim.first_log_line, &commit.logs, &mut args)?;
        let bytes = args.iter().map(Vec::len).sum();
        check_size(bytes)?;
        let expected_length = claim.expected_length;
        let mut declared = keys.of_run(run);
        declared.push(keys.index(keys.shard_of(run), Index::Owner));
        Ok(Self { run, keys: declared, args, expected_length, bytes })
    }
}

/// Entries or lines from a position on: each with its checksum, how many of the same commit are behind
/// it, and its data. The position is where it stands in its list.
fn pack_all<T: Serialize>(
    kind: Kind,
    run: RunId,
    from: u64,
    items: &[T],
    packed: &mut Vec<Vec<u8>>,
) -> Result<(), StoreError> {
    for (n, item) in items.iter().enumerate() {
        let data = encode(item)?;
        let behind = u32::try_from(items.len() - 1 - n).unwrap_or(u32::MAX);
        let crc = checksum(kind, run.as_bytes(), from + n as u64, behind.into(), &data);
        packed.push([crc.to_le_bytes().as_slice(), &behind.to_le_bytes(), &data].concat());
    }
    Ok(())
}

/// A record: its checksum, the lengths of journal and log, and its data.
fn pack_record(run: RunId, length: u64, log_lines: u64, data: &[u8]) -> Vec<u8> {
    let crc = checksum(Kind::Record, run.as_bytes(), length, log_lines, data);
    [crc.to_le_bytes().as_slice(), &length.to_le_bytes(), &log_lines.to_le_bytes(), data].concat()
}

impl Redis {
    pub(super) async fn send_commit(&self, packed: &Packed) -> Result<(), StoreError> {
        let args: Vec<&[u8]> = packed.args.iter().map(Vec::as_slice).collect();
        let Reply { result, unsure } = self.link.run_once(&COMMIT, &packed.keys, &args).await;
        let answer: Vec<Vec<u8>> = typed(result)?;
        let refusal = match verdict(packed.run, &answer) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        Err(if unsure { after_a_lost_answer(refusal, packed.expected_length) } else { refusal })
    }
}

/// What a refusal says when an earlier attempt of the same commit may have been made.
fn after_a_lost_answer(refusal: StoreError, expected_length: u64) -> StoreError {
    match refusal {
        // A journal that is shorter does not have it, whatever became of the earlier attempt.
        StoreError::Conflict { length } if length < expected_length => refusal,
        // No attempt of ours makes data vanish or damages it, and nobody is to wait until that passes.
        StoreError::Corrupt { .. } => refusal,
        // It may be the work of the earlier attempt, with another commit behind it.
        refusal => StoreError::Unavailable(format!(
            "the connection was lost, and whether the commit was made is not known ({refusal})"
        )),
    }
}

fn verdict(run: RunId, answer: &[Vec<u8>]) -> Result<(), StoreError> {
    let word = |n: usize| String::from_utf8_lossy(answer.get(n).map_or(&[][..], |it| it));
    Err(match &*word(0) {
        "ok" | "done" => return Ok(()),
        "lease lost" => StoreError::LeaseLost,
        "exists" => StoreError::AlreadyExists,
        "duplicate" => StoreError::Duplicate,
        "conflict" => match word(1).parse() {
            Ok(length) => StoreError::Conflict { length },
            Err(_) => StoreError::corrupt(format!("run {run}: its length is no number")),
        },
        "lines" => StoreError::Inconsistent(format!(
            "its log lines begin at another place, the run has {}",
            word(1)
        )),
        "vanished" => StoreError::corrupt(format!(
            "run {run}: all data of its shard has vanished from Redis, or another Redis answers"
        )),
        "damaged" => StoreError::corrupt(format!("run {run}: {}", word(1))),
        other => StoreError::corrupt(format!("Redis answered `{other}` to a commit")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal stands when no earlier attempt can be its cause.
    #[test]
    fn a_lost_answer_leaves_open_only_what_it_may_have_caused() {
        let stands =
            [StoreError::Conflict { length: 4 }, StoreError::corrupt("its shard has vanished")];
        for refusal in stands {
            assert_eq!(after_a_lost_answer(refusal.clone(), 5), refusal);
        }
        let open = [
            StoreError::Conflict { length: 5 },
            StoreError::Conflict { length: 6 },
            StoreError::AlreadyExists,
            StoreError::Duplicate,
            StoreError::LeaseLost,
        ];
        for refusal in open {
            let words = refusal.to_string();
            let said = after_a_lost_answer(refusal, 5);
            assert!(
                matches!(&said, StoreError::Unavailable(why) if why.contains(&words)),
                "{said}"
            );
        }
    }
}
