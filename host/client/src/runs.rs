//! The calls about runs that answer at once. Lists come in pages; the streams ask for the next page
//! when it is needed.

use crate::{Client, ClientError};
use everstep_core::api::{
    CancelBody, EntryView, EventBody, EventSent, ForkBody, ForkStarted, JournalPage, LogLineView,
    LogPage, Multicast, MulticastBody, ReasonBody, RetryBody, RunList, RunView, StartBody, Started,
};
use everstep_core::{RunId, StateKind, Timestamp};
use futures::{Stream, TryStreamExt, stream};

/// Which runs to list. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Of this workflow.
    pub workflow: Option<String>,
    /// Of this version.
    pub version: Option<String>,
    /// In one of these states; in any when empty.
    pub states: Vec<StateKind>,
    /// With all of these tags.
    pub tags: Vec<(String, String)>,
    /// Children of this run.
    pub parent: Option<RunId>,
    /// Failed with this code, or stuck by it.
    pub failure_code: Option<String>,
    /// Started at or after this instant.
    pub started_after: Option<Timestamp>,
    /// Started before this instant.
    pub started_before: Option<Timestamp>,
    /// Something last happened at or after this instant.
    pub updated_after: Option<Timestamp>,
    /// Nothing has happened since this instant.
    pub updated_before: Option<Timestamp>,
    /// How many in a page; the server decides when absent.
    pub limit: Option<u32>,
    /// Where a former page ended.
    pub cursor: Option<String>,
}

impl RunFilter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        add("workflow", self.workflow.clone());
        add("version", self.version.clone());
        add("state", (!self.states.is_empty()).then(|| state_list(&self.states)));
        for (key, value) in &self.tags {
            add("tag", Some(format!("{key}:{value}")));
        }
        add("parent", self.parent.map(|run| run.to_string()));
        add("failure_code", self.failure_code.clone());
        add("started_after", self.started_after.map(|at| at.to_string()));
        add("started_before", self.started_before.map(|at| at.to_string()));
        add("updated_after", self.updated_after.map(|at| at.to_string()));
        add("updated_before", self.updated_before.map(|at| at.to_string()));
        add("limit", self.limit.map(|limit| limit.to_string()));
        add("cursor", self.cursor.clone());
        query
    }
}

/// The states as the API writes a list of them.
pub(crate) fn state_list(states: &[StateKind]) -> String {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",")
}

fn page(from: u64, limit: Option<u32>) -> Vec<(&'static str, String)> {
    let mut query = vec![("from", from.to_string())];
    query.extend(limit.map(|limit| ("limit", limit.to_string())));
    query
}

impl Client {
    /// Starts a run.
    ///
    /// # Errors
    /// When the server refuses; nothing has started then.
    pub async fn start(&self, body: &StartBody) -> Result<Started, ClientError> {
        self.json(self.post("/v1/runs").json(body)).await
    }

    /// One page of the runs that match, newest first.
    ///
    /// # Errors
    /// When the filter is refused.
    pub async fn runs(&self, filter: &RunFilter) -> Result<RunList, ClientError> {
        self.json(self.get("/v1/runs").query(&filter.query())).await
    }

