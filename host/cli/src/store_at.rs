//! Where a store is, as `--store`, `--from` and `--to` say it: a folder, or the URL of a Redis.

use crate::exit::Failure;
use everstep_store::{Embedded, EmbeddedOptions, Redis, RedisOptions, Store, StoreError};
use std::path::PathBuf;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) enum StoreAt {
    Folder(PathBuf),
    Redis(Box<RedisOptions>),
}

impl StoreAt {
    /// Reads it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        if !scheme.starts_with("redis") {
            let detail = format!("`{scheme}://…` is no store that this version knows");
            return Err(Failure::usage("store.unsupported", detail)
                .fix("give a folder, or redis://HOST:PORT; docs/redis.md has the other forms"));
        }
        let options = RedisOptions::from_url(text).map_err(|error| {
            Failure::usage(error.code(), error.to_string())
                .fix("docs/redis.md has the form of the URL")
        })?;
        Ok(Self::Redis(Box::new(options)))
    }

    /// Opens the store, to read or write it while no server works on it.
    pub(crate) async fn open(self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Folder(path) => Arc::new(Embedded::open(EmbeddedOptions { path })?),
            Self::Redis(options) => Arc::new(Redis::open(&options).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_store_is_a_folder_or_a_redis() {
        assert!(
            matches!(StoreAt::parse("a/b").unwrap(), StoreAt::Folder(path) if path.ends_with("a/b"))
        );
        for url in ["redis://localhost", "rediss://u@h:1/3", "redis+cluster://a:1,b:2?namespace=n"]
        {
            assert!(matches!(StoreAt::parse(url).unwrap(), StoreAt::Redis(_)), "{url}");
        }
        for (url, code) in [("postgres://x", "store.unsupported"), ("redis://", "store.bad_url")] {
            let failure = StoreAt::parse(url).unwrap_err();
            assert_eq!(failure.report.unwrap().code, code, "{url}");
        }
    }
}
