//! Durable storage for Everstep: the Store trait and its backends.
