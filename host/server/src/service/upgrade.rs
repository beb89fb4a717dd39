//! Moving open runs to another module. All of them are tried first, in parallel, in memory; only then,
//! and only if all pass or somebody allows it, are they moved, one by one, each with a commit of its own.
//!
//! Invariant: a run is moved only from the very journal length up to which it passed. When it went on
//! meanwhile, the rest is replayed, too, before it is asked again.

use super::read::query;
use super::selection::check_selection;
use super::trial::{Target, Trial, TrialError, finding};
use super::{Service, ServiceError, on_thread};
use everstep_core::api::{Finding, FindingGroup, UpgradeBody, UpgradeProgress, UpgradeReport};
use everstep_core::{Digest, External, ModuleRef, Record, RunId, StateKind};
use everstep_engine::Module;
use everstep_store::{RunQuery, Store, StoreError};
use futures::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs that are moved at the same time; their commits share fsyncs.
const MOVED_AT_ONCE: usize = 64;
/// How often a run that goes on all the time is tried again.
const MAX_TRIES: u32 = 32;
/// How often a trial waits for room for its guest, and how long.
const ROOM_TRIES: u32 = 100;
const ROOM_PAUSE: Duration = Duration::from_millis(50);
/// The most groups for which it is found out where in the code they come from.
const MAX_LOCATED: usize = 16;
/// The most findings of a report, and the most groups.
const MAX_FINDINGS: usize = 1_000;
const MAX_GROUPS: usize = 100;

/// Is told how far a check is.
pub(super) type Observer = Arc<dyn Fn(UpgradeProgress) + Send + Sync>;

/// A run and the module that it is to execute.
pub(super) type Case = (RunId, Arc<Target>);

/// What came of trying one run.
enum Verdict {
    Passed {
        length: u64,
    },
    Failed(Finding),
    /// There is nothing to move any more.
    Moot,
}

/// Findings by their code and cause, each with what the example of it was tried on.
type Groups = HashMap<(String, String), (FindingGroup, Option<Arc<Target>>)>;

/// The report while it is being made.
pub(super) struct Report {
    report: UpgradeReport,
    groups: Groups,
    passed: Vec<(RunId, Arc<Target>, u64)>,
    tried: HashSet<RunId>,
    of: u64,
    begun: Instant,
    observer: Observer,
}

impl Report {
    pub(super) fn new(observer: Observer) -> Self {
        Self {
            report: UpgradeReport::default(),
            groups: HashMap::new(),
            passed: Vec::new(),
            tried: HashSet::new(),
            of: 0,
            begun: Instant::now(),
            observer,
        }
    }

    fn note(&mut self, (run, target): Case, verdict: Verdict) {
        match verdict {
            Verdict::Moot => {
                self.of = self.of.saturating_sub(1);
                return;
            }
            Verdict::Passed { length } => {
                self.report.passed += 1;
                self.passed.push((run, target, length));
            }
            Verdict::Failed(finding) => self.failed(finding, Some(target)),
        }
        self.report.runs += 1;
        self.tell();
    }

    fn failed(&mut self, finding: Finding, target: Option<Arc<Target>>) {
        self.report.failed += 1;
        let key = (finding.code.clone(), finding.summary());
        if self.groups.len() < MAX_GROUPS || self.groups.contains_key(&key) {
            let (code, summary) = key.clone();
            let example = finding.run;
            let backtrace = Vec::new();
            let new = FindingGroup { code, summary, runs: 0, example, backtrace };
            self.groups.entry(key).or_insert((new, target)).0.runs += 1;
        }
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(finding);
        }
    }

    fn tell(&self) {
        let UpgradeReport { runs: checked, failed, moved, .. } = self.report;
        (self.observer)(UpgradeProgress { checked, of: self.of.max(checked), failed, moved });
    }

    /// Whether every run that was tried passed.
    pub(super) fn is_clean(&self) -> bool {
        self.report.failed == 0
    }

    pub(super) fn moved(&self) -> u64 {
        self.report.moved
    }

    pub(super) fn finish(self) -> UpgradeReport {
        let mut groups: Vec<_> = self.groups.into_values().map(|(group, _)| group).collect();
        groups.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.summary.cmp(&b.summary)));
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        UpgradeReport { groups, elapsed_ms, ..self.report }
    }
}

