//! Requests: built by the author, checked when they are sent.

use super::{HttpError, Response};
use serde::Serialize;
use std::time::Duration;

/// The longest body of a response unless the request says otherwise: 8 MiB.
const MAX_BYTES: usize = 8 << 20;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are HTTP's own words")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// A request that has not been sent yet; made by [`get`](super::get), [`post`](super::post) …
/// Redirects are not followed, because they could lead to a host that is not granted.
#[derive(Debug)]
#[must_use = "a request does nothing until `.send()`"]
pub struct Request {
    pub(super) method: Method,
    url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Option<Duration>,
    pub(super) max_bytes: usize,
    /// Why the request cannot be sent; told by `send`, so that building it stays one expression.
    refusal: Option<String>,
}

/// Where a request goes, taken from its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) secure: bool,
    /// Host and, if the URL has one, port.
    pub(super) authority: String,
    pub(super) path: String,
}

impl Request {
    /// A request with this method and an absolute `http` or `https` URL.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            max_bytes: MAX_BYTES,
            refusal: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to the JSON form of a value, with its `content-type`.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => self.header("content-type", "application/json").body(json),
            Err(error) => {
                self.refusal = Some(format!("its body has no JSON form: {error}"));
                self
            }
        }
    }

    /// Limits the wait for the connection, for the first byte of the answer, and for each further
    /// byte. Without it, only the timeouts of the task and the host's own apply.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limits the body of the response, 8 MiB unless said otherwise.
    pub fn max_bytes(mut self, limit: usize) -> Self {
        self.max_bytes = limit;
        self
    }

    /// Sends the request and waits for the whole response, whatever its status.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn send(self) -> Result<Response, HttpError> {
        if let Some(refusal) = self.refusal {
            return Err(HttpError::InvalidRequest(refusal));
        }
        let target = Target::of(&self.url).map_err(HttpError::InvalidRequest)?;
        super::transport::send(&self, target)
    }
}

impl Target {
    fn of(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(format!("`{url}` is not an absolute http or https URL")),
        };
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("`{url}` has a space in it; write it as %20"));
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("`{url}` must name a host, without user and password"));
        }
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.into(), path })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(url: &str) -> (bool, String, String) {
        let target = Target::of(url).unwrap();
        (target.secure, target.authority, target.path)
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            target("http://127.0.0.1:81/a?b=c#d"),
            (false, "127.0.0.1:81".into(), "/a?b=c".into())
        );
        assert_eq!(target("HTTPS://a.example"), (true, "a.example".into(), "/".into()));
        assert_eq!(target("http://a?q"), (false, "a".into(), "/?q".into()));
    }

    #[test]
    fn bad_requests_are_refused_with_the_reason() {
        for url in ["", "a.example", "/path", "ftp://a", "http://", "http://u:p@a", "http://a/b c"]
        {
            let error = super::super::get(url).send().unwrap_err();
            assert_eq!(error.code(), "http.invalid_request", "{url}");
        }
        let unencodable = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = super::super::post("http://a").json(&unencodable).send().unwrap_err();
        assert!(error.to_string().contains("no JSON form"), "{error}");
    }
}
