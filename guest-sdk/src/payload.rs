//! Values that cross the boundary of the module as JSON. Inputs and outputs of tasks and workflows
//! go through here, so that what cannot be encoded or decoded becomes a [`Failure`] with a code.

use crate::Failure;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that can be the input or the output of a task or a workflow. Every type that derives
/// `Serialize`, `Deserialize` and `JsonSchema` is one; `#[payload]` derives all three.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema + 'static {}

impl<T: Serialize + DeserializeOwned + JsonSchema + 'static> Payload for T {}

/// The JSON form of `value`; `what` names it in the failure.
pub(crate) fn encode<T: Serialize>(value: &T, code: &str, what: &str) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| {
        Failure::new(code, format!("{what} has no JSON form: {error}")).not_retryable()
    })
}

/// The value of a JSON text; `what` names it in the failure.
pub(crate) fn decode<T: DeserializeOwned>(
    json: &[u8],
    code: &str,
    what: &str,
) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::new(code, format!("{what} does not have the declared shape: {error}"))
            .not_retryable()
    })
}
