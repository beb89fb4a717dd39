//! The workflow of `../../steps.inc`; what differs is the variant.

const VARIANT: Variant = Reordered;

include!("../../steps.inc");
