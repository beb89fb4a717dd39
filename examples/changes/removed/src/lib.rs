//! The workflow of `../../steps.rs`; what differs is the variant.

const VARIANT: Variant = Removed;

include!("../../steps.rs");
