//! The calls about what new runs get, and about moving open runs to other modules.

use crate::{Client, ClientError};
use everstep_core::api::{
    DefaultBody, ProgressLine, RollbackBody, RolledBack, UpgradeBody, UpgradeProgress,
    UpgradeReport, WorkflowList, WorkflowView,
};
use futures::TryStreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;
use reqwest::header::ACCEPT;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// How long a server may say nothing, while it compiles a module, say.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// The longest line of an answer, in bytes.
const LONGEST_LINE: usize = 64 << 20;

impl Client {
    /// All workflows with their versions, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn workflows(&self) -> Result<WorkflowList, ClientError> {
        self.json(self.get("/v1/workflows")).await
    }

    /// One workflow.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn workflow(&self, name: &str) -> Result<WorkflowView, ClientError> {
        self.json(self.get(&workflow_path(name, ""))).await
    }

    /// Chooses what new runs get that name no version; none for the newest.
    ///
    /// # Errors
    /// When there is no such workflow or version, or it is retired.
    pub async fn set_default(
        &self,
        name: &str,
        version: Option<String>,
    ) -> Result<WorkflowView, ClientError> {
        let request = self.post(&workflow_path(name, "/default"));
        self.json(request.json(&DefaultBody { version })).await
    }

    /// Takes back the last change of what new runs get.
    ///
    /// # Errors
    /// When there is nothing to take back. When open runs do not pass, the problem has the report.
    pub async fn roll_back(
        &self,
        name: &str,
        body: &RollbackBody,
        progress: impl FnMut(UpgradeProgress),
    ) -> Result<RolledBack, ClientError> {
        let request = self.post(&workflow_path(name, "/rollback")).json(body);
        self.json_lines(request, progress).await
    }

    /// Moves open runs to another module.
    ///
    /// # Errors
    /// When open runs do not pass (the problem has the report), or the request makes no sense.
    pub async fn upgrade(
        &self,
        body: &UpgradeBody,
        progress: impl FnMut(UpgradeProgress),
    ) -> Result<UpgradeReport, ClientError> {
        self.json_lines(self.post("/v1/upgrades").json(body), progress).await
    }

    /// Sends a request whose answer tells of its progress, line by line.
    pub(crate) async fn json_lines<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        mut progress: impl FnMut(UpgradeProgress),
    ) -> Result<T, ClientError> {
        let (url, after) = (self.address().to_owned(), LONGEST_SILENCE);
        let silent = |_| ClientError::Timeout { url: url.clone(), after };
        let request = request.header(ACCEPT, "application/x-ndjson");
        let response = timeout(LONGEST_SILENCE, self.open(request)).await.map_err(silent)??;
        let mut pieces = response.bytes_stream();
        let mut read: Vec<u8> = Vec::new();
        loop {
            let next = timeout(LONGEST_SILENCE, pieces.try_next()).await.map_err(silent)?;
            let Some(piece) = next.map_err(|e| self.broken_off(&e))? else { break };
            read.extend_from_slice(&piece);
            if read.len() > LONGEST_LINE {
                return Err(self.protocol(&"a line has no end"));
            }
            while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = read.drain(..=end).collect();
                match serde_json::from_slice(&line).map_err(|e| self.protocol(&e))? {
                    ProgressLine::Progress(how_far) => progress(how_far),
                    ProgressLine::Answer(answer) => return Ok(answer),
                    ProgressLine::Problem(problem) => {
                        return Err(ClientError::Problem(Box::new(problem)));
                    }
                }
            }
        }
        Err(self.protocol(&"the answer broke off"))
    }
}

/// Names may have characters that mean something in a path.
fn workflow_path(name: &str, verb: &str) -> String {
    format!("/v1/workflows/{}{verb}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}
