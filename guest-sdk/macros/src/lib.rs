//! The attribute macros of everstep-sdk.
