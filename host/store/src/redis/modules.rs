//! Modules and publications. They belong to no shard: there are few, and a publication changes
//! together with others.

use super::Redis;
use super::link::{Reply, typed};
use super::scripts::PUBLISH;
use crate::codec::{Kind, check_size, checksum, encode};
use crate::{ModuleRecord, NewModule, PublicationChange, StoreError};
use everstep_core::{Digest, Manifest, Publication, Timestamp};
use redis::cmd;
use serde::{Deserialize, Serialize};

/// What is known of a module, as JSON behind its checksum: a manifest holds JSON Schemas.
#[derive(Serialize, Deserialize)]
struct Stored {
    size: u64,
    uploaded_at: Timestamp,
    engine: u32,
    manifest: Manifest,
}

impl Redis {
    pub(super) async fn write_publish(
        &self,
        module: Option<NewModule>,
        changes: &[PublicationChange],
    ) -> Result<bool, StoreError> {
        let mut args = vec![changes.len().to_string().into_bytes()];
        for PublicationChange { publication, expected } in changes {
            let data = encode(publication)?;
            let (workflow, revision) = (publication.workflow.as_bytes(), publication.revision);
            let crc = checksum(Kind::Publication, workflow, revision, 1, &data);
            args.push(workflow.to_vec());
            args.push(expected.to_be_bytes().to_vec());
            args.push(revised(crc, revision, &data));
        }
        let mut bytes_key = self.keys.meta("no_module");
        if let Some(module) = module {
            check_size(module.bytes.len())?;
            let digest = Digest::of(&module.bytes);
            bytes_key = self.bytes_key(digest);
            args.extend([digest.as_bytes().to_vec(), stored(&module, digest)?, module.bytes]);
        }
        let keys = ["publications", "modules", "module_order"].map(|name| self.keys.meta(name));
        let keys = [&keys[..], &[bytes_key]].concat();
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let Reply { result, unsure } = self.link.run_once(&PUBLISH, &keys, &args).await;
        let answer: Vec<String> = typed(result)?;
        match answer.first().map_or("", String::as_str) {
            "new" => Ok(true),
            "ok" => Ok(false),
            _ if unsure => {
                let lost = "the connection was lost, and whether it was published is not known";
                Err(StoreError::Unavailable(lost.into()))
            }
            _ => {
                let workflow = answer.get(1).cloned().unwrap_or_default();
                Err(StoreError::PublicationChanged { workflow })
            }
        }
    }

    pub(super) async fn read_publications(&self) -> Result<Vec<Publication>, StoreError> {
        let all = cmd("HGETALL").arg(self.keys.meta("publications")).to_owned();
        let mut found: Vec<(String, Vec<u8>)> = self.link.ask(&all).await?;
        found.sort_unstable();
        found.iter().map(|(workflow, value)| unpack_publication(workflow, value)).collect()
    }

    pub(super) async fn read_module(
        &self,
        digest: Digest,
    ) -> Result<Option<ModuleRecord>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(self.keys.meta("modules")).arg(digest.as_bytes());
        let value: Option<Vec<u8>> = self.link.ask(&get).await?;
        value.map(|value| unpack_module(digest, &value)).transpose()
    }

    pub(super) async fn read_modules(&self) -> Result<Vec<ModuleRecord>, StoreError> {
        let mut order = cmd("LRANGE");
        order.arg(self.keys.meta("module_order")).arg(0).arg(-1);
        let order: Vec<Vec<u8>> = self.link.ask(&order).await?;
        if order.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = cmd("HMGET");
        get.arg(self.keys.meta("modules")).arg(&order);
        let values: Vec<Option<Vec<u8>>> = self.link.ask(&get).await?;
        let unpack = |(digest, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            let digest = digest.as_slice().try_into().map(Digest::from_bytes);
            let digest = digest.map_err(|_| StoreError::corrupt("a module has no digest"))?;
            unpack_module(digest, value.as_deref().unwrap_or_default())
        };
        order.iter().zip(&values).map(unpack).collect()
    }

    pub(super) async fn read_module_bytes(
        &self,
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let get = cmd("GET").arg(self.bytes_key(digest)).to_owned();
        let bytes: Option<Vec<u8>> = self.link.ask(&get).await?;
        let wrong = |how: &str| StoreError::corrupt(format!("module {digest}: {how}"));
        match bytes {
            Some(bytes) if Digest::of(&bytes) != digest => {
                Err(wrong(&format!("its bytes have the digest {}", Digest::of(&bytes))))
            }
            None if self.read_module(digest).await?.is_some() => Err(wrong("it has no bytes")),
            bytes => Ok(bytes),
        }
    }

    fn bytes_key(&self, digest: Digest) -> String {
        self.keys.meta(&format!("module:{}", digest.to_hex()))
    }
}

/// A value that is changed only by who knows its revision.
pub(super) fn revised(crc: u32, revision: u64, data: &[u8]) -> Vec<u8> {
    [crc.to_le_bytes().as_slice(), &revision.to_be_bytes(), data].concat()
}

/// The checksum, the revision and the data of such a value.
pub(super) fn unrevised(value: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (crc, rest) = value.split_first_chunk()?;
    let (revision, data) = rest.split_first_chunk()?;
    Some((u32::from_le_bytes(*crc), u64::from_be_bytes(*revision), data))
}

fn unpack_publication(workflow: &str, value: &[u8]) -> Result<Publication, StoreError> {
    let damaged = |how: &str| {
        StoreError::corrupt(format!("what is published of workflow `{workflow}`: {how}"))
    };
    let (crc, revision, data) = unrevised(value).ok_or_else(|| damaged("it is too short"))?;
    if checksum(Kind::Publication, workflow.as_bytes(), revision, 1, data) != crc {
        return Err(damaged("its checksum is wrong"));
    }
    rmp_serde::from_slice(data).map_err(|error| damaged(&error.to_string()))
}

fn stored(module: &NewModule, digest: Digest) -> Result<Vec<u8>, StoreError> {
    let NewModule { bytes, uploaded_at, engine, manifest } = module;
    let (size, manifest) = (bytes.len() as u64, manifest.clone());
    let stored = Stored { size, uploaded_at: *uploaded_at, engine: *engine, manifest };
    let data = serde_json::to_vec(&stored)
        .map_err(|error| StoreError::Inconsistent(format!("the manifest: {error}")))?;
    check_size(data.len())?;
    let crc = checksum(Kind::Manifest, digest.as_bytes(), 0, 0, &data);
    Ok([crc.to_le_bytes().as_slice(), &data].concat())
}

fn unpack_module(digest: Digest, value: &[u8]) -> Result<ModuleRecord, StoreError> {
    let damaged = |how: &str| StoreError::corrupt(format!("module {digest}, its manifest: {how}"));
    let (crc, data) = value.split_first_chunk().ok_or_else(|| damaged("it is missing"))?;
    if checksum(Kind::Manifest, digest.as_bytes(), 0, 0, data) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum is wrong"));
    }
    let Stored { size, uploaded_at, engine, manifest } =
        serde_json::from_slice(data).map_err(|error| damaged(&error.to_string()))?;
    Ok(ModuleRecord { digest, size, uploaded_at, engine, manifest })
}
