//! What differs between machines, processes and moments: clocks, randomness, the environment,
//! threads. Called by the workflow; every function says what it saw as lines of text.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, and whether they move while the code computes.
pub(crate) fn clock() -> Vec<String> {
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut sum = 0_u64;
    for n in 0..100_000 {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
    }
    vec![
        format!("wall clock {} ns", since.as_nanos()),
        format!("monotonic {monotonic:?}"),
        format!("it took {} ns to get {sum}", monotonic.elapsed().as_nanos()),
    ]
}

pub(crate) fn random() -> Vec<String> {
    let draw = |_| {
        let mut bytes = [0_u8; 32];
        match getrandom::fill(&mut bytes) {
            Ok(()) => format!("{bytes:02x?}"),
            Err(error) => error.to_string(),
        }
    };
    (0..3).map(draw).collect()
}

pub(crate) fn hash_map() -> Vec<String> {
    let map: HashMap<u32, ()> = (0..200).map(|n| (n, ())).collect();
    let set: HashSet<String> = (0..50).map(|n| n.to_string()).collect();
    vec![
        format!("{:?}", map.into_keys().collect::<Vec<_>>()),
        set.into_iter().collect::<Vec<_>>().join(" "),
        format!("{:x}", RandomState::new().hash_one("the same text")),
    ]
}

pub(crate) fn environment() -> Vec<String> {
    vec![
        format!("environment {:?}", std::env::vars_os().collect::<Vec<_>>()),
        format!("arguments {:?}", std::env::args_os().collect::<Vec<_>>()),
        format!("folder {:?}", std::env::current_dir().map_err(|error| error.kind())),
        format!("home {:?}", std::fs::read_dir("/").map(|_| ()).map_err(|error| error.kind())),
    ]
}

pub(crate) fn stdin() -> Vec<String> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text).map_err(|error| error.kind());
    vec![format!("{read:?}: {text:?}")]
}

/// A second thread cannot even be asked for: there is nothing to link a spawn against.
pub(crate) fn processors() -> Vec<String> {
    let count = std::thread::available_parallelism().map_err(|error| error.kind());
    vec![format!("{count:?} processors"), format!("{:?}", std::thread::current().id())]
}

/// Blocks, which a workflow may not.
pub(crate) fn sleep() -> Vec<String> {
    std::thread::sleep(Duration::from_millis(1));
    vec!["slept".to_owned()]
}

/// Says from time to time how far it is; its fuel ends at the same place every time.
pub(crate) fn spin() -> Vec<String> {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        if n.trailing_zeros() >= 26 {
            eprintln!("came by {n:x}");
        }
    }
}
