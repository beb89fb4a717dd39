//! Floating point, where processors differ: the bits of what is not a number, the last bits of what
//! is, and vector instructions. Called by the workflow.

use std::arch::wasm32::*;
use std::hint::black_box;

/// Not-a-numbers of several origins, whose sign and payload the wasm standard leaves open.
pub(crate) fn nan_bits() -> Vec<String> {
    let zero = black_box(0.0_f64);
    let infinity = black_box(f64::INFINITY);
    let payload = black_box(f64::from_bits(0x7ff4_dead_beef_0001));
    let negative = black_box(f64::from_bits(0xfff8_0000_0000_1234));
    let small = black_box(f32::from_bits(0x7fa0_1234));
    let wide = [
        zero / zero,
        infinity - infinity,
        infinity * zero,
        black_box(-1.0_f64).sqrt(),
        payload + 1.0,
        payload * negative,
        negative - payload,
        -payload,
        payload.abs(),
        payload.max(negative),
        f64::from(small),
        payload.floor(),
    ];
    let narrow = [small / small, small + 1.0, payload as f32, black_box(0.0_f32) / 0.0];
    let wide = wide.iter().map(|value| format!("{:016x}", value.to_bits()));
    wide.chain(narrow.iter().map(|value| format!("{:08x}", value.to_bits()))).collect()
}

/// Sums and products in an order in which every rounding shows.
pub(crate) fn arithmetic() -> Vec<String> {
    let (mut sum, mut product, mut narrow) = (0.1_f64, 1.0_f64, 0.1_f32);
    for n in 1..20_000_u32 {
        let x = black_box(f64::from(n));
        sum += 1.0 / x;
        product = (product * x.sqrt()) % 1_000_003.7;
        narrow = narrow * 1.000_1 + (x as f32).recip();
        sum = sum.mul_add(1.000_000_1, -1e-9);
    }
    vec![
        format!("{:016x} {:016x}", sum.to_bits(), product.to_bits()),
        format!("{:08x}", narrow.to_bits()),
        format!("{:e} {}", black_box(5e-324_f64) * 3.0, black_box(1e308_f64) * 10.0),
    ]
}

/// A hash over the bits of many results, and some of them as they are.
pub(crate) fn transcendental() -> Vec<String> {
    type Function = fn(f64) -> f64;
    let functions: [(&str, Function); 8] = [
        ("sin", f64::sin),
        ("cos", f64::cos),
        ("tan", f64::tan),
        ("exp", f64::exp),
        ("ln", f64::ln),
        ("cbrt", f64::cbrt),
        ("powf", |x| x.powf(0.37)),
        ("tanh", f64::tanh),
    ];
    let line = |(name, function): &(&str, Function)| {
        let values = (1..2_000_u32).map(|n| function(black_box(f64::from(n) * 0.731)));
        let hash = values.fold(0_u64, |hash, value| hash.rotate_left(5) ^ value.to_bits());
        format!("{name} {hash:016x} {:016x}", function(black_box(1e22)).to_bits())
    };
    functions.iter().map(line).collect()
}

/// Vectors, also the relaxed instructions, which processors may answer differently.
pub(crate) fn simd() -> Vec<String> {
    let (a, b) =
        (black_box(f32x4(0.1, -0.0, f32::NAN, 3e38)), black_box(f32x4(1.7, 0.0, 1.0, 3e38)));
    let zero = black_box(f32x4_splat(0.0));
    let bytes = black_box(i8x16(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
    let far = black_box(i8x16_splat(-97));
    let results = plain(a, b, zero).into_iter().chain(relaxed(a, b, bytes, far));
    let lanes =
        |v: v128| format!("{:016x}{:016x}", u64x2_extract_lane::<1>(v), u64x2_extract_lane::<0>(v));
    results.map(lanes).collect()
}

#[target_feature(enable = "simd128")]
fn plain(a: v128, b: v128, zero: v128) -> Vec<v128> {
    vec![f32x4_div(zero, zero), f32x4_mul(a, b), f32x4_min(a, b), f32x4_pmax(a, b), f32x4_sqrt(a)]
}

#[target_feature(enable = "simd128,relaxed-simd")]
fn relaxed(a: v128, b: v128, bytes: v128, far: v128) -> Vec<v128> {
    vec![
        f32x4_relaxed_madd(a, b, a),
        f32x4_relaxed_nmadd(a, b, b),
        f32x4_relaxed_min(a, b),
        f32x4_relaxed_max(a, b),
        i32x4_relaxed_trunc_f32x4(a),
        u32x4_relaxed_trunc_f32x4(a),
        i8x16_relaxed_swizzle(bytes, far),
        i8x16_relaxed_laneselect(bytes, far, a),
        i16x8_relaxed_dot_i8x16_i7x16(bytes, far),
    ]
}
