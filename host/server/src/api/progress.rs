//! Answers that take a while. A client that accepts JSON lines is told how far it is, line by line, and
//! gets the answer, or the problem, as the last line; any other gets the answer alone.

use super::problem::ApiError;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use everstep_core::api::{ProgressLine, UpgradeProgress};
use serde::Serialize;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The media type of JSON lines.
const JSON_LINES: &str = "application/x-ndjson";
/// Progress is told no more often than this.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines that may wait for a slow client; progress that finds no room is left out.
const WAITING: usize = 16;

/// Is told how far the work is.
pub(super) type Tell = Box<dyn Fn(UpgradeProgress) + Send + Sync>;

/// Does the work and answers with what comes of it. The work is given up when the client hangs up.
pub(super) async fn answer<T, F>(
    headers: &HeaderMap,
    work: impl FnOnce(Tell) -> F,
) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<(StatusCode, T), ApiError>> + Send + 'static,
{
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains(JSON_LINES)) {
        let (status, answer) = work(Box::new(|_| {})).await?;
        return Ok((status, Json(answer)).into_response());
    }
    let (lines, waiting) = mpsc::channel::<Vec<u8>>(WAITING);
    let work = work(teller(lines.clone()));
    tokio::spawn(async move {
        let done = tokio::select! {
            done = work => done,
            () = lines.closed() => return,
        };
        let last = match done {
            Ok((_, answer)) => line(&ProgressLine::Answer(answer)),
            Err(error) => line(&ProgressLine::<T>::Problem(error.problem())),
        };
        // Nobody is there to be told when the client has gone.
        let _ = lines.send(last).await;
    });
    let stream = futures::stream::unfold(waiting, |mut waiting| async move {
        let line = waiting.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), waiting))
    });
    let body = Body::from_stream(stream);
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], body).into_response())
}

fn teller(lines: mpsc::Sender<Vec<u8>>) -> Tell {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    Box::new(move |progress| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PAUSE) {
            *last = Some(Instant::now());
            let _ = lines.try_send(line(&ProgressLine::<()>::Progress(progress)));
        }
    })
}

fn line<T: Serialize>(line: &ProgressLine<T>) -> Vec<u8> {
    // These shapes have nothing that JSON could not say.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}
