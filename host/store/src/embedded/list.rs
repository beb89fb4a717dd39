//! Lists of runs. A page is found in two steps: the places of its runs from an index that fits the
//! question, then their records, one by one, as far as they fit into memory well.
//!
//! The statements name their index, so that a list stays quick whatever the planner thinks of a
//! million runs.

use crate::cursor::Place;
use crate::embedded::read::PAGE_BYTES;
use crate::embedded::rows::{state_number, unpack_record};
use crate::{RunPage, RunQuery, StoreError};
use everstep_core::{RunId, StateKind};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::fmt::Write as _;

pub(super) fn page(connection: &Connection, query: &RunQuery) -> Result<RunPage, StoreError> {
    let behind = query.cursor.as_deref().map(Place::from_cursor).transpose()?;
    let wanted = query.page_size();
    let places = places(connection, query, behind, wanted + 1)?;
    let mut page = RunPage::default();
    let mut bytes = 0;
    let mut find = connection.prepare_cached(
        "SELECT run_id, length, log_lines, crc, state, rec FROM runs WHERE no = ?1",
    )?;
    for (shown, place) in places.iter().enumerate() {
        if shown == wanted || bytes >= PAGE_BYTES {
            page.cursor = Some(places[shown - 1].to_cursor());
            break;
        }
        let mut rows = find.query([place.no])?;
        let Some(row) = rows.next()? else {
            return Err(StoreError::corrupt(format!("run number {} is missing", place.no)));
        };
        let run = RunId::from_bytes(row.get(0)?);
        let data = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += data.len();
        match unpack_record(run, (row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?, data) {
            Ok(record) => page.runs.push(record),
            Err(error) => {
                tracing::error!(%run, %error, "a run's record is damaged");
                page.damaged.push(run);
            }
        }
    }
    Ok(page)
}

/// The places of the first `limit` runs that match, newest first.
fn places(
    connection: &Connection,
    query: &RunQuery,
    behind: Option<Place>,
    limit: usize,
) -> Result<Vec<Place>, StoreError> {
    let states = &query.states;
    let scans: Vec<Scan> = if query.open_on.is_some() {
        vec![Scan::Open]
    } else if query.parent.is_some() {
        vec![Scan::Parent]
    } else if !query.tags.is_empty() {
        vec![Scan::Tag]
    } else if query.failure_code.is_some() {
        vec![Scan::Failure]
    } else if !states.is_empty() && !states.contains(&StateKind::Completed) {
        states.iter().map(|state| Scan::State(*state)).collect()
    } else if query.workflow.is_some() {
        vec![Scan::Workflow]
    } else {
        vec![Scan::Start]
    };
    let mut places = Vec::new();
    for scan in scans {
        let (sql, values) = scan.statement(query, behind, limit);
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map(params_from_iter(values), |row| {
            Ok(Place { started_at: row.get(0)?, no: row.get(1)? })
        })?;
        for place in found {
            places.push(place?);
        }
    }
    // Each scan is in order; several of them are not.
    places.sort_unstable_by(|a, b| b.cmp(a));
    places.truncate(limit);
    Ok(places)
}

/// The index along which runs are looked for; each leads from new to old.
#[derive(Clone, Copy)]
enum Scan {
    Open,
    Parent,
    Tag,
    Failure,
    State(StateKind),
    Workflow,
    Start,
}

impl Scan {
    fn statement(
        self,
        query: &RunQuery,
        behind: Option<Place>,
        limit: usize,
    ) -> (String, Vec<Value>) {
        let mut sql = Sql::default();
        let (start, no) = match (self, query.tags.iter().next()) {
            (Self::Tag, Some((name, value))) => {
                sql.push("SELECT t.started_at, t.run FROM run_tags t CROSS JOIN runs r ");
                sql.push("ON r.no = t.run WHERE t.name = ");
                sql.bind(name.clone());
                sql.push(" AND t.value = ");
                sql.bind(value.clone());
                ("t.started_at", "t.run")
            }
            (scan, _) => {
                sql.push("SELECT r.started_at, r.no FROM runs r INDEXED BY ");
                sql.push(match scan {
                    Self::Open => "runs_open WHERE r.state < 16 AND r.module = ",
                    Self::Parent => "runs_parent WHERE r.parent = ",
                    Self::Failure => "runs_failure WHERE r.failure_code = ",
                    Self::State(_) => "runs_state WHERE r.state <> 16 AND r.state = ",
                    Self::Workflow => "runs_workflow WHERE r.workflow = ",
                    Self::Tag | Self::Start => "runs_start WHERE 1 = ",
                });
                match (scan, &query.failure_code, &query.workflow) {
                    (Self::Open, ..) => sql.bind(module(query)),
                    (Self::Parent, ..) => sql.bind(parent(query)),
                    (Self::State(state), ..) => sql.bind(state_number(state)),
                    (Self::Failure, Some(code), _) => sql.bind(code.clone()),
                    (Self::Workflow, _, Some(workflow)) => sql.bind(workflow.clone()),
                    _ => sql.bind(1),
                }
                ("r.started_at", "r.no")
            }
        };
        let first_is_known = matches!(self, Self::Tag);
        for (name, value) in query.tags.iter().skip(usize::from(first_is_known)) {
            sql.push(" AND EXISTS (SELECT 1 FROM run_tags o WHERE o.name = ");
            sql.bind(name.clone());
            sql.push(" AND o.value = ");
            sql.bind(value.clone());
            sql.push(" AND o.started_at = r.started_at AND o.run = r.no)");
        }
        sql.conditions(query);
        sql.bounds(query, behind, start, no);
        sql.push(&format!(" ORDER BY {start} DESC, {no} DESC LIMIT "));
        sql.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        (sql.text, sql.values)
    }
}

fn module(query: &RunQuery) -> Value {
    query.open_on.map_or(Value::Null, |module| Value::Blob(module.as_bytes().to_vec()))
}

fn parent(query: &RunQuery) -> Value {
    query.parent.map_or(Value::Null, |run| Value::Blob(run.as_bytes().to_vec()))
}

/// A statement under construction.
#[derive(Default)]
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
        // Writing to a string cannot fail.
        let _ = write!(self.text, "?{}", self.values.len());
    }

    /// What the index does not know. It may know one of them, which does no harm.
    fn conditions(&mut self, query: &RunQuery) {
        if query.parent.is_some() {
            self.push(" AND r.parent = ");
            self.bind(parent(query));
        }
        if let Some(workflow) = &query.workflow {
            self.push(" AND r.workflow = ");
            self.bind(workflow.clone());
        }
        if let Some(version) = &query.version {
            self.push(" AND r.version = ");
            self.bind(version.clone());
        }
        if let Some(code) = &query.failure_code {
            self.push(" AND r.failure_code = ");
            self.bind(code.clone());
        }
        if let Some(from) = query.updated_from {
            self.push(" AND r.updated_at >= ");
            self.bind(signed(from.as_millis()));
        }
        if let Some(before) = query.updated_before {
            self.push(" AND r.updated_at < ");
            self.bind(signed(before.as_millis()));
        }
        if !query.states.is_empty() {
            let numbers: Vec<String> =
                query.states.iter().map(|state| state_number(*state).to_string()).collect();
            self.push(&format!(" AND r.state IN ({})", numbers.join(", ")));
        }
    }

    /// From where to where.
    fn bounds(&mut self, query: &RunQuery, behind: Option<Place>, start: &str, no: &str) {
        if let Some(from) = query.started_from {
            self.push(&format!(" AND {start} >= "));
            self.bind(signed(from.as_millis()));
        }
        if let Some(before) = query.started_before {
            self.push(&format!(" AND {start} < "));
            self.bind(signed(before.as_millis()));
        }
        if let Some(Place { started_at, no: number }) = behind {
            self.push(&format!(" AND {start} <= "));
            self.bind(signed(started_at));
            self.push(&format!(" AND ({start} < "));
            self.bind(signed(started_at));
            self.push(&format!(" OR {no} < "));
            self.bind(signed(number));
            self.push(")");
        }
    }
}

/// It fits: instants end with the year 9999, and a cursor is checked when it is read.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
