//! Reading what a record tells of: pages of a journal or of logs, up to the length in the record. What
//! was added since is cut off, and a journal that is shorter than its record is damaged.

use everstep_core::{Entry, RunId};
use everstep_store::{Store, StoreError};

/// Entries of one read.
const PAGE: usize = 1_000;

/// The entries from position `from` on, `end` at most, and at least one.
pub(crate) async fn journal(
    store: &dyn Store,
    run: RunId,
    from: u64,
    end: u64,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = store.journal(run, from, PAGE).await?;
    read_to(run, from, end, &mut entries)?;
    Ok(entries)
}

/// Cuts off what was added behind the record, and says how far this page goes.
pub(crate) fn read_to<T>(
    run: RunId,
    from: u64,
    end: u64,
    page: &mut Vec<T>,
) -> Result<u64, StoreError> {
    page.truncate(usize::try_from(end - from).unwrap_or(usize::MAX));
    if page.is_empty() {
        let what = format!("run {run} ends at position {from} of {end}; was it removed meanwhile?");
        return Err(StoreError::Corrupt { what });
    }
    Ok(from + page.len() as u64)
}
