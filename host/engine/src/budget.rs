//! The memory that one guest instance may have. Going over it is the guest's business and answers
//! -1, the same in every replay; a host that has no memory left is an error of the host and must
//! never look like the former.

use crate::config::TABLE_ELEMENTS;
use wasmtime::ResourceLimiter;

/// The host failed to provide memory that the guest was entitled to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostOutOfMemory(String);

/// Counts what the memories of one instance take, against a limit.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: usize,
    limit: usize,
    refused: bool,
}

impl MemoryBudget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self { used: 0, limit, refused: false }
    }

    /// The bytes of linear memory that the instance has.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The bytes that it may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether it ever asked for more than the limit.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        if total > self.limit {
            self.refused = true;
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // What remains after `memory_growing` is the operating system saying no, or a size that
        // the memory's type cannot have; only the latter may be shown to the guest.
        let system = error.is::<rustix::io::Errno>() || error.is::<std::io::Error>();
        if system { Err(HostOutOfMemory(error.to_string()).into()) } else { Ok(()) }
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_memories_of_an_instance_share_one_limit() {
        let mut budget = MemoryBudget::new(100);
        assert!(budget.memory_growing(0, 60, None).unwrap());
        assert!(!budget.memory_growing(0, 50, None).unwrap());
        assert!(budget.was_refused());
        assert!(budget.memory_growing(60, 100, Some(100)).unwrap());
        assert!(!budget.memory_growing(100, 101, None).unwrap());
        assert_eq!(budget.used(), 100);
    }

    #[test]
    fn a_host_without_memory_is_an_error_of_the_host() {
        let mut budget = MemoryBudget::new(100);
        let system = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let error = budget.memory_grow_failed(system.into()).unwrap_err();
        assert!(error.is::<HostOutOfMemory>());
        assert!(budget.memory_grow_failed(wasmtime::Error::msg("type limit")).is_ok());
    }
}