impl Service {
    /// Moves open runs to another module, after all of them have been tried on it.
    ///
    /// # Errors
    /// [`ServiceError::Diverges`] with the report when some do not pass and that is not allowed;
    /// nothing has changed then. Otherwise when the request makes no sense.
    pub async fn upgrade(
        self: &Arc<Self>,
        body: UpgradeBody,
        observer: impl Fn(UpgradeProgress) + Send + Sync + 'static,
    ) -> Result<UpgradeReport, ServiceError> {
        check_selection(&body.runs, &body.filter, body.all)?;
        let alone = self.upgrade_permit()?;
        let cases = self.cases_of(&body).await?;
        let mut report = Report::new(Arc::new(observer));
        self.try_all(cases, &mut report).await?;
        if body.dry_run {
            return Ok(report.finish());
        }
        if !report.is_clean() && !body.allow_diverging {
            return Err(ServiceError::Diverges(Box::new(report.finish())));
        }
        let this = Arc::clone(self);
        // To its end, even when the client hangs up meanwhile.
        let moving = tokio::spawn(async move {
            let _alone = alone;
            this.move_all(&mut report).await?;
            Ok(report.finish())
        });
        moving.await.map_err(|e| ServiceError::Internal(format!("moving runs: {e}")))?
    }

    /// One upgrade at a time: it uses all cores.
    pub(super) fn upgrade_permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ServiceError> {
        Arc::clone(&self.upgrading)
            .try_acquire_owned()
            .map_err(|_| ServiceError::Busy("another upgrade is under way"))
    }

    /// The runs that a request is about, each with its target. Those that execute it already are
    /// left out.
    async fn cases_of(&self, body: &UpgradeBody) -> Result<Vec<Case>, ServiceError> {
        let mut targets = Targets::new(self, body).await?;
        let mut cases = Vec::new();
        if !body.runs.is_empty() {
            for run in &body.runs {
                let record = self.record(*run).await?;
                if record.is_terminal() {
                    let (state, action) = (record.state.kind(), "upgraded");
                    return Err(everstep_core::Refusal::IllegalTransition { state, action }.into());
                }
                cases.extend(targets.case(&record).await?);
            }
            return Ok(cases);
        }
        let mut query = query(body.filter.clone());
        if query.states.is_empty() {
            query.states = StateKind::ALL.into_iter().filter(|it| !it.is_terminal()).collect();
        }
        query.states.retain(|state| !state.is_terminal());
        let mut pages = Pages::new(&*self.parts.store, query);
        while let Some(page) = pages.next().await? {
            for record in &page {
                cases.extend(targets.case(record).await?);
            }
        }
        Ok(cases)
    }

    /// The open runs of a version that execute a module.
    pub(super) async fn open_on(
        &self,
        module: Digest,
        workflow: &str,
        version: &str,
        target: &Arc<Target>,
    ) -> Result<Vec<Case>, ServiceError> {
        let query = RunQuery {
            open_on: Some(module),
            workflow: Some(workflow.to_owned()),
            version: Some(version.to_owned()),
            ..RunQuery::default()
        };
        let mut pages = Pages::new(&*self.parts.store, query);
        let mut cases = Vec::new();
        while let Some(page) = pages.next().await? {
            cases.extend(page.iter().map(|record| (record.id(), Arc::clone(target))));
        }
        Ok(cases)
    }

