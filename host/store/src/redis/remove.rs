//! Removing a run: all of it in one script. What is large of it Redis frees in the background.

use super::Redis;
use super::keys::Part;
use super::link::{Reply, typed};
use super::scripts::REMOVE;
use crate::StoreError;
use everstep_core::{Record, RunId};

/// How often a run that changes between being read and being removed is read again.
const TRIES: usize = 5;

impl Redis {
    pub(super) async fn remove_run(&self, id: RunId) -> Result<bool, StoreError> {
        let mut keys = self.keys.of_run(id);
        keys.push(self.keys.run(id, Part::Snapshot));
        for _ in 0..TRIES {
            let Some(record) = self.read_record(id).await? else { return Ok(false) };
            let args = arguments(&record);
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let Reply { result, unsure } = self.link.run_once(&REMOVE, &keys, &args).await;
            let answer: Vec<String> = typed(result)?;
            match answer.first().map_or("", String::as_str) {
                "removed" => return Ok(true),
                // It was there a moment ago: an attempt whose answer was lost has removed it.
                "none" => return Ok(unsure),
                "open" => return Err(StoreError::NotEnded),
                _ => {}
            }
        }
        Err(StoreError::Unavailable("the run kept changing while it was to be removed".into()))
    }
}

/// What the script has to know of the run; none of it but the length ever changes.
fn arguments(record: &Record) -> [Vec<u8>; 4] {
    let origin = &record.origin;
    [
        record.id().as_bytes().to_vec(),
        record.length.to_string().into_bytes(),
        origin.workflow.clone().into_bytes(),
        origin.parent.map_or_else(Vec::new, |parent| parent.run.as_bytes().to_vec()),
    ]
}
