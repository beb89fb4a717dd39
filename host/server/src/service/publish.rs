//! What new runs get: publishing, choosing a default, retiring, and taking the last change back. The
//! rules are in `everstep_core::publication`; whatever changes what is published goes through
//! [`Service::activate`], which moves the open runs of a replaced module, too.

use super::modules::Accepted;
use super::trial::Target;
use super::upgrade::{Observer, Report};
use super::{Service, ServiceError};
use everstep_core::api::{
    DefaultBody, ModuleView, RollbackBody, RolledBack, UpgradeProgress, UpgradeReport,
    UploadOptions, VersionView, WorkflowView,
};
use everstep_core::{Digest, Publication, PublicationError, PublishedVersion, Rollback};
use everstep_store::{Hint, NewModule, PublicationChange, StoreError};
use std::sync::Arc;

/// How often runs are looked for that were started on the old module while the others were moved.
const SWEEPS: u32 = 3;

/// What is to be published, and which open runs that concerns.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<PublicationChange>,
    pub(super) replaced: Vec<Replaced>,
}

/// A version that gets another module.
pub(super) struct Replaced {
    pub(super) workflow: String,
    pub(super) version: String,
    pub(super) from: Digest,
    pub(super) to: Digest,
}

impl Plan {
    /// What the plan makes of a workflow so far.
    pub(super) fn publication(
        &mut self,
        workflow: &str,
        published: Option<&Publication>,
    ) -> &mut Publication {
        let known = self.changes.iter().position(|it| it.publication.workflow == workflow);
        let index = known.unwrap_or_else(|| {
            let publication = published.cloned().unwrap_or_else(|| Publication::new(workflow));
            let expected = publication.revision;
            self.changes.push(PublicationChange { publication, expected });
            self.changes.len() - 1
        });
        &mut self.changes[index].publication
    }

    fn of(publication: Publication, expected: u64) -> Self {
        Self { changes: vec![PublicationChange { publication, expected }], replaced: Vec::new() }
    }
}

impl Service {
    /// Carries a plan out: tries the open runs of replaced modules, publishes, moves them.
    ///
    /// # Errors
    /// [`ServiceError::Diverges`] when some do not pass and that is not allowed. Nothing has changed
    /// then.
    pub(super) async fn activate(
        self: &Arc<Self>,
        new: Option<Accepted>,
        plan: Plan,
        options: UploadOptions,
        observer: Observer,
    ) -> Result<Option<UpgradeReport>, ServiceError> {
        let (new, compiled) = new.map(|it| (it.stored, it.compiled)).unzip();
        if plan.replaced.is_empty() {
            if !options.dry_run {
                self.publish(new, plan.changes).await?;
            }
            return Ok(None);
        }
        let alone = self.upgrade_permit()?;
        let mut targets = Vec::new();
        for Replaced { version, to, .. } in &plan.replaced {
            let module = match &compiled {
                Some(module) if module.digest() == *to => Arc::clone(module),
                _ => self.load(*to).await?,
            };
            targets.push(Arc::new(Target::new(module, version)));
        }
        let mut report = Report::new(observer);
        self.try_replaced(&plan.replaced, &targets, &mut report).await?;
        if options.dry_run {
            return Ok(Some(report.finish()));
        }
        if !report.is_clean() && !options.allow_diverging {
            return Err(ServiceError::Diverges(Box::new(report.finish())));
        }
        let this = Arc::clone(self);
        // To its end, even when the client hangs up meanwhile.
        let activating = tokio::spawn(async move {
            let _alone = alone;
            this.publish(new, plan.changes).await?;
            this.move_all(&mut report).await?;
            for _ in 0..SWEEPS {
                let before = report.moved();
                this.try_replaced(&plan.replaced, &targets, &mut report).await?;
                this.move_all(&mut report).await?;
                if report.moved() == before {
                    break;
                }
            }
            Ok(Some(report.finish()))
        });
        activating.await.map_err(|e| ServiceError::Internal(format!("moving runs: {e}")))?
    }

    /// Tries the open runs of replaced modules that have not been tried yet.
    async fn try_replaced(
        &self,
        replaced: &[Replaced],
        targets: &[Arc<Target>],
        report: &mut Report,
    ) -> Result<(), ServiceError> {
        for (Replaced { workflow, version, from, .. }, target) in replaced.iter().zip(targets) {
            let cases = self.open_on(*from, workflow, version, target).await?;
            self.try_all(cases, report).await?;
        }
        Ok(())
    }

    /// Writes it and makes it known to starts, even when the client hangs up meanwhile.
    async fn publish(
        &self,
        new: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, ServiceError> {
        let (store, registry) = (Arc::clone(&self.parts.store), Arc::clone(&self.registry));
        let publishing = tokio::spawn(async move {
            let created = match store.publish(new, changes).await {
                Err(StoreError::PublicationChanged { .. }) => {
                    return Err(ServiceError::Busy("the versions were changed meanwhile"));
                }
                other => other?,
            };
            // Others that do not hear of it find out before they call a name unknown.
            let _ = store.ownership().publish_hint(Hint::Modules).await;
            registry.refresh(&*store).await?;
            Ok(created)
        });
        publishing.await.map_err(|e| ServiceError::Internal(format!("publishing: {e}")))?
    }

    /// All workflows, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn workflows(&self) -> Result<Vec<WorkflowView>, ServiceError> {
        let index = self.registry.refresh(&*self.parts.store).await?;
        Ok(index.publications().map(view).collect())
    }

