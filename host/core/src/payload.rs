//! JSON values as the text they came as. Inputs, outputs and failure details are carried through
//! the system untouched: their bytes decide the hash that identifies a command, so nothing between
//! the guest and the journal may reformat them.

use crate::InputHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// A JSON document as text. Cheap to clone. Always well-formed.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

/// Bytes from a guest or a client are not one JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON value: {0}")]
pub struct InvalidPayload(String);

impl Payload {
    /// The JSON value `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// Takes bytes that must be one JSON document in UTF-8.
    ///
    /// # Errors
    /// When they are not; the message says where.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPayload> {
        let raw: &RawValue =
            serde_json::from_slice(bytes).map_err(|e| InvalidPayload(e.to_string()))?;
        Ok(Self(Arc::from(raw.get())))
    }

    /// The JSON form of a value.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with keys that are not text, for example).
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidPayload> {
        serde_json::to_string(value)
            .map(|text| Self(Arc::from(text)))
            .map_err(|e| InvalidPayload(e.to_string()))
    }

    /// Reads the document as a value of this type.
    ///
    /// # Errors
    /// When the document has another shape.
    pub fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The document as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The size of the document in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: no JSON document is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash under which a command with this input is known.
    #[must_use]
    pub fn hash(&self) -> InputHash {
        InputHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let raw: &RawValue =
                serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
            raw.serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<RawValue>::deserialize(deserializer)?;
            Ok(Self(Arc::from(raw.get())))
        } else {
            String::deserialize(deserializer).map(|text| Self(Arc::from(text)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_is_kept_as_it_came() {
        let payload = Payload::from_bytes(br#"{"b": 1.50, "a": [ ]}"#).unwrap();
        assert_eq!(serde_json::to_string(&payload).unwrap(), payload.as_str());
        let back: Payload = serde_json::from_str(payload.as_str()).unwrap();
        assert_eq!(back, payload);
        let packed = rmp_serde::to_vec_named(&payload).unwrap();
        assert_eq!(rmp_serde::from_slice::<Payload>(&packed).unwrap(), payload);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bytes in [&b"{"[..], b"", b"\xff", b"1 2"] {
            assert!(Payload::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }
}
