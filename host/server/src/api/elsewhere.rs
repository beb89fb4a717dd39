//! What only another server on the store knows: which host has a run of its shards, how that run was
//! brought back, which hosts are connected to it. Asked with a plain request that the other one answers
//! from what it knows itself.
//!
//! Invariant: nothing depends on the answer. Who gets none says what the store says.

use crate::remote::ServerAddress;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::net::TcpStream;

/// Says that a server asks, which wants to know what this one knows itself.
const HERE: &str = "everstep-here";
/// How long a server may take to answer. Somebody waits.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 32 << 20;

/// Whether another server asks.
pub(super) fn is_asked_by_server(headers: &HeaderMap) -> bool {
    headers.contains_key(HERE)
}

/// What the server at this address answers; none when it does not, or not in time.
pub(super) async fn ask<T: DeserializeOwned>(url: &str, path: &str) -> Option<T> {
    let asked = tokio::time::timeout(PATIENCE, get(url, path)).await;
    let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    answer.inspect_err(|error| tracing::debug!(url, path, error, "another server is asked")).ok()
}

async fn get<T: DeserializeOwned>(url: &str, path: &str) -> Result<T, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let authority = ServerAddress::parse(url)?.authority();
    let stream = TcpStream::connect(&authority).await.map_err(|e| said(&e))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| said(&e))?;
    // It ends with the sender.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, &authority).header(HERE, "1");
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| said(&e))?;
    let response = sender.send_request(request).await.map_err(|e| said(&e))?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|e| e.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|e| said(&e))
}
