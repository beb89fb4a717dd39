//! Modules in the database: their records, bytes and the versions that they own. Written by the
//! writer thread like commits, read on reader connections.

use crate::StoreError;
use crate::embedded::refusal::Refusal;
use crate::embedded::rows::{Kind, check_size, checksum};
use crate::{ModuleRecord, NewModule, Registered};
use everstep_core::{Digest, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "digest, size, uploaded_at, engine, crc, manifest";

/// A module, ready to be written.
#[derive(Debug)]
pub(super) struct PackedModule {
    record: ModuleRecord,
    manifest: String,
    bytes: Vec<u8>,
}

impl PackedModule {
    pub(super) fn new(module: NewModule) -> Result<Self, StoreError> {
        check_size(module.bytes.len())?;
        let manifest = serde_json::to_string(&module.manifest)
            .map_err(|error| StoreError::Inconsistent(format!("the manifest: {error}")))?;
        let record = module.record(Digest::of(&module.bytes));
        Ok(Self { record, manifest, bytes: module.bytes })
    }
}

/// Keeps a module, inside the writer's transaction.
pub(super) fn put(connection: &Connection, new: &PackedModule) -> Result<Registered, Refusal> {
    let record = &new.record;
    if let Some(row) = look_up(connection, record.digest)? {
        return Ok(Registered { created: false, module: row.check()? });
    }
    for workflow in &record.manifest.workflows {
        let taken = connection
            .prepare_cached(
                "SELECT m.digest FROM module_versions v JOIN modules m ON m.no = v.module
                 WHERE v.workflow = ?1 AND v.version = ?2",
            )?
            .query_row([&workflow.name, &workflow.version], |row| row.get(0))
            .optional()?;
        if let Some(digest) = taken {
            return Err(Refusal::Refused(StoreError::VersionTaken {
                workflow: workflow.name.clone(),
                version: workflow.version.clone(),
                digest: Digest::from_bytes(digest),
            }));
        }
    }
    connection
        .prepare_cached(&format!(
            "INSERT INTO modules ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        ))?
        .execute(params![
            record.digest.as_bytes(),
            record.size,
            record.uploaded_at.as_millis(),
            record.engine,
            manifest_checksum(record.digest, &new.manifest),
            new.manifest,
        ])?;
    let no = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO module_bytes VALUES (?1, ?2)")?
        .execute(params![no, new.bytes])?;
    for workflow in &record.manifest.workflows {
        connection
            .prepare_cached("INSERT INTO module_versions VALUES (?1, ?2, ?3)")?
            .execute(params![workflow.name, workflow.version, no])?;
    }
    Ok(Registered { created: true, module: record.clone() })
}

pub(super) fn find(
    connection: &Connection,
    digest: Digest,
) -> Result<Option<ModuleRecord>, StoreError> {
    look_up(connection, digest)?.map(Stored::check).transpose()
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ModuleRecord>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM modules ORDER BY no"))?;
    let rows = statement.query_map([], Stored::read)?;
    rows.map(|row| row?.check()).collect()
}

pub(super) fn bytes(
    connection: &Connection,
    digest: Digest,
) -> Result<Option<Vec<u8>>, StoreError> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT b.data FROM modules m JOIN module_bytes b ON b.module = m.no
             WHERE m.digest = ?1",
        )?
        .query_row([digest.as_bytes()], |row| row.get(0))
        .optional()?;
    match bytes {
        Some(bytes) if Digest::of(&bytes) != digest => Err(StoreError::corrupt(format!(
            "module {digest}: its bytes have the digest {}",
            Digest::of(&bytes)
        ))),
        other => Ok(other),
    }
}

fn look_up(connection: &Connection, digest: Digest) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM modules WHERE digest = ?1"))?
        .query_row([digest.as_bytes()], Stored::read)
        .optional()
}

/// A row, not yet believed.
struct Stored {
    digest: Digest,
    size: u64,
    uploaded_at: u64,
    engine: u32,
    crc: u32,
    manifest: String,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            digest: Digest::from_bytes(row.get(0)?),
            size: row.get(1)?,
            uploaded_at: row.get(2)?,
            engine: row.get(3)?,
            crc: row.get(4)?,
            manifest: row.get(5)?,
        })
    }

    fn check(self) -> Result<ModuleRecord, StoreError> {
        let damaged =
            |how: &str| StoreError::corrupt(format!("module {}, its manifest: {how}", self.digest));
        if manifest_checksum(self.digest, &self.manifest) != self.crc {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(ModuleRecord {
            digest: self.digest,
            size: self.size,
            uploaded_at: Timestamp::from_millis(self.uploaded_at),
            engine: self.engine,
            manifest: serde_json::from_str(&self.manifest)
                .map_err(|error| damaged(&error.to_string()))?,
        })
    }
}

fn manifest_checksum(digest: Digest, manifest: &str) -> u32 {
    checksum(Kind::Manifest, digest.as_bytes(), 0, 0, manifest.as_bytes())
}
