//! A small client for outbound HTTP, for tasks. It blocks, which a task may and a workflow may not.
//!
//! The host lets a task reach only what it was granted: name the hosts in its attribute, as in
//! `#[task(hosts = ["api.example.com", "127.0.0.1:*"])]`.
//!
//! ```no_run
//! use everstep_sdk::{http, prelude::*};
//!
//! #[payload]
//! struct Receipt { id: String }
//!
//! #[task(hosts = ["pay.example.com"])]
//! async fn charge(context: TaskContext, cents: u64) -> TaskResult<Receipt> {
//!     let response = http::post("https://pay.example.com/charges")
//!         .header("idempotency-key", context.idempotency_token())
//!         .timeout(secs(10))
//!         .json(&cents)
//!         .send()?
//!         .success()?;
//!     Ok(response.json()?)
//! }
//! ```

mod error;
#[cfg(not(target_arch = "wasm32"))]
mod native;
mod request;
mod response;
#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(not(target_arch = "wasm32"))]
use native as transport;
#[cfg(target_arch = "wasm32")]
use wasi as transport;

pub use error::HttpError;
pub use request::{Method, Request};
pub use response::Response;

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    Request::new(Method::Get, url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    Request::new(Method::Post, url)
}

/// A PUT request.
pub fn put(url: impl Into<String>) -> Request {
    Request::new(Method::Put, url)
}

/// A DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new(Method::Delete, url)
}
