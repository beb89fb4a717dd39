//! The form of the log: what was written is found again, whatever else lies in the files, and what is
//! damaged is never taken for something else.

#![allow(clippy::unwrap_used)]

use super::frame::{HEADER, seal};
use super::payload;
use super::scan::in_order;
use crate::StoreError;
use crate::contract::{first, next};
use crate::embedded::rows::Packed;
use everstep_core::{Failure, InputHash, RunState, Timestamp, Token};
use proptest::prelude::*;
use std::ops::Range;
use std::path::Path;

const MARK: u64 = 0x1234_5678_9abc_def0;

fn framed(mark: u64, number: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    frame.extend(payload);
    seal(&mut frame, mark, number);
    frame
}

/// The payloads behind `applied`, with their numbers.
fn found(segments: [Vec<u8>; 2], applied: u64) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let places = in_order(Path::new("log"), &segments, MARK, applied)?;
    let payload = |segment: usize, range: Range<usize>| segments[segment][range].to_vec();
    Ok(places
        .into_iter()
        .map(|place| (place.number, payload(place.segment, place.payload)))
        .collect())
}

/// Batches that follow each other, as one segment with room behind them, and where each begins.
fn segment(from: u64, payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut begins) = (Vec::new(), Vec::new());
    for (number, payload) in (from..).zip(payloads) {
        begins.push(bytes.len());
        bytes.extend(framed(MARK, number, payload));
    }
    (bytes, begins)
}

fn numbered(from: u64, payloads: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    (from..).zip(payloads.iter().cloned()).collect()
}

/// Payloads of all sizes, some of which look like batches.
fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let lookalike = (0..40_u64, any::<u64>()).prop_map(|(number, mark)| framed(mark, number, b"x"));
    prop::collection::vec(prop_oneof![4 => bytes, 1 => lookalike], 1..12)
}

proptest! {
    #[test]
    fn a_log_that_is_cut_off_is_good_up_to_there(
        payloads in payloads(),
        applied in 0..100_u64,
        cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, begins) = segment(applied + 1, &payloads);
        let cut = cut.index(bytes.len() + 1);
        let whole = begins.iter().zip(&payloads);
        let whole = whole.take_while(|(begin, payload)| *begin + HEADER + payload.len() <= cut);
        let expected = numbered(applied + 1, &payloads[..whole.count()]);
        prop_assert_eq!(found([bytes[..cut].to_vec(), Vec::new()], applied).unwrap(), expected);
    }

    #[test]
    fn a_flipped_bit_is_noticed_unless_it_is_in_what_may_be_torn(
        payloads in payloads(),
        applied in 0..100_u64,
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut bytes, begins) = segment(applied + 1, &payloads);
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        let hit = begins.partition_point(|begin| *begin <= place) - 1;
        let in_padding = place >= begins[hit] + HEADER + payloads[hit].len();
        let last = payloads.len() - 1;
        match found([bytes, vec![0; 64]], applied) {
            Ok(found) if in_padding => prop_assert_eq!(found, numbered(applied + 1, &payloads)),
            Ok(found) => {
                prop_assert_eq!(hit, last, "a batch is missing and nobody noticed");
                prop_assert_eq!(found, numbered(applied + 1, &payloads[..last]));
            }
            Err(error) => {
                prop_assert!(hit < last && !in_padding, "{}", error);
                let place = format!("log/0: batch {} of the log, at offset {},",
                    applied + 1 + hit as u64, begins[hit]);
                prop_assert!(error.to_string().contains(&place), "{} {}", error, place);
            }
        }
    }

    /// Two segments in turn, of which the first was begun anew over older batches.
    #[test]
    fn what_is_behind_the_database_is_found_among_all_that_is_older(
        older in payloads(),
        middle in payloads(),
        newer in payloads(),
        strangers in payloads(),
        room in 0..200_usize,
        applied in any::<prop::sample::Index>(),
    ) {
        let (mut one, _) = segment(1, &older);
        one.extend(strangers.iter().flat_map(|payload| framed(!MARK, 1_000, payload)));
        let from = 1 + older.len() as u64;
        let (mut two, _) = segment(from, &middle);
        two.resize(two.len() + room, 0);
        let last_from = from + middle.len() as u64;
        let (begun, _) = segment(last_from, &newer);
        let length = one.len().max(begun.len());
        one.resize(length, 0);
        one[..begun.len()].copy_from_slice(&begun);
        let mut all = numbered(from, &middle);
        all.extend(numbered(last_from, &newer));
        let skipped = applied.index(all.len() + 1);
        let applied = from - 1 + skipped as u64;
        let segments = [one, two];
        prop_assert_eq!(found(segments.clone(), applied).unwrap(), &all[skipped..]);
        // Something behind the database that is nowhere is a gap.
        if skipped == 0 && from > 1 + older.len() as u64 / 2 {
            prop_assert!(found([segments[0].clone(), Vec::new()], applied).is_err());
        }
    }

    #[test]
    fn a_payload_that_makes_no_sense_is_no_commit(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        // Nothing is promised but that it ends, and without a panic.
        let _ = payload::decode(&bytes);
    }
}

#[test]
fn a_log_that_was_never_written_is_empty() {
    assert_eq!(found([Vec::new(), Vec::new()], 7).unwrap(), []);
    assert_eq!(found([vec![0; 1 << 20], vec![0; 33]], 7).unwrap(), []);
}

/// Every part of a commit that the log carries, in all combinations that matter.
#[test]
fn commits_come_back_as_they_were() {
    let mut commits = vec![first(1)];
    let mut more = next(&first(1).record, 3, 2);
    more.token = Some(Token(u64::MAX));
    more.references = vec![InputHash::of(b"a"), InputHash::of(b"b")];
    more.record.wake_at = Some(Timestamp::from_millis(77));
    let mut failed = next(&more.record, 0, 1);
    failed.record.state = RunState::Failed { failure: Failure::new("card.declined", "no") };
    failed.record.ready = false;
    failed.record.first = 2;
    commits.extend([more, failed]);
    let packed: Vec<Packed> = commits.iter().map(|commit| Packed::new(commit).unwrap()).collect();
    let mut bytes = Vec::new();
    for commit in &packed {
        payload::encode(commit, &mut bytes);
    }
    let decoded = payload::decode(&bytes).unwrap();
    assert_eq!(format!("{decoded:?}"), format!("{packed:?}"));
    for cut in 1..bytes.len() {
        // A cut between two commits is one that only the checksum of the batch notices.
        if let Ok(some) = payload::decode(&bytes[..cut]) {
            assert!(some.len() < packed.len());
        }
    }
}
