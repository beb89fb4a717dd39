//! Names schedules. The server draws or derives the id, users and the API write it as a UUID.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Names a schedule. Derived from the reference when the user gave one, so that the same reference
/// always names the same schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScheduleId(Uuid);

/// The namespace of ids that derive from a reference.
const REFERENCE_NAMESPACE: Uuid = Uuid::from_u128(0x8d0b_41f6_52c7_4a3e_b1c9_7363_6865_6475);

impl ScheduleId {
    /// A new id from sixteen bytes of randomness (UUID version 4).
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    /// The id that belongs to a reference (UUID version 5).
    #[must_use]
    pub fn from_reference(reference: &str) -> Self {
        Self(Uuid::new_v5(&REFERENCE_NAMESPACE, reference.as_bytes()))
    }

    /// The sixteen bytes under which stores file the schedule.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The reverse of [`ScheduleId::as_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the name of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a schedule id (like 8f14e45f-ceea-467f-a8d5-0123456789ab)")]
pub struct ParseScheduleIdError(String);

impl FromStr for ScheduleId {
    type Err = ParseScheduleIdError;
    fn from_str(text: &str) -> Result<Self, ParseScheduleIdError> {
        let shown = || ParseScheduleIdError(text.chars().take(80).collect());
        Uuid::try_parse(text).map(Self).map_err(|_| shown())
    }
}

impl TryFrom<String> for ScheduleId {
    type Error = ParseScheduleIdError;
    fn try_from(text: String) -> Result<Self, ParseScheduleIdError> {
        text.parse()
    }
}

impl From<ScheduleId> for String {
    fn from(id: ScheduleId) -> Self {
        id.to_string()
    }
}
