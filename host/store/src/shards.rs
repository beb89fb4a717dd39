//! Which shards of a store a question is about. A server that owns some of them asks for those.

use std::collections::BTreeSet;

/// A set of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards(Option<BTreeSet<u16>>);

impl Shards {
    /// Every shard that there is.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// Whether this shard is one of them.
    #[must_use]
    pub fn contains(&self, shard: u16) -> bool {
        self.0.as_ref().is_none_or(|shards| shards.contains(&shard))
    }
}

impl FromIterator<u16> for Shards {
    fn from_iter<I: IntoIterator<Item = u16>>(shards: I) -> Self {
        Self(Some(shards.into_iter().collect()))
    }
}
