//! Whole-system tests of Everstep.