    /// Tries all runs that have not been tried yet, in parallel, without any effect.
    pub(super) async fn try_all(
        &self,
        mut cases: Vec<Case>,
        report: &mut Report,
    ) -> Result<(), ServiceError> {
        cases.retain(|(run, _)| report.tried.insert(*run));
        report.of += cases.len() as u64;
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        let trials = cases.into_iter().map(|case| {
            let store = Arc::clone(&self.parts.store);
            async move {
                let (run, target) = (case.0, Arc::clone(&case.1));
                (case, on_thread(move || try_one(&store, run, &target)).await)
            }
        });
        let mut trials = std::pin::pin!(futures::stream::iter(trials).buffer_unordered(at_once));
        while let Some((case, verdict)) = trials.next().await {
            report.note(case, verdict?);
        }
        self.locate(report).await
    }

    /// Finds out where in the code divergences come from, by an example of each group.
    async fn locate(&self, report: &mut Report) -> Result<(), ServiceError> {
        let unknown =
            |group: &FindingGroup| group.backtrace.is_empty() && group.code == "divergence";
        let groups = report.groups.values_mut().filter(|(group, _)| unknown(group));
        for (group, target) in groups.take(MAX_LOCATED) {
            let (Some(target), Some(record)) =
                (target.clone(), self.parts.store.record(group.example).await?)
            else {
                continue;
            };
            let store = Arc::clone(&self.parts.store);
            let traced = on_thread(move || {
                let mut trial = Trial::traced(Target::clone(&target), record.clone());
                // How it ends is known.
                let _ = tokio::runtime::Handle::current().block_on(trial.extend(&*store, record));
                Ok(trial.backtrace())
            });
            group.backtrace = traced.await?;
        }
        Ok(())
    }

    /// Moves the runs that passed.
    pub(super) async fn move_all(&self, report: &mut Report) -> Result<(), ServiceError> {
        let passed = std::mem::take(&mut report.passed);
        let moves =
            passed.into_iter().map(|(run, target, length)| self.move_one(run, target, length));
        let mut moves =
            std::pin::pin!(futures::stream::iter(moves).buffer_unordered(MOVED_AT_ONCE));
        while let Some(moved) = moves.next().await {
            match moved? {
                Verdict::Passed { .. } => report.report.moved += 1,
                Verdict::Moot => {}
                Verdict::Failed(finding) => {
                    report.report.passed -= 1;
                    report.failed(finding, None);
                }
            }
            report.tell();
        }
        Ok(())
    }

    async fn move_one(
        &self,
        run: RunId,
        target: Arc<Target>,
        length: u64,
    ) -> Result<Verdict, ServiceError> {
        let mut trial: Option<Trial> = None;
        for _ in 0..MAX_TRIES {
            let Some(record) = self.parts.store.record(run).await? else {
                return Ok(Verdict::Moot);
            };
            if record.is_terminal() || record.origin.module() == target.to {
                return Ok(Verdict::Moot);
            }
            // It went on since it was tried: what is new is tried, too.
            if record.length != trial.as_ref().map_or(length, Trial::length) {
                let (store, record) = (Arc::clone(&self.parts.store), record.clone());
                let mut extended = match trial.take() {
                    Some(trial) => trial,
                    None => Trial::new(Target::clone(&target), record.clone()),
                };
                let tried = on_thread(move || {
                    let handle = tokio::runtime::Handle::current();
                    let tried = handle.block_on(extended.extend(&*store, record));
                    Ok((extended, tried))
                });
                let (extended, tried) = tried.await?;
                match tried {
                    Ok(()) => trial = Some(extended),
                    Err(TrialError::Failed(finding)) => return Ok(Verdict::Failed(finding)),
                    Err(TrialError::Moot) => return Ok(Verdict::Moot),
                    Err(TrialError::NoRoom) => tokio::time::sleep(ROOM_PAUSE).await,
                    Err(TrialError::Store(error)) => return Err(error.into()),
                }
                continue;
            }
            let wish = External::Upgrade { to: target.to.clone() };
            let commit = everstep_core::external(&record, wish, crate::clock::now())?;
            match self.commit(commit).await {
                Ok(()) => return Ok(Verdict::Passed { length: record.length }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Verdict::Failed(busy(run, "the run went on faster than it could be tried")))
    }
}

/// The targets of a request, each loaded once.
struct Targets<'a> {
    service: &'a Service,
    body: &'a UpgradeBody,
    index: Arc<super::registry::Index>,
    known: HashMap<(String, String), Arc<Target>>,
}

impl<'a> Targets<'a> {
    async fn new(service: &'a Service, body: &'a UpgradeBody) -> Result<Self, ServiceError> {
        let index = service.registry.refresh(&*service.parts.store).await?;
        Ok(Self { service, body, index, known: HashMap::new() })
    }

