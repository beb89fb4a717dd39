//! The workflow of `../../steps.rs`; what differs is the variant.

const VARIANT: Variant = Base;

include!("../../steps.rs");
