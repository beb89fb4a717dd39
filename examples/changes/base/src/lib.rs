//! The workflow of `../../steps.inc`; what differs is the variant.

const VARIANT: Variant = Base;

include!("../../steps.inc");
