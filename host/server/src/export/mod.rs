//! A run as JSON lines: what it is, then its journal, then its log lines. The API streams them, and
//! retention writes them to files (`files.rs`). They are read from the store page by page, so a long
//! run takes no more memory than a short one.

mod files;

pub(crate) use files::{DayFiles, ExportError};

use crate::pages;
use axum::body::Bytes;
use everstep_core::api::RunView;
use everstep_core::{Entry, LogLine, Record, RunId};
use everstep_store::{Store, StoreError};
use futures::{Stream, stream};
use serde::Serialize;
use std::sync::Arc;

/// Log lines that are read at once, about.
const PAGE: usize = 200;

/// One line. The first is the run as it is at the beginning of the export; `journal_length` and
/// `log_lines` in it say how many lines follow.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Run(&'a RunView),
    Entry { run: RunId, seq: u64, entry: &'a Entry },
    Log { run: RunId, seq: u64, line: &'a LogLine },
}

/// What comes next.
enum Stage {
    Run,
    Entries(u64),
    Logs(u64),
}

/// The lines of a run as of this record, in pieces that end with a whole line each. An error, such
/// as damaged data, ends them early.
pub(crate) fn lines(
    store: Arc<dyn Store>,
    record: Record,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    stream::try_unfold(Stage::Run, move |stage| {
        let (store, record) = (Arc::clone(&store), record.clone());
        async move { next(&*store, &record, stage).await }
    })
}

async fn next(
    store: &dyn Store,
    record: &Record,
    stage: Stage,
) -> Result<Option<(Bytes, Stage)>, StoreError> {
    let run = record.id();
    match stage {
        Stage::Run => {
            let line = Line::Run(&RunView::from(record));
            Ok(Some((text([line])?, Stage::Entries(record.first))))
        }
        Stage::Entries(from) if from < record.length => {
            let entries = pages::journal(store, run, from, record.length).await?;
            let seq = from + entries.len() as u64;
            let lines = (from..).zip(&entries).map(|(seq, entry)| Line::Entry { run, seq, entry });
            Ok(Some((text(lines)?, Stage::Entries(seq))))
        }
        Stage::Entries(_) => Box::pin(next(store, record, Stage::Logs(0))).await,
        Stage::Logs(from) if from < record.log_lines => {
            let mut logs = store.logs(run, from, PAGE).await?;
            let seq = pages::read_to(run, from, record.log_lines, &mut logs)?;
            let lines = (from..).zip(&logs).map(|(seq, line)| Line::Log { run, seq, line });
            Ok(Some((text(lines)?, Stage::Logs(seq))))
        }
        Stage::Logs(_) => Ok(None),
    }
}

fn text<'a>(lines: impl IntoIterator<Item = Line<'a>>) -> Result<Bytes, StoreError> {
    let mut text = Vec::with_capacity(4_096);
    for line in lines {
        serde_json::to_writer(&mut text, &line)
            .map_err(|error| StoreError::Inconsistent(format!("it has no JSON form: {error}")))?;
        text.push(b'\n');
    }
    Ok(text.into())
}
