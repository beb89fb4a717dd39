//! The seam between the SDK and its host: the functions that a module imports, one submodule per
//! WIT interface. In the unit tests of this crate a recorded host stands in for the real one.
//! Nothing else in the crate calls an import, and none of these functions ever blocks.

#[cfg(not(test))]
pub(crate) use crate::bindings::everstep::workflow::{
    children, context, control, events, logger, operations, outcome, state, task, timer,
};

#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
pub(crate) use recorded::{
    children, context, control, events, logger, operations, outcome, state, task, timer,
};

pub(crate) use crate::bindings::everstep::workflow::types;
