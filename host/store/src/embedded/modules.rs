//! Modules in the database: their records, bytes and the versions that they own. Written by the
//! writer thread like commits, read on reader connections.

use crate::StoreError;
use crate::embedded::refusal::Refusal;
use crate::embedded::rows::{Kind, check_size, checksum, encode};
use crate::{ModuleRecord, NewModule, PublicationChange};
use everstep_core::{Digest, Publication, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

const COLUMNS: &str = "digest, size, uploaded_at, engine, crc, manifest";

/// A module and what is published of workflows, ready to be written.
#[derive(Debug)]
pub(super) struct PackedPublish {
    module: Option<PackedModule>,
    changes: Vec<PackedChange>,
}

#[derive(Debug)]
struct PackedModule {
    record: ModuleRecord,
    manifest: String,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct PackedChange {
    workflow: String,
    revision: u64,
    expected: u64,
    data: Vec<u8>,
}

impl PackedPublish {
    pub(super) fn new(
        module: Option<NewModule>,
        changes: &[PublicationChange],
    ) -> Result<Self, StoreError> {
        let change = |PublicationChange { publication, expected }: &PublicationChange| {
            Ok(PackedChange {
                workflow: publication.workflow.clone(),
                revision: publication.revision,
                expected: *expected,
                data: encode(publication)?,
            })
        };
        Ok(Self {
            module: module.map(PackedModule::new).transpose()?,
            changes: changes.iter().map(change).collect::<Result<_, StoreError>>()?,
        })
    }
}

impl PackedModule {
    fn new(module: NewModule) -> Result<Self, StoreError> {
        check_size(module.bytes.len())?;
        let manifest = serde_json::to_string(&module.manifest)
            .map_err(|error| StoreError::Inconsistent(format!("the manifest: {error}")))?;
        let record = module.record(Digest::of(&module.bytes));
        Ok(Self { record, manifest, bytes: module.bytes })
    }
}

/// Does it inside the writer's transaction. Says whether the module is new.
pub(super) fn publish(connection: &Connection, new: &PackedPublish) -> Result<bool, Refusal> {
    // All are checked before one is written: a refusal does not roll back.
    for PackedChange { workflow, expected, .. } in &new.changes {
        let found: Option<u64> = connection
            .prepare_cached("SELECT revision FROM publications WHERE workflow = ?1")?
            .query_row([workflow], |row| row.get(0))
            .optional()?;
        if found.unwrap_or(0) != *expected {
            let workflow = workflow.clone();
            return Err(Refusal::Refused(StoreError::PublicationChanged { workflow }));
        }
    }
    for PackedChange { workflow, revision, data, .. } in &new.changes {
        let crc = checksum(Kind::Publication, workflow.as_bytes(), *revision, 1, data);
        connection
            .prepare_cached("INSERT OR REPLACE INTO publications VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![workflow, revision, crc, data])?;
    }
    match &new.module {
        Some(module) => Ok(insert(connection, module)?),
        None => Ok(false),
    }
}

fn insert(connection: &Connection, new: &PackedModule) -> rusqlite::Result<bool> {
    let record = &new.record;
    if look_up(connection, record.digest)?.is_some() {
        return Ok(false);
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
    Ok(true)
}

pub(super) fn publications(connection: &Connection) -> Result<Vec<Publication>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT workflow, revision, crc, rec FROM publications ORDER BY workflow",
    )?;
    let mut rows = statement.query([])?;
    let mut publications = Vec::new();
    while let Some(row) = rows.next()? {
        let (workflow, revision): (String, u64) = (row.get(0)?, row.get(1)?);
        let data = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let damaged = |how: &str| {
            StoreError::corrupt(format!("what is published of workflow `{workflow}`: {how}"))
        };
        if checksum(Kind::Publication, workflow.as_bytes(), revision, 1, data)
            != row.get::<_, u32>(2)?
        {
            return Err(damaged("its checksum is wrong"));
        }
        let publication: Publication =
            rmp_serde::from_slice(data).map_err(|error| damaged(&error.to_string()))?;
        publications.push(publication);
    }
    Ok(publications)
}

pub(super) fn open_runs(connection: &Connection) -> Result<BTreeMap<Digest, u64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT module, count(*) FROM runs INDEXED BY runs_open WHERE state < 16 GROUP BY module",
    )?;
    let rows = statement.query_map([], |row| Ok((Digest::from_bytes(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
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
