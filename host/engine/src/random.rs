//! Random numbers that are the same whenever a run is replayed. Each consumer draws from a stream
//! of its own, so that one more draw of a library does not shift what the workflow sees.
//!
//! The generator is spelled out here, not taken from a crate, because its sequence is part of what
//! makes old runs replay.

/// A splitmix64 sequence (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// 2014). Predictable for anybody who knows the seed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream number `stream` of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixer = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mixer.next())
    }

    /// A stream that goes another way from here, while this one stands still.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.0, 3)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        let mut stream = Stream::new(42, 1);
        let first: Vec<u64> = (0..3).map(|_| stream.next()).collect();
        assert_eq!(first, FIRST_OF_SEED_42);
        assert_ne!(Stream::new(42, 2).next(), first[0]);
        assert_ne!(Stream::new(43, 1).next(), first[0]);
        assert_eq!(Stream::new(7, 0).bytes(11), Stream::new(7, 0).bytes(16)[..11]);
    }

    const FIRST_OF_SEED_42: [u64; 3] =
        [7_575_206_361_173_662_766, 4_054_317_705_719_922_103, 10_742_381_694_900_778_583];
}
