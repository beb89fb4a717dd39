//! The pure rules of Everstep: journal, run state machine, replay matching.
