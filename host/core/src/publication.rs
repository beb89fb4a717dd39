//! Which module stands behind which version of a workflow, and which version new runs get. Pure: the
//! service decides with it, the store keeps one [`Publication`] per workflow.
//!
//! Invariant: a version names exactly one module at a time, and what it named before is remembered, so
//! that the last change can be taken back.

use crate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// The most versions that a workflow may have.
pub const VERSIONS_MAX: usize = 10_000;

/// Changes that are remembered; the oldest are forgotten first.
const CHANGES_MAX: usize = 100;

/// The versions of one workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The workflow's name.
    pub workflow: String,
    /// Counts the changes; a change is written only over the revision that it was decided on.
    pub revision: u64,
    /// In the order in which they were published.
    pub versions: Vec<PublishedVersion>,
    /// The version that somebody chose for new runs; none for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What was changed, oldest first.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// A version and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedVersion {
    /// Its name.
    pub version: String,
    /// The module.
    pub digest: Digest,
    /// When it was published, or last replaced.
    pub published_at: Timestamp,
    /// Since when no runs can be started with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// A change of what new runs get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: ChangeKind,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_at: Option<Timestamp>,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A version was published.
    Published {
        /// Which.
        version: String,
        /// What new runs got before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// Another module was put behind a version.
    Replaced {
        /// Which version.
        version: String,
        /// The module that it had.
        was: Digest,
        /// The module that it got.
        digest: Digest,
    },
    /// Somebody chose what new runs get.
    DefaultSet {
        /// The choice; none for the newest version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<String>,
        /// The choice before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
    },
    /// A version was closed to new runs.
    Retired {
        /// Which.
        version: String,
    },
    /// A closed version was opened again.
    Restored {
        /// Which.
        version: String,
    },
}

/// A change that is not made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicationError {
    /// The version names another module.
    #[error("version `{version}` is taken by module {digest}")]
    Taken {
        /// Which version.
        version: String,
        /// The module that it names.
        digest: Digest,
    },
    /// No such version.
    #[error("there is no version `{0}`")]
    Unknown(String),
    /// It is closed to new runs.
    #[error("version `{0}` is retired")]
    Retired(String),
    /// It is what new runs get by choice.
    #[error("version `{0}` is the chosen default")]
    IsDefault(String),
    /// There is nothing that could be taken back.
    #[error("there is no change that can be taken back")]
    NothingToRollBack,
    /// There are as many as there may be.
    #[error("there are {VERSIONS_MAX} versions already")]
    TooMany,
}

/// What taking back the last change means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollback {
    /// New runs get another version.
    Default(Option<String>),
    /// The version gets the module back that it had; the runs of the other one are to follow.
    Replace {
        /// Which version.
        version: String,
        /// The module that it has now.
        from: Digest,
        /// The module that it had.
        to: Digest,
    },
}

impl Publication {
    /// A workflow without versions.
    #[must_use]
    pub fn new(workflow: &str) -> Self {
        let (versions, changes) = (Vec::new(), Vec::new());
        Self { workflow: workflow.into(), revision: 0, versions, default: None, changes }
    }

