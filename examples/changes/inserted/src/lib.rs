//! The workflow of `../../steps.rs`; what differs is the variant.

const VARIANT: Variant = Inserted;

include!("../../steps.rs");
