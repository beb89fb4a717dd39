//! The names of things: runs, operations, modules, leases. Every crate uses them; each has exactly
//! one textual form, which is what users see and what the store and the API parse back.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Names a run. Time-ordered when drawn by the server; derived from workflow and key when the start
/// carries an idempotency key, so that the same key always names the same run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

/// The namespace of run ids that derive from an idempotency key.
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x5f1c_39a1_3d0e_4d8e_9a54_6576_6572_7374);

impl RunId {
    /// A new id from the time of the start and ten bytes of randomness (UUID version 7).
    #[must_use]
    pub fn new(now: crate::Timestamp, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid())
    }

    /// The id that belongs to an idempotency key of a workflow (UUID version 5).
    #[must_use]
    pub fn from_key(workflow: &str, key: &str) -> Self {
        let mut name = Vec::with_capacity(workflow.len() + key.len() + 1);
        name.extend_from_slice(workflow.as_bytes());
        name.push(0);
        name.extend_from_slice(key.as_bytes());
        Self(Uuid::new_v5(&KEY_NAMESPACE, &name))
    }

    /// The id of the child run that is operation `op` of this run (UUID version 5). An id that
    /// belongs to a key may be used again when its run is gone; then the time of the start tells
    /// the children apart.
    #[must_use]
    pub fn child(&self, op: OpId, started_at: crate::Timestamp) -> Self {
        let name = [op.0, started_at.as_millis()].map(u64::to_be_bytes).concat();
        Self(Uuid::new_v5(&self.0, &name))
    }

    /// The id that belongs to an idempotency key of a fork of this run (UUID version 5).
    #[must_use]
    pub fn of_fork(run: Self, key: &str) -> Self {
        Self(Uuid::new_v5(&run.0, format!("fork {key}").as_bytes()))
    }

    /// The sixteen bytes under which stores file the run.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The reverse of [`RunId::as_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// A number that is the same for the same run, for seeding what must be deterministic.
    #[must_use]
    pub fn seed(&self) -> u64 {
        let hash = Sha256::digest(self.as_bytes());
        u64::from_le_bytes(std::array::from_fn(|i| hash[i]))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not the name of anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl FromStr for RunId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "a run id (like 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f)",
        })
    }
}

/// The SHA-256 of a module's bytes as uploaded; `sha256:` and 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The reverse of [`Digest::as_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 hex digits without the prefix, fit for a file name.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        unhex(digits).map(Self).ok_or_else(|| ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "a module digest (sha256: and 64 hex digits)",
        })
    }
}

/// The first half of the SHA-256 of a command's input: with kind and name, what makes a replayed
/// command the same command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputHash([u8; 16]);

impl InputHash {
    /// The sixteen bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The reverse of [`InputHash::as_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let full = Sha256::digest(bytes);
        Self(std::array::from_fn(|i| full[i]))
    }
}

impl fmt::Display for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for InputHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InputHash {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        unhex(text).map(Self).ok_or_else(|| ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "an input hash (32 hex digits)",
        })
    }
}

/// Names an operation of a run: 1, 2, 3 … in the order of registration, across all attempts.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OpId(pub u64);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fencing token. A store refuses a commit that carries an older token than it has seen for the
/// run, so a host that lost its lease can write nothing.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Token(pub u64);

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let value = |digit: u8| (digit as char).to_digit(16).map(|v| v as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// Text in formats for people (JSON), raw bytes in the store's.
macro_rules! serde_as_text_or_bytes {
    ($type:ident, $len:literal, $bytes:expr, $from:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    let bytes: fn(&$type) -> &[u8] = $bytes;
                    serializer.serialize_bytes(bytes(self))
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visit;
                impl serde::de::Visitor<'_> for Visit {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", stringify!($type)))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$type, E> {
                        let from: fn([u8; $len]) -> $type = $from;
                        <[u8; $len]>::try_from(bytes)
                            .map(from)
                            .map_err(|_| E::invalid_length(bytes.len(), &self))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visit)
                } else {
                    deserializer.deserialize_bytes(Visit)
                }
            }
        }
    };
}

serde_as_text_or_bytes!(RunId, 16, |id| id.as_bytes(), RunId::from_bytes);
serde_as_text_or_bytes!(Digest, 32, |id| id.as_bytes(), Digest);
serde_as_text_or_bytes!(InputHash, 16, |id| &id.0, InputHash);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Timestamp;

    #[test]
    fn every_id_reads_back_from_its_text_and_from_its_bytes() {
        let run = RunId::new(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
        assert_eq!(run.to_string().parse::<RunId>().unwrap(), run);
        let digest = Digest::of(b"module");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let packed = rmp_serde::to_vec_named(&(run, digest, InputHash::of(b"x"))).unwrap();
        let back: (RunId, Digest, InputHash) = rmp_serde::from_slice(&packed).unwrap();
        assert_eq!(back, (run, digest, InputHash::of(b"x")));
    }

    #[test]
    fn a_key_names_one_run_per_workflow() {
        assert_eq!(RunId::from_key("a", "k"), RunId::from_key("a", "k"));
        assert_ne!(RunId::from_key("a", "k"), RunId::from_key("b", "k"));
        assert_ne!(RunId::from_key("a", "bk"), RunId::from_key("ab", "k"));
    }

    #[test]
    fn wrong_texts_are_refused_with_the_text() {
        let error = "nonsense".parse::<RunId>().unwrap_err();
        assert!(error.to_string().contains("`nonsense` is not a run id"));
        assert!("sha256:12".parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
