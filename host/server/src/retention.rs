//! Retention: runs that ended long enough ago are removed, after they were exported if that is
//! wanted. One task of the server does so now and then, a page at a time.
//!
//! Invariants: a run is removed only after its lines in the export are on disk; what cannot be
//! exported or removed stays and is tried again.

use crate::clock;
use crate::dispatch::Dispatch;
use crate::export::{self, DayFiles, ExportError};
use everstep_core::{RunId, Timestamp};
use everstep_store::{Ended, Store, StoreError};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Runs that are exported with one fsync, and removed after it.
const PAGE: usize = 100;
/// Runs that are removed at the same time; their removals share fsyncs.
const AT_ONCE: usize = 8;
/// The rest between two pages, in which others have the disk to themselves.
const REST: Duration = Duration::from_millis(20);
/// How often it is looked, at least and at most.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(60);

/// How long runs are kept after their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionOptions {
    /// Unless said otherwise; none keeps them for ever.
    pub keep: Option<Duration>,
    /// For some workflows; none keeps them for ever.
    pub workflows: BTreeMap<String, Option<Duration>>,
    /// A folder to which runs are written before they are removed.
    pub export: Option<PathBuf>,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        let keep = Some(Duration::from_secs(30 * 24 * 60 * 60));
        Self { keep, workflows: BTreeMap::new(), export: None }
    }
}

impl RetentionOptions {
    fn of(&self, workflow: &str) -> Option<Duration> {
        self.workflows.get(workflow).copied().unwrap_or(self.keep)
    }

    /// The time between two looks: short enough for the shortest time that something is kept.
    fn pause(&self) -> Option<Duration> {
        let kept = self.workflows.values().chain([&self.keep]).flatten().min();
        kept.map(|kept| (*kept / 10).clamp(OFTEN, SELDOM))
    }
}

