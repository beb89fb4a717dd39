//! Snapshots: a key beside the other ones of the run, on the same slot, which goes with it.
//!
//! They carry no checksum of the store's, because whoever reads one checks it, and replays the journal
//! when it is not what was written. They lie in the memory that commits need, so large ones are refused.

use super::Redis;
use super::keys::Part;
use super::scripts::PUT_SNAPSHOT;
use crate::StoreError;
use everstep_core::RunId;
use redis::cmd;

/// The largest snapshot: what a host keeps at most.
pub(super) const MAX_SNAPSHOT: usize = 64 << 20;

impl Redis {
    pub(super) async fn read_snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        let get = cmd("GET").arg(self.keys.run(run, Part::Snapshot)).to_owned();
        self.link.ask(&get).await
    }

    /// Sent twice, it is the same. None takes the snapshot away, also when memory is full.
    pub(super) async fn write_snapshot(
        &self,
        run: RunId,
        snapshot: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let key = self.keys.run(run, Part::Snapshot);
        let Some(bytes) = snapshot else {
            return self.link.ask::<()>(cmd("UNLINK").arg(key)).await;
        };
        if bytes.len() > MAX_SNAPSHOT {
            let (bytes, limit) = (bytes.len() as u64, MAX_SNAPSHOT as u64);
            return Err(StoreError::TooLarge { bytes, limit });
        }
        let keys = [self.keys.run(run, Part::Head), key];
        let _word: Vec<String> = self.link.run(&PUT_SNAPSHOT, &keys, &[&bytes]).await?;
        Ok(())
    }
}
