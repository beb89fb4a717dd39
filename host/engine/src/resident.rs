//! Compiled modules in memory, the most recently used first, bounded by the bytes of their code.
//! Runs that execute a module hold it themselves, so dropping it here never hurts them.

use crate::module::Module;
use everstep_core::Digest;
use hashlink::LinkedHashMap;
use std::sync::Arc;

/// A bounded map of modules.
pub(crate) struct Resident {
    modules: LinkedHashMap<Digest, Arc<Module>>,
    bytes: usize,
    bytes_max: usize,
}

impl Resident {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { modules: LinkedHashMap::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn get(&mut self, digest: &Digest) -> Option<Arc<Module>> {
        self.modules.to_back(digest).map(|module| Arc::clone(module))
    }

    /// Adds a module, and drops the least recently used ones over the bound.
    pub(crate) fn insert(&mut self, module: &Arc<Module>) {
        self.bytes += module.image_bytes();
        if let Some(old) = self.modules.insert(module.digest(), Arc::clone(module)) {
            self.bytes -= old.image_bytes();
        }
        while self.bytes > self.bytes_max && self.modules.len() > 1 {
            let Some((_, old)) = self.modules.pop_front() else { break };
            self.bytes -= old.image_bytes();
        }
    }
}