/// Removes what is due, until the future is dropped; when several servers share a store, one of them does.
pub(crate) async fn serve(
    store: Arc<dyn Store>,
    dispatch: Arc<Dispatch>,
    options: RetentionOptions,
) {
    let Some(pause) = options.pause() else { return };
    let mut files = options.export.clone().map(DayFiles::new);
    loop {
        if !dispatch.leads() {
            tokio::time::sleep(pause).await;
            continue;
        }
        match sweep(&store, &options, files.as_mut(), clock::now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "runs were removed, their time was up"),
            Err(error) => tracing::error!(%error, "runs whose time is up cannot be removed"),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Removes everything whose time is up at `now`, and says how many runs that were.
async fn sweep(
    store: &Arc<dyn Store>,
    options: &RetentionOptions,
    mut files: Option<&mut DayFiles>,
    now: Timestamp,
) -> Result<usize, ExportError> {
    let mut removed = 0;
    let mut after: Option<Ended> = None;
    loop {
        let page = store.ended(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(removed) };
        let is_due = |ended: &&Ended| {
            let kept = options.of(&ended.workflow);
            kept.is_some_and(|kept| ended.at.plus(millis(kept)) <= now)
        };
        let due: Vec<_> = page.iter().take_while(is_due).map(|ended| ended.run).collect();
        // Behind a run whose time is not up come only younger ones of the same workflow.
        after = Some(match page.get(due.len()) {
            Some(young) => Ended::behind(&young.workflow),
            None => last.clone(),
        });
        let due = match &mut files {
            Some(files) => exported(store, files, due, now).await?,
            None => due,
        };
        if due.is_empty() {
            continue;
        }
        let removals = due.into_iter().map(|run| async move { (run, store.remove(run).await) });
        let mut removals = futures::stream::iter(removals).buffer_unordered(AT_ONCE);
        while let Some((run, outcome)) = removals.next().await {
            match outcome {
                Ok(gone) => removed += usize::from(gone),
                Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
                Err(error) => tracing::error!(%run, %error, "a run cannot be removed"),
            }
        }
        tokio::time::sleep(REST).await;
    }
}

/// Those of the runs that are on disk in the export now.
async fn exported(
    store: &Arc<dyn Store>,
    files: &mut DayFiles,
    runs: Vec<RunId>,
    now: Timestamp,
) -> Result<Vec<RunId>, ExportError> {
    let mut written = Vec::new();
    for run in runs {
        match export(store, files, run, now).await {
            Ok(()) => written.push(run),
            Err(ExportError::Store(error)) if !matches!(error, StoreError::Unavailable(_)) => {
                tracing::error!(%run, %error, "a run cannot be exported; it is kept");
            }
            Err(error) => return Err(error),
        }
    }
    files.sync().await?;
    Ok(written)
}

async fn export(
    store: &Arc<dyn Store>,
    files: &mut DayFiles,
    run: RunId,
    now: Timestamp,
) -> Result<(), ExportError> {
    match store.record(run).await? {
        Some(record) => files.append(now, export::lines(Arc::clone(store), record)).await,
        None => Ok(()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use everstep_core::{
        Digest, External, Limits, Payload, Run, RunState, StartOptions, StartRequest, external,
    };
    use everstep_store::Memory;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// A run that was to begin later and was cancelled at this time; still scheduled without one.
    async fn run(store: &Arc<dyn Store>, workflow: &str, key: &str, ended: Option<u64>) -> RunId {
        let id = RunId::from_key(workflow, key);
        let request = StartRequest {
            id,
            workflow: workflow.into(),
            version: "1".into(),
            digest: Digest::of(b""),
            engine: 1,
            limits: Limits::default(),
            input: Payload::null(),
            options: StartOptions::default(),
            due: Some(at(1_000_000_000)),
            parent: None,
        };
        let start = Run::start(request, at(0));
        let record = start.record.clone();
        store.commit(start).await.unwrap();
        if let Some(ended) = ended {
            let wish = External::Cancel { reason: String::new(), grace_ms: 0 };
            let end = external(&record, wish, at(ended)).unwrap();
            assert!(matches!(end.record.state, RunState::Cancelled { .. }));
            store.commit(end).await.unwrap();
        }
        id
    }

    async fn there(store: &Arc<dyn Store>, run: RunId) -> bool {
        store.record(run).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn runs_are_removed_when_the_time_of_their_workflow_is_up() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut options = RetentionOptions { keep: Some(DAY), ..RetentionOptions::default() };
        options.workflows.insert("brief".into(), Some(DAY / 2));
        options.workflows.insert("for-ever".into(), None);
        let open = run(&store, "usual", "open", None).await;
        let old = run(&store, "usual", "old", Some(10)).await;
        let young = run(&store, "usual", "young", Some(50_000)).await;
        let brief = run(&store, "brief", "b", Some(40_000)).await;
        let kept = run(&store, "for-ever", "k", Some(1)).await;
        let mut many = Vec::new();
        for n in 0..250 {
            many.push(run(&store, "zeal", &n.to_string(), Some(20)).await);
        }
        assert_eq!(sweep(&store, &options, None, at(86_409)).await.unwrap(), 1, "only `brief`");
        assert!(!there(&store, brief).await && there(&store, old).await);
        assert_eq!(sweep(&store, &options, None, at(86_420)).await.unwrap(), 251);
        for (run, expected) in [(open, true), (old, false), (young, true), (kept, true)] {
            assert_eq!(there(&store, run).await, expected, "{run}");
        }
        assert!(!there(&store, many[249]).await);
        assert_eq!(sweep(&store, &options, None, at(900_000_000)).await.unwrap(), 1);
        assert!(
            there(&store, kept).await && there(&store, open).await && !there(&store, young).await
        );
    }

    #[tokio::test]
    async fn what_cannot_be_exported_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let options = RetentionOptions { keep: Some(DAY), ..RetentionOptions::default() };
        let old = run(&store, "w", "old", Some(10)).await;
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut nowhere = DayFiles::new(file);
        let refused = sweep(&store, &options, Some(&mut nowhere), at(100_000)).await;
        assert!(matches!(refused, Err(ExportError::File(_))), "{refused:?}");
        assert!(there(&store, old).await);

        let mut files = DayFiles::new(folder.path().into());
        assert_eq!(sweep(&store, &options, Some(&mut files), at(100_000)).await.unwrap(), 1);
        assert!(!there(&store, old).await);
        let text = std::fs::read_to_string(folder.path().join("runs-1970-01-02.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["run", "entry", "entry"]);
        assert_eq!(
            (lines[0]["id"].as_str(), &lines[2]["seq"]),
            (Some(&*old.to_string()), &1.into())
        );
        assert_eq!(lines[2]["entry"]["event"]["type"], "RunCancelled");
    }

    #[test]
    fn it_is_looked_often_enough_and_not_at_all_when_all_is_kept() {
        let mut options = RetentionOptions::default();
        assert_eq!(options.pause(), Some(SELDOM));
        options.workflows.insert("w".into(), Some(Duration::from_secs(30)));
        assert_eq!(options.pause(), Some(Duration::from_secs(3)));
        options = RetentionOptions { keep: None, ..RetentionOptions::default() };
        assert_eq!(options.pause(), None);
    }
}
