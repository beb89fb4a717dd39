//! Uploaded modules as a store keeps them. The upload in the server makes them, the engine's loader
//! reads their bytes.

use everstep_core::{Digest, Manifest, Publication, Timestamp};

/// A checked module to keep. Its digest is computed by the store, so that bytes can never be filed
/// under the digest of others.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModule {
    /// The component as it was uploaded.
    pub bytes: Vec<u8>,
    /// When.
    pub uploaded_at: Timestamp,
    /// The version of the engine's configuration under which it was accepted.
    pub engine: u32,
    /// What it contains.
    pub manifest: Manifest,
}

/// What is known of a module without its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleRecord {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
    /// When it was uploaded first.
    pub uploaded_at: Timestamp,
    /// The version of the engine's configuration under which it was accepted.
    pub engine: u32,
    /// What it contains.
    pub manifest: Manifest,
}

/// What is to be published of a workflow from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicationChange {
    /// As it is to be.
    pub publication: Publication,
    /// The revision that it was decided on; 0 when there was none.
    pub expected: u64,
}

impl NewModule {
    /// What will be known of it.
    #[must_use]
    pub fn record(&self, digest: Digest) -> ModuleRecord {
        ModuleRecord {
            digest,
            size: self.bytes.len() as u64,
            uploaded_at: self.uploaded_at,
            engine: self.engine,
            manifest: self.manifest.clone(),
        }
    }
}
