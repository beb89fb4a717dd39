//! A typed async client for the Everstep HTTP API.
