//! Whole runs as JSON lines.

use crate::{Client, ClientError};
use everstep_core::RunId;
use futures::{Stream, TryStreamExt};

impl Client {
    /// A whole run as JSON lines, in pieces that may be cut anywhere: a line of kind `run`, which
    /// reads as a [`RunView`](crate::RunView), then lines of kind `entry` and `log`, which read as
    /// [`EntryView`](crate::EntryView) and [`LogLineView`](crate::LogLineView). Only when the stream
    /// ends without an error, the run is whole.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn export(
        &self,
        id: RunId,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + Send + use<>, ClientError> {
        let response = self.open(self.get(&format!("/v1/runs/{id}/export"))).await?;
        let client = self.clone();
        let pieces = response.bytes_stream().map_ok(|piece| piece.to_vec());
        Ok(pieces.map_err(move |error| client.broken_off(&error)))
    }
}
