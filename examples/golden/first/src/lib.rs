//! The workflows of `../../stories.inc`, as they were first.

const MENDED: bool = false;

include!("../../stories.inc");
