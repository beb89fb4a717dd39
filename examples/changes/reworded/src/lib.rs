//! The workflow of `../../steps.inc`; what differs is the variant.

const VARIANT: Variant = Reworded;

include!("../../steps.inc");
