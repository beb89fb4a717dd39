//! The calls about hosts.

use crate::{Client, ClientError};
use everstep_core::api::HostList;

impl Client {
    /// The hosts that are connected, or may come back to the runs that they have.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn hosts(&self) -> Result<HostList, ClientError> {
        self.json(self.get("/v1/hosts")).await
    }
}