    /// A workflow.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn workflow(&self, name: &str) -> Result<WorkflowView, ServiceError> {
        let index = self.registry.refresh(&*self.parts.store).await?;
        index.publication(name).map(view)
    }

    /// Chooses what new runs get that name no version.
    ///
    /// # Errors
    /// When there is no such workflow or version, or it is retired.
    pub async fn set_default(
        &self,
        name: &str,
        body: DefaultBody,
    ) -> Result<WorkflowView, ServiceError> {
        let index = self.registry.refresh(&*self.parts.store).await?;
        let mut publication = index.publication(name)?.clone();
        let expected = publication.revision;
        let changed = publication.set_default(body.version.as_deref(), crate::clock::now());
        if changed.map_err(|error| refused(name, &publication, error))? {
            self.publish(None, Plan::of(publication.clone(), expected).changes).await?;
        }
        Ok(view(&publication))
    }

    /// Takes back the last change of what new runs get. Where that was a replaced module, its open
    /// runs go back to the one before, if they pass.
    ///
    /// # Errors
    /// When there is nothing to take back, or open runs do not pass.
    pub async fn roll_back(
        self: &Arc<Self>,
        name: &str,
        body: RollbackBody,
        observer: impl Fn(UpgradeProgress) + Send + Sync + 'static,
    ) -> Result<RolledBack, ServiceError> {
        let RollbackBody { allow_diverging, dry_run } = body;
        let index = self.registry.refresh(&*self.parts.store).await?;
        let mut publication = index.publication(name)?.clone();
        let expected = publication.revision;
        let back = publication.roll_back(crate::clock::now());
        let back = back.map_err(|error| refused(name, &publication, error))?;
        let mut plan = Plan::of(publication.clone(), expected);
        if let Rollback::Replace { version, from, to } = back {
            plan.replaced.push(Replaced { workflow: name.to_owned(), version, from, to });
        }
        let options = UploadOptions { allow_diverging, dry_run, ..UploadOptions::forced() };
        let upgrade = self.activate(None, plan, options, Arc::new(observer)).await?;
        Ok(RolledBack { workflow: view(&publication), upgrade })
    }

    /// Closes the versions of a module to new runs.
    ///
    /// # Errors
    /// When there is no such module, runs on it have not ended, or a version of it is the chosen
    /// default.
    pub async fn retire(&self, digest: Digest) -> Result<ModuleView, ServiceError> {
        let module = self.module(digest).await?;
        if module.open_runs > 0 {
            return Err(ServiceError::ModuleInUse { digest, open: module.open_runs });
        }
        let index = self.registry.refresh(&*self.parts.store).await?;
        let mut plan = Plan::default();
        for published in index.publications() {
            for version in versions_on(published, digest) {
                let publication = plan.publication(&published.workflow, Some(published));
                publication
                    .retire(&version.version, crate::clock::now())
                    .map_err(|error| refused(&published.workflow, published, error))?;
            }
        }
        plan.changes.retain(|change| change.publication.revision != change.expected);
        if !plan.changes.is_empty() {
            self.publish(None, plan.changes).await?;
        }
        Ok(module)
    }
}

fn versions_on(
    publication: &Publication,
    digest: Digest,
) -> impl Iterator<Item = &PublishedVersion> {
    publication.versions.iter().filter(move |version| version.digest == digest)
}

fn view(publication: &Publication) -> WorkflowView {
    let version = |it: &PublishedVersion| VersionView {
        version: it.version.clone(),
        digest: it.digest,
        published_at: it.published_at,
        retired_at: it.retired_at,
    };
    WorkflowView {
        name: publication.workflow.clone(),
        current: publication.current().map(|it| it.version.clone()),
        default: publication.default.clone(),
        versions: publication.versions.iter().map(version).collect(),
        changes: publication.changes.clone(),
    }
}

/// The refusal of a change of this workflow.
pub(super) fn refused(
    workflow: &str,
    publication: &Publication,
    error: PublicationError,
) -> ServiceError {
    let workflow = workflow.to_owned();
    match error {
        PublicationError::Taken { version, digest } => {
            ServiceError::VersionTaken { workflow, version, digest }
        }
        PublicationError::Unknown(version) => {
            let known = publication.versions.iter().map(|it| it.version.clone()).collect();
            let version = version.chars().take(80).collect();
            ServiceError::UnknownVersion { workflow, version, known }
        }
        PublicationError::Retired(version) => ServiceError::VersionRetired { workflow, version },
        PublicationError::IsDefault(version) => {
            ServiceError::VersionIsDefault { workflow, version }
        }
        PublicationError::NothingToRollBack => ServiceError::NothingToRollBack(workflow),
        PublicationError::TooMany => ServiceError::TooManyVersions(workflow),
    }
}
