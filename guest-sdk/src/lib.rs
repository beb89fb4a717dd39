//! Write durable workflows as ordinary async Rust.