    /// The run with its target; none when it executes that already.
    async fn case(&mut self, record: &Record) -> Result<Option<Case>, ServiceError> {
        let origin = &record.origin;
        let version = self.body.version.as_ref().unwrap_or(&origin.version);
        let key = (origin.workflow.clone(), version.clone());
        let target = match self.known.get(&key) {
            Some(target) => Arc::clone(target),
            None => {
                let (workflow, version) = &key;
                let found = match self.body.digest {
                    None => self.index.find(workflow, Some(version))?,
                    Some(digest) => self
                        .index
                        .definition(digest, workflow, version)
                        .ok_or(ServiceError::ModuleNotFound(digest))?,
                };
                let module = self.service.load(found.module.digest).await?;
                let target = Arc::new(Target::new(module, version));
                self.known.insert(key, Arc::clone(&target));
                target
            }
        };
        Ok((origin.module() != target.to).then(|| (record.id(), target)))
    }
}

impl Target {
    /// The module with the workflow's version in it.
    pub(super) fn new(module: Arc<Module>, version: &str) -> Self {
        let (digest, engine) = (module.digest(), everstep_engine::CONFIG_VERSION);
        Self { module, to: ModuleRef { digest, version: version.to_owned(), engine } }
    }
}

/// A list of runs, page by page.
struct Pages<'a> {
    store: &'a dyn Store,
    /// None behind the last page.
    query: Option<RunQuery>,
}

impl<'a> Pages<'a> {
    fn new(store: &'a dyn Store, query: RunQuery) -> Self {
        Self { store, query: Some(RunQuery { limit: everstep_store::MAX_PAGE, ..query }) }
    }

    async fn next(&mut self) -> Result<Option<Vec<Record>>, ServiceError> {
        let Some(mut query) = self.query.take() else { return Ok(None) };
        let page = self.store.runs(&query).await?;
        for run in &page.damaged {
            tracing::error!(%run, "the record of this run is damaged; it stays as it is");
        }
        self.query = page.cursor.map(|cursor| {
            query.cursor = Some(cursor);
            query
        });
        Ok(Some(page.runs))
    }
}

fn try_one(store: &Arc<dyn Store>, run: RunId, target: &Target) -> Result<Verdict, ServiceError> {
    let handle = tokio::runtime::Handle::current();
    for _ in 0..ROOM_TRIES {
        let Some(record) = handle.block_on(store.record(run))? else { return Ok(Verdict::Moot) };
        if record.origin.module() == target.to {
            return Ok(Verdict::Moot);
        }
        let mut trial = Trial::new(target.clone(), record.clone());
        match handle.block_on(trial.extend(&**store, record)) {
            Ok(()) => return Ok(Verdict::Passed { length: trial.length() }),
            Err(TrialError::Failed(finding)) => return Ok(Verdict::Failed(finding)),
            Err(TrialError::Moot) => return Ok(Verdict::Moot),
            Err(TrialError::NoRoom) => std::thread::sleep(ROOM_PAUSE),
            Err(TrialError::Store(error)) => return Err(error.into()),
        }
    }
    Ok(Verdict::Failed(busy(run, "this host had no room for the guest")))
}

fn busy(run: RunId, message: &str) -> Finding {
    finding(run, "upgrade.busy", message)
}
