//! Reads the log when the store is opened: finds every batch that the database does not have.
//!
//! What is there is decided by numbers alone. A segment is written over only when the database has all
//! of it durably, so whatever has a number behind `applied` is wanted, in whichever segment it stands;
//! and the numbers must follow each other without a gap. A batch that was torn by a power cut can only
//! be the last one, which nobody was told of. When one is missing in front of others, it was
//! acknowledged and is damaged: that is reported and nothing is touched.

use super::frame::{ALIGNMENT, HEADER, Look, look};
use super::{payload, segment_path};
use crate::StoreError;
use crate::embedded::rows::Packed;
use std::ops::Range;
use std::path::Path;

/// The batches behind `applied`, as they lie in the segments.
pub(in crate::embedded) struct Unapplied {
    segments: [Vec<u8>; 2],
    batches: Vec<Place>,
}

/// Where a batch stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) segment: usize,
    offset: usize,
    pub(super) payload: Range<usize>,
}

impl Unapplied {
    /// Reads the log in this directory. None of it is changed.
    pub(in crate::embedded) fn read(
        directory: &Path,
        mark: u64,
        applied: u64,
    ) -> Result<Self, StoreError> {
        let mut segments = [Vec::new(), Vec::new()];
        for (segment, bytes) in segments.iter_mut().enumerate() {
            let path = segment_path(directory, segment);
            match std::fs::read(&path) {
                Ok(found) => *bytes = found,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(super::unusable(&path, &error)),
            }
        }
        let batches = in_order(directory, &segments, mark, applied)?;
        Ok(Self { segments, batches })
    }

    /// The number of the last batch, if there is one.
    pub(in crate::embedded) fn last(&self) -> Option<u64> {
        self.batches.last().map(|place| place.number)
    }

    /// The commits of each batch with its number, in order.
    pub(in crate::embedded) fn batches(
        &self,
        directory: &Path,
    ) -> impl Iterator<Item = Result<(u64, Vec<Packed>), StoreError>> {
        self.batches.iter().map(move |place| {
            let payload = &self.segments[place.segment][place.payload.clone()];
            let commits = payload::decode(payload).map_err(|error| {
                let file = segment_path(directory, place.segment);
                StoreError::corrupt(format!(
                    "{}, batch {} at offset {}: {error}",
                    file.display(),
                    place.number,
                    place.offset
                ))
            })?;
            Ok((place.number, commits))
        })
    }
}

pub(super) fn in_order(
    directory: &Path,
    segments: &[Vec<u8>; 2],
    mark: u64,
    applied: u64,
) -> Result<Vec<Place>, StoreError> {
    let mut batches = Vec::new();
    let mut damaged = Vec::new();
    for (segment, bytes) in segments.iter().enumerate() {
        find(bytes, segment, mark, &mut batches, &mut damaged);
    }
    batches.sort_unstable_by_key(|place: &Place| place.number);
    let newer = batches.partition_point(|place| place.number <= applied);
    let mut expected = applied;
    for (index, place) in batches.iter().enumerate().skip(newer) {
        expected += 1;
        if place.number == expected {
            continue;
        }
        // Where it is, if its header can be read; else it stands behind the one before.
        let known = damaged.iter().find(|(number, ..)| *number == expected);
        let before = index.checked_sub(1).map(|before| &batches[before]);
        let (segment, offset) = match (known, before) {
            (Some((_, segment, offset)), _) => (*segment, *offset),
            (None, Some(before)) => {
                (before.segment, before.payload.end.next_multiple_of(ALIGNMENT))
            }
            (None, None) => (place.segment, 0),
        };
        let file = segment_path(directory, segment);
        return Err(StoreError::corrupt(format!(
            "{}: batch {expected} of the log, at offset {offset}, is damaged or missing, \
             and batch {} follows it",
            file.display(),
            place.number
        )));
    }
    Ok(batches.split_off(newer))
}

/// Finds all frames of one segment. Behind a damaged one it goes on looking, in small steps.
fn find(
    bytes: &[u8],
    segment: usize,
    mark: u64,
    batches: &mut Vec<Place>,
    damaged: &mut Vec<(u64, usize, usize)>,
) {
    let mut offset = 0;
    while offset + HEADER <= bytes.len() {
        match look(bytes, offset, mark) {
            Look::Nothing => offset += ALIGNMENT,
            Look::Damaged { number } => {
                damaged.push((number, segment, offset));
                offset += ALIGNMENT;
            }
            Look::Whole { number, payload, end } => {
                batches.push(Place { number, segment, offset, payload });
                offset = end;
            }
        }
    }
}
