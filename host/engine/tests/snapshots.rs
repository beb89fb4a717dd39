//! Snapshots: an instance that was restored goes on exactly like the one that the snapshot was taken of,
//! whatever the guest keeps in its memories and globals; what is not intact, or of something else, is
//! refused; and a guest with more than that gives none.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::{Digest, OpResult};
use everstep_engine::{Engine, Module, SnapshotError, WorkflowInstance};
use proptest::prelude::*;
use std::sync::Arc;
use support::{Guest, completed, engine, payload, run, start_at};

/// A second memory and globals of every type, and a step that changes all of them in a way that depends
/// on how they are: a generator runs through them.
const MORE: &str = r"
    (memory $second 1 9)
    (global $small (mut i32) (i32.const 1))
    (global $large (mut i64) (i64.const 88172645463325252))
    (global $float (mut f32) (f32.const 0.5))
    (global $double (mut f64) (f64.const 0.25))
    (global $vector (mut v128) (v128.const i64x2 1 2))
    (func $random (result i32)
      (global.set $large (i64.xor (global.get $large) (i64.shl (global.get $large) (i64.const 13))))
      (global.set $large (i64.xor (global.get $large) (i64.shr_u (global.get $large) (i64.const 7))))
      (global.set $large (i64.xor (global.get $large) (i64.shl (global.get $large) (i64.const 17))))
      (i32.wrap_i64 (global.get $large)))
    (func $step (local $n i32)
      (global.set $small (i32.add (global.get $small) (i32.const 1)))
      (global.set $float (f32.mul (global.get $float) (f32.const 1.5)))
      (global.set $double (f64.add (global.get $double) (f64.const 1.25)))
      (global.set $vector (i64x2.add (global.get $vector) (global.get $vector)))
      (if (i32.eqz (i32.and (call $random) (i32.const 7)))
        (then (drop (memory.grow $second (i32.const 1)))))
      (loop $more
        (i32.store $second
          (i32.rem_u (call $random) (i32.sub (i32.shl (memory.size $second) (i32.const 16)) (i32.const 4)))
          (call $random))
        (i32.store8 (i32.add (i32.const 40000) (i32.rem_u (call $random) (i32.const 20000)))
          (i32.load8_u $second (i32.rem_u (call $random) (i32.const 65536))))
        (br_if $more (i32.and (call $random) (i32.const 7)))))";

fn guest(start: &str) -> Vec<u8> {
    Guest { extra: MORE, start, resume: "(call $step)", ..Guest::default() }.build()
}

fn hash(instance: &mut WorkflowInstance) -> Digest {
    instance.state_hash().unwrap().unwrap()
}

fn module(engine: &Engine, bytes: &[u8]) -> Arc<Module> {
    let module = engine.compile(bytes).unwrap();
    assert_eq!(module.unsound(), None);
    module
}

fn begun(module: &Arc<Module>) -> WorkflowInstance {
    let mut instance = module.instantiate(run(1)).unwrap();
    instance.activate(&start_at(5), &payload("1")).unwrap();
    instance
}

/// Goes on with so many activations and tells what it saw behind each; `hop` may put another instance in
/// the place of this one in front of each.
fn go_on(
    mut instance: WorkflowInstance,
    steps: u64,
    hop: impl Fn(u64, WorkflowInstance) -> WorkflowInstance,
) -> Vec<(Digest, u64)> {
    let mut seen = Vec::new();
    for step in 1..=steps {
        instance = hop(step, instance);
        instance.activate(&completed(5 + step, step, OpResult::Fired), &payload("1")).unwrap();
        seen.push((instance.state_hash().unwrap().unwrap(), instance.fuel_used()));
    }
    seen
}

fn restored(module: &Arc<Module>, mut instance: WorkflowInstance) -> WorkflowInstance {
    let bytes = instance.snapshot().unwrap();
    let before = hash(&mut instance);
    drop(instance);
    let mut instance = module.restore(run(1), &bytes).unwrap();
    assert_eq!(hash(&mut instance), before);
    instance
}

/// Wherever a guest is restored, in another engine each time, it goes on as if it had not been.
#[test]
fn a_restored_guest_goes_on_as_it_would_have() {
    let bytes = guest("(call $step)");
    let module_here = module(&engine(), &bytes);
    let straight = go_on(begun(&module_here), 40, |_, instance| instance);
    assert!(straight.windows(2).all(|pair| pair[0].0 != pair[1].0), "the guest does nothing");
    let hopping = go_on(begun(&module_here), 40, |_, instance| restored(&module_here, instance));
    assert_eq!(hopping, straight);
    let elsewhere = go_on(begun(&module_here), 40, |step, instance| match step % 13 {
        0 => restored(&module(&engine(), &bytes), instance),
        _ => instance,
    });
    assert_eq!(elsewhere, straight);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same for guests that begin with other random numbers, restored at other places.
    #[test]
    fn any_guest_can_be_restored_anywhere(seed in 1_u64.., places in any::<u32>()) {
        let start = format!("(global.set $large (i64.const {})) (call $step)", seed.cast_signed());
        let module = module(&engine(), &guest(&start));
        let straight = go_on(begun(&module), 32, |_, instance| instance);
        let hopping = go_on(begun(&module), 32, |step, instance| {
            if places >> (step - 1) & 1 == 1 { restored(&module, instance) } else { instance }
        });
        prop_assert_eq!(hopping, straight);
    }
}

