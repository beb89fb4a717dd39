//! The hash of a guest's state: every byte of every memory, every size and every mutable global counts,
//! and looking changes nothing.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::Digest;
use everstep_engine::Engine;
use std::collections::BTreeSet;
use support::{Guest, instance, payload, start_at};

/// A second memory and globals of every type.
const MORE: &str = r"
    (memory $second 1 3)
    (global $small (mut i32) (i32.const 0))
    (global $large (mut i64) (i64.const 0))
    (global $float (mut f32) (f32.const 0))
    (global $double (mut f64) (f64.const 0))
    (global $vector (mut v128) (v128.const i64x2 0 0))
    (global $constant i32 (i32.const 4))";

/// The tests' guest gets its input by one allocation, so every start moves its allocator alike.
fn guest(start: &str) -> Guest<'_> {
    Guest { extra: MORE, start, ..Guest::default() }
}

fn hash_behind(engine: &Engine, start: &str) -> Digest {
    let mut instance = instance(engine, &guest(start));
    instance.activate(&start_at(5), &payload("1")).unwrap();
    let hash = instance.state_hash().unwrap().unwrap();
    assert_eq!(instance.state_hash().unwrap(), Some(hash), "looking changed it");
    hash
}

#[test]
fn every_part_of_the_state_counts() {
    let engine = support::engine();
    let changes = [
        "",
        "(i32.store8 (i32.const 40000) (i32.const 1))",
        "(i32.store8 (i32.const 40001) (i32.const 1))",
        "(i32.store8 (i32.const 131071) (i32.const 1))",
        "(i32.store8 $second (i32.const 40000) (i32.const 1))",
        "(drop (memory.grow (i32.const 1)))",
        "(drop (memory.grow $second (i32.const 1)))",
        "(global.set $small (i32.const 1))",
        "(global.set $large (i64.const 1))",
        "(global.set $large (i64.const 0x100000000))",
        "(global.set $float (f32.const 1))",
        "(global.set $double (f64.const 1))",
        "(global.set $vector (v128.const i64x2 1 0))",
        "(global.set $vector (v128.const i64x2 0 1))",
    ];
    let hashes: BTreeSet<_> =
        changes.iter().map(|change| hash_behind(&engine, change).to_hex()).collect();
    assert_eq!(hashes.len(), changes.len());
    for change in changes {
        assert!(hashes.contains(&hash_behind(&engine, change).to_hex()), "{change}");
    }
}

#[test]
fn an_instance_that_failed_has_no_state() {
    let mut instance = instance(&support::engine(), &guest("unreachable"));
    instance.activate(&start_at(5), &payload("1")).unwrap_err();
    instance.state_hash().unwrap_err();
}
