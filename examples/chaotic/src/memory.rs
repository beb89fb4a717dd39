//! Memory: how much there is, what is in it, where it is, and how deep the stack goes. Called by the
//! workflow.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;

/// Takes memory until there is no more, says how much that was, and gives it back.
pub(crate) fn limit() -> Vec<String> {
    let mut hoard: Vec<Vec<u8>> = Vec::with_capacity(4_096);
    while hoard.len() < 4_096 {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        piece.push(1);
        hoard.push(black_box(piece));
    }
    let pages = core::arch::wasm32::memory_size::<0>();
    let taken = hoard.len();
    drop(hoard);
    vec![format!("{taken} MiB"), format!("{pages} pages")]
}

/// Reads memory from the allocator that nobody has written since; something else lay there before.
pub(crate) fn uninitialised() -> Vec<String> {
    let mut bytes = [0; 512];
    // Without randomness there is still whatever was there before.
    let _ = getrandom::fill(&mut bytes);
    drop(black_box(vec![bytes.to_vec(); 16]));
    [64, 1_000, 20_000, 300_000].into_iter().map(read_unwritten).collect()
}

fn read_unwritten(length: usize) -> String {
    let Ok(layout) = Layout::from_size_align(length, 8) else { return "no layout".to_owned() };
    // SAFETY: the layout is not empty. Each byte is inside of the allocation and read by a volatile
    // read; that it is not initialised is the point: in wasm, memory always holds some bytes.
    let (hash, written) = unsafe {
        let start = black_box(alloc(layout));
        if start.is_null() {
            return "no memory".to_owned();
        }
        let (mut hash, mut written) = (0_u64, 0);
        for offset in 0..length {
            let byte = std::ptr::read_volatile(start.add(offset));
            hash = hash.wrapping_mul(1_099_511_628_211) ^ u64::from(byte);
            written += usize::from(byte != 0);
        }
        dealloc(start, layout);
        (hash, written)
    };
    format!("{length} bytes: {written} are not zero, hash {hash:016x}")
}

pub(crate) fn addresses() -> Vec<String> {
    let on_stack = black_box(1_u8);
    let on_heap = black_box(Box::new(2_u8));
    let large = black_box(vec![0_u8; 100_000]);
    static CONSTANT: u8 = 3;
    vec![
        format!("stack {:p}", &on_stack),
        format!("heap {:p}, {:p}", &*on_heap, large.as_ptr()),
        format!("static {:p}", &CONSTANT),
        format!("function {:p}", addresses as fn() -> Vec<String>),
    ]
}

/// Says how deep it is, until the stack ends.
pub(crate) fn recursion() -> Vec<String> {
    vec![format!("came back from {}", descend(1))]
}

fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    if depth % 16 == 0 {
        eprintln!("at depth {depth}");
    }
    if depth == 0 { 0 } else { descend(depth + 1) + frame[3] }
}
