//! The form of a batch in the log: a header of 32 bytes, the payload, and zeros up to a multiple of 8.
//! `Log` makes frames, `scan` finds them again.
//!
//! ```text
//! 0 magic "EVL1"   4 checksum of all that follows   8 mark   16 number   24 bytes of payload   32 …
//! ```
//!
//! The mark is a random number that every opening of the store draws. What an earlier opening left in
//! a file, or what somebody has put into a payload to look like a frame, does not have it.

use std::ops::Range;

/// The bytes in front of the payload.
pub(super) const HEADER: usize = 32;

/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

/// A change of the header or of the payload is another word here, and a new `schema::FORMAT`.
const MAGIC: [u8; 4] = *b"EVL1";

/// Completes a frame whose buffer has room for the header in front of the payload.
pub(super) fn seal(frame: &mut Vec<u8>, mark: u64, number: u64) {
    let payload = frame.len() - HEADER;
    frame[..4].copy_from_slice(&MAGIC);
    frame[8..16].copy_from_slice(&mark.to_le_bytes());
    frame[16..24].copy_from_slice(&number.to_le_bytes());
    frame[24..32].copy_from_slice(&(payload as u64).to_le_bytes());
    let checksum = crc32fast::hash(&frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
}

/// What stands at a place of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// No frame of this opening begins here.
    Nothing,
    /// One begins here, but it is not what was written: torn or damaged.
    Damaged { number: u64 },
    /// One that is whole.
    Whole { number: u64, payload: Range<usize>, end: usize },
}

/// Looks for a frame with this mark that begins at `offset`.
pub(super) fn look(bytes: &[u8], offset: usize, mark: u64) -> Look {
    let Some(header) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<HEADER>()) else {
        return Look::Nothing;
    };
    if header[..4] != MAGIC || word(header, 8) != mark {
        return Look::Nothing;
    }
    let number = word(header, 16);
    let start = offset + HEADER;
    let payload = usize::try_from(word(header, 24)).ok().and_then(|length| {
        let end = start.checked_add(length).filter(|end| *end <= bytes.len())?;
        Some(start..end)
    });
    let Some(payload) = payload else { return Look::Damaged { number } };
    let checksum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if crc32fast::hash(&bytes[offset + 8..payload.end]) != checksum {
        return Look::Damaged { number };
    }
    let end = payload.end.next_multiple_of(ALIGNMENT);
    Look::Whole { number, payload, end }
}

fn word(header: &[u8; HEADER], place: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&header[place..place + 8]);
    u64::from_le_bytes(word)
}