/// A snapshot has what changed, not all that there is.
#[test]
fn a_snapshot_is_as_large_as_what_changed() {
    let module = module(&engine(), &guest("(drop (memory.grow (i32.const 1000)))"));
    let mut instance = begun(&module);
    let small = instance.snapshot().unwrap();
    assert!(small.len() < 2_000, "{} bytes", small.len());
    assert_eq!(module.restore(run(1), &small).unwrap().memory_bytes(), instance.memory_bytes());
}

/// Guests that bring an interpreter of their own along have tens of megabytes, much of it in use.
#[test]
fn a_guest_of_thirty_megabytes_goes_on_like_any_other() {
    let fill = r"
        (local $at i32)
        (drop (memory.grow (i32.const 480)))
        (local.set $at (i32.const 1000000))
        (loop $more
          (i32.store (local.get $at) (i32.mul (local.get $at) (i32.const -1640531527)))
          (local.set $at (i32.add (local.get $at) (i32.const 4)))
          (br_if $more (i32.lt_u (local.get $at) (i32.const 13000000))))";
    let resume = "(i32.store (i32.const 2000000) (i32.add (i32.load (i32.const 2000000)) (i32.load (i32.const 12000000))))";
    let bytes = Guest { start: fill, resume, ..Guest::default() }.build();
    let module = module(&engine(), &bytes);
    let mut instance = begun(&module);
    assert!(instance.memory_bytes() > 30 << 20);
    let snapshot = instance.snapshot().unwrap();
    assert!((4 << 20..14 << 20).contains(&snapshot.len()), "{} bytes", snapshot.len());
    let straight = go_on(instance, 3, |_, instance| instance);
    let hopping = go_on(begun(&module), 3, |_, instance| restored(&module, instance));
    assert_eq!(hopping, straight);
}

#[test]
fn what_was_not_written_like_this_is_refused() {
    let engine = engine();
    let home = module(&engine, &guest("(call $step)"));
    let bytes = begun(&home).snapshot().unwrap();
    let damaged =
        |bytes: &[u8]| matches!(home.restore(run(1), bytes), Err(SnapshotError::Damaged(_)));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(damaged(&flipped), "a flipped bit at {at}");
        assert!(damaged(&bytes[..at]), "cut at {at}");
    }
    let foreign = module(&engine, &guest(""));
    let refused = foreign.restore(run(1), &bytes);
    assert!(matches!(refused, Err(SnapshotError::Foreign(_))), "{refused:?}");
    // A run that was promised less memory than the snapshot needs.
    let mut less = run(1);
    less.limits.memory_bytes = 65_536;
    assert!(matches!(home.restore(less, &bytes), Err(SnapshotError::Damaged(_))));
    home.restore(run(1), &bytes).unwrap();
}

/// Each of these keeps something where no probe reaches; they run, and are replayed.
#[test]
fn a_guest_with_more_than_memory_gives_no_snapshot() {
    let engine = engine();
    let cases = [
        (
            r"(table $t 2 funcref) (func $f) (elem declare func $f)
              (func $g (table.set $t (i32.const 0) (ref.func $f)))",
            "changes tables",
        ),
        (r#"(data $d "x") (func $g (data.drop $d))"#, "drops data segments"),
        (r"(global $g (mut funcref) (ref.null func))", "holds a reference"),
    ];
    for (extra, reason) in cases {
        let module = engine.compile(&Guest { extra, ..Guest::default() }.build()).unwrap();
        assert!(module.unsound().unwrap().contains(reason), "{:?}", module.unsound());
        let mut instance = begun(&module);
        assert!(matches!(instance.snapshot(), Err(SnapshotError::Unsound(_))));
        assert_eq!(instance.state_hash().unwrap(), None);
        instance.activate(&completed(6, 1, OpResult::Fired), &payload("1")).unwrap();
    }
}

/// A module that may print by itself.
const PRINTING: &str = r"
package tests:printing;
package wasi:io@0.2.0 {
    interface streams { resource output-stream; }
}
package wasi:cli@0.2.0 {
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
}
world printing {
    include everstep:workflow/module@0.1.0;
    import wasi:cli/stdout@0.2.0;
}";

/// What a guest was given and has not dropped is known to the host only.
#[test]
fn a_guest_with_open_handles_gives_no_snapshot() {
    let imports = r#"
        (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
        (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))"#;
    let guest = Guest {
        imports,
        extra: "(global $handle (mut i32) (i32.const 0))",
        start: "(global.set $handle (call $stdout))",
        resume: "(call $drop (global.get $handle))",
        ..Guest::default()
    };
    let bytes = support::component_of(&guest.text(), PRINTING, "printing");
    let module = module(&engine(), &bytes);
    let mut instance = begun(&module);
    let refused = instance.snapshot();
    assert!(matches!(&refused, Err(SnapshotError::Unsound(why)) if why.contains("1 open handle")));
    instance.activate(&completed(6, 1, OpResult::Fired), &payload("1")).unwrap();
    module.restore(run(1), &instance.snapshot().unwrap()).unwrap();
}

/// Guests that real compilers make can be restored.
#[test]
fn the_examples_can_be_restored() {
    for name in ["bench", "chaotic", "family", "onboarding", "payment", "pipeline"] {
        let module = support::example(name);
        assert_eq!(module.unsound(), None, "{name}");
    }
}
