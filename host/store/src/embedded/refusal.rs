//! Why something was not written: by the rules, or because the database is broken. The first is an
//! answer for one caller, the second concerns all.

use crate::StoreError;

/// Why a job was not done.
pub(super) enum Refusal {
    /// By the rules; nothing was changed.
    Refused(StoreError),
    /// By the database; what was changed has to be rolled back.
    Broken(rusqlite::Error),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
}
