//! Reads requests strictly: ids from paths, JSON from bodies, parameters from query strings. What
//! cannot be read becomes a problem that names the place. The handlers use nothing else.

use super::problem::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use everstep_core::{Digest, RunId, Timestamp};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// The run that the path names.
pub(super) struct RunPath(pub(super) RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        last_segment(parts, state).await.map(Self)
    }
}

/// The module that the path names.
pub(super) struct DigestPath(pub(super) Digest);

impl<S: Send + Sync> FromRequestParts<S> for DigestPath {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        last_segment(parts, state).await.map(Self)
    }
}

/// The name that the path ends with.
pub(super) struct NamePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        last_segment(parts, state).await.map(Self)
    }
}

async fn last_segment<S, T>(parts: &mut Parts, state: &S) -> Result<T, ApiError>
where
    S: Send + Sync,
    T: FromStr<Err: std::fmt::Display>,
{
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|e| ApiError::Invalid(e.body_text()))?;
    text.parse().map_err(|e: T::Err| ApiError::Invalid(e.to_string()))
}

/// A body that must be JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let limit = body_limit(&request);
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(ApiError::MediaType { expected: "application/json" })
            }
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(too_large(limit))
            }
            Err(rejection) => Err(ApiError::Invalid(rejection.body_text())),
        }
    }
}

/// A JSON body that may be absent; an empty one is the default value.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let limit = body_limit(&request);
        let bytes = Bytes::from_request(request, state).await.map_err(|e| unreadable(&e, limit))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !has_type(&headers, &["application/json"]) {
            return Err(ApiError::MediaType { expected: "application/json" });
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|e| ApiError::Invalid(e.to_string()))
    }
}

/// The largest JSON body that the routes of this request take; the router sets it.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit(pub(super) u64);

fn body_limit(request: &Request) -> BodyLimit {
    request.extensions().get().copied().unwrap_or(BodyLimit(0))
}

fn too_large(BodyLimit(most): BodyLimit) -> ApiError {
    ApiError::TooLarge { most }
}

fn unreadable(rejection: &BytesRejection, limit: BodyLimit) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(limit);
    }
    ApiError::Invalid(rejection.body_text())
}

/// Whether the content type is one of these, whatever its parameters.
pub(super) fn has_type(headers: &HeaderMap, accepted: &[&str]) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    accepted.iter().any(|one| essence.eq_ignore_ascii_case(one))
}

/// The parameters of a query string. Take what you know, then [`Params::finish`] refuses the rest,
/// so that a misspelt filter is an error and not a wrong answer.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(pairs)| Self(pairs))
            .map_err(|e| ApiError::Invalid(e.body_text()))
    }
}

impl Params {
    /// The value of a parameter that may be given once; an empty one counts as absent.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.list(name);
        if values.len() > 1 {
            return Err(ApiError::Invalid(format!("parameter `{name}` is given more than once")));
        }
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// All values of a parameter that may be repeated or be a list with commas.
    pub(super) fn words(&mut self, name: &str) -> Vec<String> {
        let values = self.list(name);
        let words = values.iter().flat_map(|value| value.split(','));
        words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        self.parsed(name, "a whole number")
    }

    /// The size of a page; sizes over any page are as good as the largest.
    pub(super) fn size(&mut self, name: &str) -> Result<Option<usize>, ApiError> {
        let size = self.number(name)?;
        Ok(size.map(|size| usize::try_from(size).unwrap_or(usize::MAX)))
    }

    /// An instant.
    pub(super) fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.parsed(name, "an instant like 2026-05-01T09:30:00Z")
    }

    /// The id of a run.
    pub(super) fn run(&mut self, name: &str) -> Result<Option<RunId>, ApiError> {
        self.parsed(name, "a run id")
    }

    /// Yes or no; no when absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        self.parsed(name, "true or false").map(Option::unwrap_or_default)
    }

    /// Refuses what has not been taken.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(80).collect();
                Err(ApiError::Invalid(format!("there is no parameter `{name}` here")))
            }
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, what: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            let shown: String = value.chars().take(80).collect();
            ApiError::Invalid(format!("parameter `{name}` must be {what}, not `{shown}`"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn known_parameters_are_taken_and_others_refused() {
        let mut query = params(&[("a", "1"), ("b", "x, y"), ("b", "z"), ("limt", "3")]);
        assert_eq!(query.number("a").unwrap(), Some(1));
        assert_eq!(query.words("b"), ["x", "y", "z"]);
        assert_eq!(query.number("limit").unwrap(), None);
        assert!(query.finish().unwrap_err().to_string().contains("`limt`"));
    }

    #[test]
    fn malformed_values_are_named() {
        let error = params(&[("n", "-1")]).number("n").unwrap_err().to_string();
        assert!(error.contains("`n`") && error.contains("`-1`"), "{error}");
        assert!(params(&[("n", "1"), ("n", "2")]).number("n").is_err());
        assert!(params(&[("f", "yes")]).flag("f").is_err());
        assert!(params(&[("t", "noon")]).instant("t").is_err());
    }
}
