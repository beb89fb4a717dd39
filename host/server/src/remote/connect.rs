//! From an address to a stream: a TCP connection, an HTTP request that asks for the upgrade, and the
//! stream behind the answer.

use super::address::ServerAddress;
use super::protocol::{HANDSHAKE, PATH, UPGRADE};
use axum::http::header::{CONNECTION, HOST, UPGRADE as UPGRADE_HEADER};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest explanation of a refusal that is read, in bytes.
const EXPLANATION_MAX: usize = 64 << 10;

/// Connects to a server.
///
/// # Errors
/// Why not, for people.
pub(super) async fn connect(address: &ServerAddress) -> Result<TokioIo<Upgraded>, String> {
    match tokio::time::timeout(HANDSHAKE, upgrade(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no answer within {HANDSHAKE:?}")),
    }
}

async fn upgrade(address: &ServerAddress) -> Result<TokioIo<Upgraded>, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address.authority()).await.map_err(|e| said(&e))?;
    // A commit is small and somebody waits for it.
    stream.set_nodelay(true).map_err(|e| said(&e))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| said(&e))?;
    // It ends with the stream.
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(PATH)
        .header(HOST, address.authority())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE_HEADER, UPGRADE)
        .body(Empty::<Bytes>::new())
        .map_err(|e| said(&e))?;
    let response = sender.send_request(request).await.map_err(|e| said(&e))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(response).await.map_err(|e| said(&e))?;
        return Ok(TokioIo::new(upgraded));
    }
    let status = response.status();
    let body = Limited::new(response.into_body(), EXPLANATION_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    Err(match detail {
        Some(detail) => format!("it answered {status}: {detail}"),
        None => format!("it answered {status}; is it a server of Everstep?"),
    })
}
