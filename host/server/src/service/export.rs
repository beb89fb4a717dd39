//! Handing out a whole run as JSON lines.

use super::{Service, ServiceError};
use axum::body::Bytes;
use everstep_core::RunId;
use everstep_store::StoreError;
use futures::{Stream, StreamExt};
use std::sync::Arc;

impl Service {
    /// The run, its journal and its log lines as of now, as JSON lines in pieces. They are read when
    /// they are asked for.
    ///
    /// # Errors
    /// When there is no such run, or too many clients read. What fails later ends the stream with an
    /// error.
    pub async fn export(
        &self,
        run: RunId,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static + use<>, ServiceError>
    {
        let permit = self.waiting_permit()?;
        let record = self.record(run).await?;
        let lines = crate::export::lines(Arc::clone(&self.parts.store), record);
        Ok(lines.map(move |line| {
            // Given back when the stream is dropped.
            let _reading = &permit;
            line
        }))
    }
}
