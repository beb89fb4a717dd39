//! Responses, complete with their body.

use super::HttpError;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// How much of a body an error quotes.
const QUOTED: usize = 300;

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name that is text; the case of the name does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.find_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers, in the order of the answer.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// [`HttpError::Decode`] when it is none, or has another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The response itself when its status is 200 to 299.
    ///
    /// # Errors
    /// [`HttpError::Status`] otherwise; it stops the retries of the task when the same request
    /// cannot do better later (see [`HttpError::is_retryable`]).
    pub fn success(self) -> Result<Self, HttpError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let body = self.text().chars().take(QUOTED).collect();
        Err(HttpError::Status { status: self.status, body })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn response(status: u16) -> Response {
        let headers = vec![("Content-Type".into(), b"application/json".into())];
        Response { status, headers, body: b"[1]".into() }
    }

    #[test]
    fn only_2xx_is_a_success() {
        assert_eq!(response(204).success().unwrap().json::<Vec<u8>>().unwrap(), [1]);
        let error = response(503).success().unwrap_err();
        assert!(error.is_retryable());
        assert!(!response(404).success().unwrap_err().is_retryable());
        assert_eq!(error.to_string(), "the answer was status 503: [1]");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        assert_eq!(response(200).header("content-type"), Some("application/json"));
        assert_eq!(response(200).header("etag"), None);
    }
}
