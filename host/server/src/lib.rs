//! The Everstep server: HTTP API, dispatch, timers, leases and the host loop.
