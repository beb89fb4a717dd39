//! Compiled modules on disk: one file per digest and engine, replaced atomically, verified by a
//! checksum before it is used. It is a cache: whatever is missing, damaged or from another engine
//! is compiled anew, and deleting the directory loses nothing.
//!
//! A file is the magic, the SHA-256 of all that follows, the length of the facts, the facts as
//! JSON, and the code as wasmtime serialises it.

use crate::config::CONFIG_VERSION;
use crate::error::EngineError;
use crate::module::Facts;
use crate::probe::PROBES;
use everstep_core::Digest;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::hash::{Hash as _, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use wasmtime::Engine;
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"EVERSTC1";
const CHECKSUM: usize = 32;
const EXTENSION: &str = "cwasm";

/// A directory of compiled modules.
pub(crate) struct DiskCache {
    dir: PathBuf,
    /// Stands for everything that the code depends on: wasmtime's version and settings, the
    /// machine's features, our configuration.
    engine: String,
    bytes_max: u64,
    temporary: AtomicU64,
}

impl DiskCache {
    /// Opens the directory, making it if need be.
    pub(crate) fn open(dir: &Path, engine: &Engine, bytes_max: u64) -> Result<Self, EngineError> {
        fs::create_dir_all(dir)
            .map_err(|cause| EngineError::Cache { path: dir.display().to_string(), cause })?;
        let mut hasher = Sha256Hasher(Sha256::new());
        CONFIG_VERSION.hash(&mut hasher);
        PROBES.hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = format!("{:016x}", hasher.finish());
        Ok(Self { dir: dir.to_owned(), engine, bytes_max, temporary: AtomicU64::new(0) })
    }

    /// The compiled module, if there is an intact one. A damaged file is deleted.
    pub(crate) fn get(&self, digest: &Digest, engine: &Engine) -> Option<(Facts, Component)> {
        let path = self.path(digest);
        let file = fs::read(&path).ok()?;
        let found = open(&file).and_then(|(facts, code)| {
            let facts = serde_json::from_slice(facts).map_err(|error| error.to_string())?;
            Ok((facts, deserialize(engine, code)?))
        });
        match found {
            Ok(found) => {
                // The time of the last use decides what goes first when the cache is full.
                if let Ok(file) = fs::File::options().append(true).open(&path) {
                    let _ = file.set_modified(SystemTime::now());
                }
                Some(found)
            }
            Err(reason) => {
                tracing::warn!(%digest, reason, "a cached module is damaged; compiling it anew");
                self.remove(digest);
                None
            }
        }
    }

    /// Adds a compiled module. Failing to is not an error, only slower next time.
    pub(crate) fn put(&self, digest: &Digest, facts: &Facts, component: &Component) {
        if let Err(reason) = self.try_put(digest, facts, component) {
            tracing::warn!(%digest, reason, "a compiled module could not be cached");
        }
    }

    /// Forgets a module.
    pub(crate) fn remove(&self, digest: &Digest) {
        let _ = fs::remove_file(self.path(digest));
    }

    fn try_put(&self, digest: &Digest, facts: &Facts, code: &Component) -> Result<(), String> {
        let facts = serde_json::to_vec(facts).map_err(|error| error.to_string())?;
        let code = code.serialize().map_err(|error| error.to_string())?;
        let file = seal(&facts, &code)?;
        self.make_room(file.len() as u64);
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{}-{number}.tmp", std::process::id()));
        fs::write(&temporary, file)
            .and_then(|()| fs::rename(&temporary, self.path(digest)))
            .map_err(|error| {
                let _ = fs::remove_file(&temporary);
                error.to_string()
            })
    }

    /// Deletes the least recently used files until `needed` more bytes are within the bound.
    fn make_room(&self, needed: u64) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|it| it == EXTENSION))
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total = files.iter().map(|(_, len, _)| len).sum::<u64>().saturating_add(needed);
        for (_, len, path) in files {
            if total <= self.bytes_max {
                break;
            }
            let _ = fs::remove_file(path);
            total = total.saturating_sub(len);
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.{EXTENSION}", digest.to_hex(), self.engine))
    }
}

/// Makes a file of facts and code.
fn seal(facts: &[u8], code: &[u8]) -> Result<Vec<u8>, String> {
    let facts_len = u32::try_from(facts.len()).map_err(|error| error.to_string())?;
    let mut file = Vec::with_capacity(MAGIC.len() + CHECKSUM + 4 + facts.len() + code.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[0; CHECKSUM]);
    file.extend_from_slice(&facts_len.to_le_bytes());
    file.extend_from_slice(facts);
    file.extend_from_slice(code);
    let body = MAGIC.len() + CHECKSUM;
    let checksum = Sha256::digest(&file[body..]);
    file[MAGIC.len()..body].copy_from_slice(&checksum);
    Ok(file)
}

/// Takes a file apart again, if it is intact.
fn open(file: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let body = file.strip_prefix(MAGIC).ok_or("it has another format")?;
    let (checksum, body) = body.split_at_checked(CHECKSUM).ok_or("it is cut short")?;
    if Sha256::digest(body)[..] != *checksum {
        return Err("its checksum does not match".into());
    }
    let (facts_len, body) = body.split_first_chunk::<4>().ok_or("it is cut short")?;
    let facts_len = usize::try_from(u32::from_le_bytes(*facts_len)).unwrap_or(usize::MAX);
    Ok(body.split_at_checked(facts_len).ok_or("it is cut short")?)
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: wasmtime requires bytes that `Component::serialize` wrote, unmodified: it runs them
    // as machine code. This process or an earlier one wrote them (`try_put`), and the checksum has
    // just shown that they are unmodified; wasmtime itself checks that they are for this version,
    // these settings and this machine. Whoever can forge both code and checksum can write to the
    // server's private cache directory, and could replace the server's own binary as well.
    unsafe { Component::deserialize(engine, code) }.map_err(|error| error.to_string())
}

/// `std::hash::Hash` into SHA-256: the name of a cache file must not change with Rust's hasher.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finalize();
        u64::from_le_bytes(std::array::from_fn(|i| hash[i]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_opens_only_as_it_was_sealed() {
        let file = seal(b"facts", b"code").unwrap();
        assert_eq!(open(&file).unwrap(), (&b"facts"[..], &b"code"[..]));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged).is_err(), "a flipped bit at {at}");
            assert!(open(&file[..at]).is_err(), "cut at {at}");
        }
    }
}
