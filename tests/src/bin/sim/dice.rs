//! Where every choice of a simulation comes from: streams of numbers that follow from the seed. The
//! entropy of the process is one of them, too: the system call is answered here, so that hash maps,
//! random numbers of the server and the order in which `select!` looks follow from the seed as well.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// One stream (splitmix64; Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(crate) struct Dice(Mutex<u64>);

impl Dice {
    /// The stream of this number that belongs to the seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(Mutex::new(mixed(mixed(seed) ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(*state)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// True so many times in ten thousand.
    pub(crate) fn happens(&self, in_ten_thousand: u64) -> bool {
        self.next() % 10_000 < in_ten_thousand
    }

    pub(crate) fn one_of<'t, T>(&self, things: &'t [T]) -> &'t T {
        &things[usize::try_from(self.between(0, things.len() as u64 - 1)).unwrap()]
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where the entropy of the process stands.
static ENTROPY: AtomicU64 = AtomicU64::new(0);

/// From here on the entropy of the process follows from the seed.
pub(crate) fn seed_the_process(seed: u64) {
    ENTROPY.store(mixed(seed ^ 0x5eed), Ordering::SeqCst);
}

/// What the standard library and the crates for random numbers call in the place of the system's
/// function, because a symbol of the program comes before one of the C library.
#[allow(unsafe_code)]
// SAFETY: the name and the signature are those of the C library's function, which this replaces with
// one that fills the same buffer and returns the same length; nothing else in the program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller hands over a buffer of that length to be written, as it would to the system.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    for byte in bytes {
        let next = ENTROPY.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        *byte = mixed(next).to_le_bytes()[0];
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
