//! The calls about modules.

use crate::{Client, ClientError};
use everstep_core::Digest;
use everstep_core::api::{ModuleList, ModuleView, UpgradeProgress, UploadOptions, Uploaded};
use futures::stream;
use reqwest::Body;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use std::sync::Arc;
use std::time::Duration;

/// The server compiles a module before it answers, which takes minutes for a large one.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes handed to the connection at a time: the grain of the progress report.
const CHUNK: usize = 64 << 10;

impl Client {
    /// Uploads a component; refused when another module has one of its versions.
    ///
    /// # Errors
    /// When the server refuses it; the problem says why.
    pub async fn upload(&self, component: Vec<u8>) -> Result<Uploaded, ClientError> {
        self.upload_observed(component, UploadOptions::default(), |_| {}, |_| {}).await
    }

    /// Uploads a component, and tells how many bytes have been handed over and how far the check of
    /// open runs is.
    ///
    /// # Errors
    /// As [`Client::upload`]. When open runs do not pass, the problem has the report.
    pub async fn upload_observed(
        &self,
        component: Vec<u8>,
        options: UploadOptions,
        sent: impl Fn(u64) + Send + Sync + 'static,
        progress: impl FnMut(UpgradeProgress),
    ) -> Result<Uploaded, ClientError> {
        let component: Arc<[u8]> = component.into();
        let length = component.len();
        let chunks = stream::iter((0..length).step_by(CHUNK).map(move |from| {
            let to = (from + CHUNK).min(length);
            sent(to as u64);
            Ok::<_, std::convert::Infallible>(component[from..to].to_vec())
        }));
        let request = self
            .post("/v1/modules")
            .query(&options)
            .header(CONTENT_TYPE, "application/wasm")
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(chunks));
        self.json_lines(request, progress).await
    }

    /// All modules, oldest first.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn modules(&self) -> Result<ModuleList, ClientError> {
        self.json(self.get("/v1/modules")).await
    }

    /// One module.
    ///
    /// # Errors
    /// When there is none with this digest.
    pub async fn module(&self, digest: Digest) -> Result<ModuleView, ClientError> {
        self.json(self.get(&format!("/v1/modules/{digest}"))).await
    }

    /// Closes the versions of a module to new runs.
    ///
    /// # Errors
    /// When there is none with this digest, or runs on it have not ended.
    pub async fn retire_module(&self, digest: Digest) -> Result<ModuleView, ClientError> {
        self.json(self.post(&format!("/v1/modules/{digest}/retire"))).await
    }

    /// The bytes of a module, as they were uploaded.
    ///
    /// # Errors
    /// When there is none with this digest, or what came is not it.
    pub async fn module_content(&self, digest: Digest) -> Result<Vec<u8>, ClientError> {
        let request = self.get(&format!("/v1/modules/{digest}/content"));
        let bytes = self.bytes_within(request, UPLOAD_TIMEOUT).await?;
        if Digest::of(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(self.protocol(&format!("what came as module {digest} has another digest")))
        }
    }
}
