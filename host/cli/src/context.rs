//! What every verb gets: where to print and which server to talk to.

use crate::durations;
use crate::exit::Failure;
use crate::output::Output;
use everstep_client::{Client, Notice, Timestamp};
use std::time::{Duration, SystemTime};

/// How long a wait outlives the server.
const RECONNECT: Duration = Duration::from_secs(30);

pub(crate) struct Context {
    pub(crate) server: String,
    pub(crate) output: Output,
}

impl Context {
    /// A client of the server that was named; says on stderr when it waits for a lost server.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let output = self.output.clone();
        let client = Client::new(&self.server)?.reconnecting_within(RECONNECT, move |notice| {
            output.note(&match notice {
                Notice::Lost(error, limit) => {
                    format!("{error}; trying again for {}", durations::short(limit))
                }
                Notice::Back => "the server is back".to_owned(),
            });
        });
        Ok(client)
    }

    /// The time on this machine, for showing how far away another time is.
    pub(crate) fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
