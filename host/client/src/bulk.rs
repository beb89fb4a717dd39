//! Doing the same to many runs.

use crate::{Client, ClientError, RunFilter};
use everstep_core::api::{BulkBody, BulkReport, RunSelection};
use std::time::Duration;

/// How long a request for thousands of runs may take.
const PATIENCE: Duration = Duration::from_secs(600);

impl Client {
    /// Does the same to many runs; says for each what became of it. When more runs match than one
    /// request is about, the answer has a cursor for the next.
    ///
    /// # Errors
    /// When the request as a whole is refused; nothing has been done then.
    pub async fn bulk(&self, body: &BulkBody) -> Result<BulkReport, ClientError> {
        self.json_within(self.post("/v1/runs/bulk").json(body), PATIENCE).await
    }
}

impl RunFilter {
    /// The conditions of this filter, without its page.
    #[must_use]
    pub fn selection(&self) -> RunSelection {
        RunSelection {
            workflow: self.workflow.clone(),
            version: self.version.clone(),
            states: self.states.clone(),
            tags: self.tags.iter().cloned().collect(),
            failure_code: self.failure_code.clone(),
            parent: self.parent,
            started_after: self.started_after,
            started_before: self.started_before,
            updated_after: self.updated_after,
            updated_before: self.updated_before,
        }
    }
}
