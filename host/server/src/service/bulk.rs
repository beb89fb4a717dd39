//! Doing the same to many runs. Each run is asked on its own and succeeds or fails on its own, so
//! the answer has a result for every run; what is refused as a whole has changed nothing.

use super::control::{cancellation, reason};
use super::selection::check_selection;
use super::{Service, ServiceError};
use everstep_core::api::{
    BulkAction, BulkBody, BulkReport, BulkResult, CancelBody, ReasonBody, RunView,
};
use everstep_core::transitions::{self, Trigger};
use everstep_core::{External, Refusal, RunId, StateKind};
use futures::StreamExt;

/// Runs of one request unless told otherwise.
const USUAL: usize = 1_000;
/// The most runs of one request.
const MOST: usize = 10_000;
/// Runs that are asked at the same time; their commits share fsyncs.
const AT_ONCE: usize = 32;

/// The wish that an action stands for, and what it triggers in the table of transitions. The only
/// place that knows the actions.
fn wish(body: &BulkBody) -> Result<(External, Trigger), ServiceError> {
    Ok(match body.action {
        BulkAction::Cancel => {
            let (reason, grace_ms) = (body.reason.clone(), body.grace_ms);
            (cancellation(CancelBody { reason, grace_ms })?, Trigger::Cancel)
        }
        BulkAction::Terminate => {
            let reason = reason(ReasonBody { reason: body.reason.clone() })?;
            (External::Terminate { reason }, Trigger::Terminate)
        }
        BulkAction::Pause => {
            let reason = reason(ReasonBody { reason: body.reason.clone() })?;
            (External::Pause { reason }, Trigger::Pause)
        }
        BulkAction::Resume => (External::Resume, Trigger::Resume),
        BulkAction::Wake => (External::Wake, Trigger::Wake),
        BulkAction::Retry => (External::Retry { outcomes: Vec::new() }, Trigger::Retry),
    })
}

impl Service {
    /// Does something to the runs that a filter finds, or to those that are named.
    ///
    /// # Errors
    /// When the request makes no sense or the runs cannot be listed. That something cannot be done
    /// to a run is part of the answer.
    pub async fn bulk(&self, mut body: BulkBody) -> Result<BulkReport, ServiceError> {
        let limit = check(&body)?;
        let (wish, trigger) = wish(&body)?;
        let (runs, cursor) = if body.runs.is_empty() {
            if body.filter.states.is_empty() {
                let open = StateKind::ALL.into_iter();
                body.filter.states =
                    open.filter(|state| transitions::accepts(*state, trigger)).collect();
            }
            self.find(&body, limit).await?
        } else {
            (std::mem::take(&mut body.runs), None)
        };
        let asked = runs.into_iter().map(|run| self.ask_one(run, &wish, body.dry_run));
        let results = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
        Ok(BulkReport { results, more: cursor.is_some(), cursor })
    }

    /// The first runs that match, and where to go on.
    async fn find(
        &self,
        body: &BulkBody,
        limit: usize,
    ) -> Result<(Vec<RunId>, Option<String>), ServiceError> {
        let mut cursor = body.cursor.clone();
        let mut runs = Vec::new();
        loop {
            let page = self.list(body.filter.clone(), cursor, Some(limit - runs.len())).await?;
            runs.extend(page.runs.iter().map(|run| run.id));
            cursor = page.cursor;
            if cursor.is_none() || runs.len() >= limit {
                return Ok((runs, cursor));
            }
        }
    }

    async fn ask_one(&self, run: RunId, wish: &External, dry_run: bool) -> BulkResult {
        let asked = if dry_run { self.preview(run, wish).await } else { self.ask(run, wish).await };
        match asked {
            Ok(view) => {
                let state = Some(view.state);
                BulkResult { id: run, ok: true, state, code: None, message: None }
            }
            Err(error) => BulkResult {
                id: run,
                ok: false,
                state: None,
                code: Some(error.code().to_owned()),
                message: Some(error.to_string()),
            },
        }
    }

    /// Decides like [`Service::ask`], and throws the decision away.
    async fn preview(&self, run: RunId, wish: &External) -> Result<RunView, ServiceError> {
        let record = self.record(run).await?;
        if !super::control::is_so(&record, wish) {
            match everstep_core::external(&record, wish.clone(), crate::clock::now()) {
                Ok(_) | Err(Refusal::AlreadySo(_)) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(self.view(&record))
    }
}

/// Checks what the request says about runs, and how many it may be about.
fn check(body: &BulkBody) -> Result<usize, ServiceError> {
    let invalid = |field, problem: &str| {
        Err(ServiceError::InvalidOption { field, problem: problem.to_owned() })
    };
    let limit = body.limit.unwrap_or(USUAL);
    if limit == 0 || limit > MOST {
        return invalid("limit", "between 1 and 10,000 runs are allowed");
    }
    let filtered = !body.filter.is_everything();
    check_selection(&body.runs, &body.filter, body.all)?;
    if body.runs.len() > limit {
        return invalid("runs", "these are more runs than the limit of the request");
    }
    if !body.runs.is_empty() && body.cursor.is_some() {
        return invalid("cursor", "it is for a filter, not for runs that are named");
    }
    if filtered && body.all {
        return invalid("all", "it is for a filter without conditions");
    }
    Ok(limit)
}
