//! `/v1/runs/{id}/logs`: a page of log lines, or a stream that follows the run (server-sent events).
//!
//! The stream's events carry the line's position as their id, so a client that reconnects with
//! `Last-Event-ID`, as browsers do, misses nothing and sees nothing twice. Lines are read from the
//! store as the client takes them: a slow client is sent less, not buffered for.

use super::Api;
use super::extract::{Params, RunPath};
use super::problem::ApiError;
use crate::service::{Followed, LogFollower};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use std::convert::Infallible;

#[utoipa::path(get, path = "/v1/runs/{id}/logs", tag = "runs", operation_id = "readLogs",
    description = "A page of log lines. With `follow=true` a stream of server-sent events: `log` \
        events with a line each and, when the run has ended, one `end` event with the run.",
    params(
        ("id" = String, Path, description = "The run's id."),
        ("from" = Option<u64>, Query, description = "The first position; else 0."),
        ("limit" = Option<u64>, Query,
            description = "About how many lines, at most 1,000; else 500. Not for streams."),
        ("follow" = Option<bool>, Query, description = "Whether to stream."),
        ("Last-Event-ID" = Option<String>, Header,
            description = "For streams: go on behind this position.")),
    responses(
        (status = 200, description = "A page, or a stream.", content(
            (ref("#/components/schemas/LogPage") = "application/json"),
            (String = "text/event-stream"))),
        (status = "default", description = "Why not.", content_type = "application/problem+json",
            body = ref("#/components/schemas/Problem"))))]
pub(super) async fn lines(
    State(api): State<Api>,
    RunPath(run): RunPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let from = params.number("from")?.unwrap_or(0);
    let follow = params.flag("follow")?;
    let limit = params.size("limit")?;
    params.finish()?;
    if !follow {
        return Ok(Json(api.service.logs(run, from, limit).await?).into_response());
    }
    let from = behind_last_event(&headers)?.unwrap_or(from);
    let follower = api.service.follow(run, from).await?;
    let drained = async move { api.drained().await };
    let events = events(follower).take_until(Box::pin(drained));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// The position behind the last event that a reconnecting client has seen.
fn behind_last_event(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let invalid = || ApiError::Invalid("`Last-Event-ID` is none of this stream".into());
    position.and_then(|at| at.checked_add(1)).map(Some).ok_or_else(invalid)
}

fn events(follower: LogFollower) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(Followed::Line(line))) => {
                let event = Event::default().event("log").id(line.seq.to_string());
                Some((event.json_data(&line), Some(follower)))
            }
            Ok(Some(Followed::End(run))) => {
                Some((Event::default().event("end").json_data(&run), None))
            }
            Ok(None) => None,
            Err(error) => {
                let problem = ApiError::from(error).problem();
                Some((Event::default().event("problem").json_data(&problem), None))
            }
        }
    })
    .filter_map(async |event| match event {
        Ok(event) => Some(Ok(event)),
        Err(error) => {
            tracing::error!(%error, "a log line has no JSON form");
            None
        }
    })
}
