//! The workflows of `../../stories.inc`, mended: what is shipped is said in capitals.

const MENDED: bool = true;

include!("../../stories.inc");