    /// All runs that match, newest first, page by page.
    pub fn runs_stream(
        &self,
        filter: RunFilter,
    ) -> impl Stream<Item = Result<RunView, ClientError>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(filter), move |filter| {
            let client = client.clone();
            async move {
                let Some(mut filter) = filter else { return Ok(None) };
                let list = client.runs(&filter).await?;
                let next = list.cursor.map(|cursor| {
                    filter.cursor = Some(cursor);
                    filter
                });
                Ok::<_, ClientError>(Some((list.runs, next)))
            }
        });
        pages.map_ok(|runs| stream::iter(runs.into_iter().map(Ok))).try_flatten()
    }

    /// One run, with its input and its pending operations.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn run(&self, id: RunId) -> Result<RunView, ClientError> {
        self.json(self.get(&format!("/v1/runs/{id}"))).await
    }

    /// One page of a run's journal.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn journal_page(
        &self,
        id: RunId,
        from: u64,
        limit: Option<u32>,
    ) -> Result<JournalPage, ClientError> {
        let request = self.get(&format!("/v1/runs/{id}/journal"));
        self.json(request.query(&page(from, limit))).await
    }

    /// The journal of a run from a position to its present end, page by page.
    pub fn journal(
        &self,
        id: RunId,
        from: u64,
    ) -> impl Stream<Item = Result<EntryView, ClientError>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(from), move |from| {
            let client = client.clone();
            async move {
                let Some(from) = from else { return Ok(None) };
                let page = client.journal_page(id, from, None).await?;
                Ok::<_, ClientError>(Some((page.entries, page.next)))
            }
        });
        pages.map_ok(|entries| stream::iter(entries.into_iter().map(Ok))).try_flatten()
    }

    /// One page of a run's log lines.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn log_page(
        &self,
        id: RunId,
        from: u64,
        limit: Option<u32>,
    ) -> Result<LogPage, ClientError> {
        let request = self.get(&format!("/v1/runs/{id}/logs"));
        self.json(request.query(&page(from, limit))).await
    }

    /// The log lines of a run from a position to their present end, page by page.
    pub fn logs(
        &self,
        id: RunId,
        from: u64,
    ) -> impl Stream<Item = Result<LogLineView, ClientError>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(from), move |from| {
            let client = client.clone();
            async move {
                let Some(from) = from else { return Ok(None) };
                let page = client.log_page(id, from, None).await?;
                Ok::<_, ClientError>(Some((page.lines, page.next)))
            }
        });
        pages.map_ok(|lines| stream::iter(lines.into_iter().map(Ok))).try_flatten()
    }

    /// Asks a run to stop.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn cancel(&self, id: RunId, body: &CancelBody) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/cancel")).json(body)).await
    }

    /// Lets a stuck run go on, now that its cause is mended, or has a failed one tried again.
    ///
    /// # Errors
    /// When it is neither stuck nor failed.
    pub async fn retry(&self, id: RunId, body: &RetryBody) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/retry")).json(body)).await
    }

    /// Starts a run that begins as this one did.
    ///
    /// # Errors
    /// When it cannot be forked there, or an edit finds nothing to edit.
    pub async fn fork(&self, id: RunId, body: &ForkBody) -> Result<ForkStarted, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/fork")).json(body)).await
    }

    /// Ends a run at once, without telling its workflow.
    ///
    /// # Errors
    /// When it has ended otherwise.
    pub async fn terminate(&self, id: RunId, body: &ReasonBody) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/terminate")).json(body)).await
    }

    /// Lets a run stand still: what is under way ends, nothing new begins.
    ///
    /// # Errors
    /// When it has ended or is stuck.
    pub async fn pause(&self, id: RunId, body: &ReasonBody) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/pause")).json(body)).await
    }

    /// Lets a paused run go on.
    ///
    /// # Errors
    /// When it is not paused.
    pub async fn resume(&self, id: RunId) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/resume"))).await
    }

    /// Ends the sleep of a sleeping run that would end first.
    ///
    /// # Errors
    /// When it does not sleep.
    pub async fn wake(&self, id: RunId) -> Result<RunView, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/wake"))).await
    }

    /// Sends an event to a run.
    ///
    /// # Errors
    /// When it has ended, or does not take such an event.
    pub async fn send_event(&self, id: RunId, body: &EventBody) -> Result<EventSent, ClientError> {
        self.json(self.post(&format!("/v1/runs/{id}/events")).json(body)).await
    }

    /// Sends an event to many runs.
    ///
    /// # Errors
    /// When the event itself is wrong; what is wrong with single runs is in the answer.
    pub async fn multicast(&self, body: &MulticastBody) -> Result<Multicast, ClientError> {
        self.json(self.post("/v1/events/multicast").json(body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_a_query() {
        let filter = RunFilter {
            workflow: Some("w".into()),
            states: vec![StateKind::Sleeping, StateKind::Stuck],
            tags: vec![("team".into(), "a b".into()), ("env".into(), "x".into())],
            failure_code: Some("card.declined".into()),
            started_after: Some(Timestamp::from_millis(0)),
            updated_before: Some(Timestamp::from_millis(1)),
            limit: Some(7),
            ..RunFilter::default()
        };
        let query = filter.query();
        let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            pairs,
            [
                "workflow=w",
                "state=sleeping,stuck",
                "tag=team:a b",
                "tag=env:x",
                "failure_code=card.declined",
                "started_after=1970-01-01T00:00:00.000Z",
                "updated_before=1970-01-01T00:00:00.001Z",
                "limit=7"
            ]
        );
        assert!(RunFilter::default().query().is_empty());
    }
}