    /// A version.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&PublishedVersion> {
        self.versions.iter().find(|one| one.version == name)
    }

    /// What new runs get that name no version: the chosen one, or the newest that is not retired.
    #[must_use]
    pub fn current(&self) -> Option<&PublishedVersion> {
        match &self.default {
            Some(version) => self.version(version),
            None => self.versions.iter().rev().find(|one| one.retired_at.is_none()),
        }
    }

    /// Publishes a module under a version. Says whether that changed anything: the same module
    /// again is nothing new, but opens a retired version.
    ///
    /// # Errors
    /// When the version names another module, or there are too many.
    pub fn publish(
        &mut self,
        version: &str,
        digest: Digest,
        at: Timestamp,
    ) -> Result<bool, PublicationError> {
        match self.version(version) {
            Some(one) if one.digest != digest => {
                let digest = one.digest;
                return Err(PublicationError::Taken { version: version.into(), digest });
            }
            Some(one) if one.retired_at.is_none() => return Ok(false),
            Some(_) => {
                self.find(version)?.retired_at = None;
                self.note(at, ChangeKind::Restored { version: version.into() });
                return Ok(true);
            }
            None if self.versions.len() >= VERSIONS_MAX => return Err(PublicationError::TooMany),
            None => {}
        }
        let before = self.current().map(|one| one.version.clone());
        self.versions.push(PublishedVersion {
            version: version.into(),
            digest,
            published_at: at,
            retired_at: None,
        });
        self.note(at, ChangeKind::Published { version: version.into(), before });
        Ok(true)
    }

    /// Puts another module behind a version; publishes the version when there is none.
    ///
    /// # Errors
    /// When there are too many versions.
    pub fn replace(
        &mut self,
        version: &str,
        digest: Digest,
        at: Timestamp,
    ) -> Result<bool, PublicationError> {
        let Ok(one) = self.find(version) else { return self.publish(version, digest, at) };
        let was = std::mem::replace(&mut one.digest, digest);
        if was == digest {
            return self.publish(version, digest, at);
        }
        one.published_at = at;
        one.retired_at = None;
        self.note(at, ChangeKind::Replaced { version: version.into(), was, digest });
        Ok(true)
    }

    /// Chooses what new runs get; none for the newest version.
    ///
    /// # Errors
    /// When there is no such version or it is retired.
    pub fn set_default(
        &mut self,
        version: Option<&str>,
        at: Timestamp,
    ) -> Result<bool, PublicationError> {
        if let Some(version) = version
            && self.find(version)?.retired_at.is_some()
        {
            return Err(PublicationError::Retired(version.into()));
        }
        if self.default.as_deref() == version {
            return Ok(false);
        }
        let default = version.map(String::from);
        let was = std::mem::replace(&mut self.default, default.clone());
        self.note(at, ChangeKind::DefaultSet { default, was });
        Ok(true)
    }

    /// Closes a version to new runs.
    ///
    /// # Errors
    /// When there is no such version, or it is the chosen default.
    pub fn retire(&mut self, version: &str, at: Timestamp) -> Result<bool, PublicationError> {
        if self.default.as_deref() == Some(version) {
            return Err(PublicationError::IsDefault(version.into()));
        }
        let retired_at = &mut self.find(version)?.retired_at;
        if retired_at.is_some() {
            return Ok(false);
        }
        *retired_at = Some(at);
        self.note(at, ChangeKind::Retired { version: version.into() });
        Ok(true)
    }

    /// What taking back the last change of what new runs get means, and which change that is.
    fn last_change(&self) -> Option<(usize, Rollback)> {
        let back = |kind: &ChangeKind| match kind {
            ChangeKind::Published { before: Some(version), .. } => {
                Some(Rollback::Default(Some(version.clone())))
            }
            ChangeKind::DefaultSet { was, .. } => Some(Rollback::Default(was.clone())),
            ChangeKind::Replaced { version, was, digest } => {
                let version = version.clone();
                Some(Rollback::Replace { version, from: *digest, to: *was })
            }
            ChangeKind::Published { .. }
            | ChangeKind::Retired { .. }
            | ChangeKind::Restored { .. } => None,
        };
        let open = self.changes.iter().enumerate().rev();
        let mut open = open.filter(|(_, change)| change.rolled_back_at.is_none());
        open.find_map(|(index, change)| Some((index, back(&change.kind)?)))
    }

    /// What [`Publication::roll_back`] would do.
    ///
    /// # Errors
    /// When there is nothing to take back.
    pub fn rollback(&self) -> Result<Rollback, PublicationError> {
        self.last_change().map(|(_, back)| back).ok_or(PublicationError::NothingToRollBack)
    }

    /// Takes the last change back of what new runs get. Once more takes back the one before it.
    ///
    /// # Errors
    /// When there is nothing to take back, or the version that it leads to is retired.
    pub fn roll_back(&mut self, at: Timestamp) -> Result<Rollback, PublicationError> {
        let (index, back) = self.last_change().ok_or(PublicationError::NothingToRollBack)?;
        match &back {
            Rollback::Default(Some(version)) if self.find(version)?.retired_at.is_some() => {
                return Err(PublicationError::Retired(version.clone()));
            }
            Rollback::Default(version) => self.default.clone_from(version),
            Rollback::Replace { version, to, .. } => {
                let one = self.find(version)?;
                one.digest = *to;
                one.published_at = at;
            }
        }
        self.changes[index].rolled_back_at = Some(at);
        self.revision += 1;
        Ok(back)
    }

    fn find(&mut self, name: &str) -> Result<&mut PublishedVersion, PublicationError> {
        let found = self.versions.iter_mut().find(|one| one.version == name);
        found.ok_or_else(|| PublicationError::Unknown(name.into()))
    }

    fn note(&mut self, at: Timestamp, kind: ChangeKind) {
        if self.changes.len() == CHANGES_MAX {
            self.changes.remove(0);
        }
        self.changes.push(Change { at, kind, rolled_back_at: None });
        self.revision += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &[u8] = b"a";
    const B: &[u8] = b"b";

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn digest(bytes: &[u8]) -> Digest {
        Digest::of(bytes)
    }

    fn orders() -> Publication {
        let mut orders = Publication::new("orders");
        assert!(orders.publish("1", digest(A), at(1)).unwrap());
        orders
    }

    fn current(publication: &Publication) -> (&str, Digest) {
        let one = publication.current().unwrap();
        (&one.version, one.digest)
    }

    #[test]
    fn a_version_names_one_module_and_the_newest_is_what_runs_get() {
        let mut orders = orders();
        assert!(!orders.publish("1", digest(A), at(2)).unwrap());
        assert_eq!(orders.revision, 1);
        let taken = PublicationError::Taken { version: "1".into(), digest: digest(A) };
        assert_eq!(orders.publish("1", digest(B), at(3)), Err(taken));
        assert!(orders.publish("2", digest(B), at(4)).unwrap());
        assert_eq!(current(&orders), ("2", digest(B)));
        assert!(orders.set_default(Some("1"), at(5)).unwrap());
        assert_eq!(current(&orders), ("1", digest(A)));
        assert_eq!(
            orders.set_default(Some("3"), at(6)),
            Err(PublicationError::Unknown("3".into()))
        );
    }

    #[test]
    fn retired_versions_are_not_started_until_they_are_published_again() {
        let mut orders = orders();
        orders.publish("2", digest(B), at(2)).unwrap();
        assert!(orders.retire("2", at(3)).unwrap());
        assert!(!orders.retire("2", at(4)).unwrap());
        assert_eq!(current(&orders), ("1", digest(A)));
        let retired = Err(PublicationError::Retired("2".into()));
        assert_eq!(orders.set_default(Some("2"), at(5)), retired);
        assert!(orders.publish("2", digest(B), at(6)).unwrap());
        orders.set_default(Some("2"), at(7)).unwrap();
        assert_eq!(orders.retire("2", at(8)), Err(PublicationError::IsDefault("2".into())));
    }

    #[test]
    fn changes_are_taken_back_one_after_the_other() {
        let mut orders = orders();
        assert_eq!(orders.roll_back(at(2)), Err(PublicationError::NothingToRollBack));
        orders.replace("1", digest(B), at(2)).unwrap();
        orders.publish("2", digest(A), at(3)).unwrap();
        orders.set_default(None, at(4)).unwrap();
        assert_eq!(current(&orders), ("2", digest(A)));
        let back = orders.rollback().unwrap();
        assert_eq!(orders.roll_back(at(5)).unwrap(), back);
        assert_eq!(back, Rollback::Default(Some("1".into())));
        assert_eq!(current(&orders), ("1", digest(B)));
        let back = orders.roll_back(at(6)).unwrap();
        let (from, to) = (digest(B), digest(A));
        assert_eq!(back, Rollback::Replace { version: "1".into(), from, to });
        assert_eq!(current(&orders), ("1", digest(A)));
        assert_eq!(orders.roll_back(at(7)), Err(PublicationError::NothingToRollBack));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut orders = orders();
        for i in 0..500 {
            orders.replace("1", digest(&[u8::from(i % 2 == 0)]), at(i)).unwrap();
        }
        assert_eq!(orders.changes.len(), CHANGES_MAX);
        for _ in 0..CHANGES_MAX {
            orders.roll_back(at(600)).unwrap();
        }
        assert_eq!(orders.roll_back(at(601)), Err(PublicationError::NothingToRollBack));
    }
}
