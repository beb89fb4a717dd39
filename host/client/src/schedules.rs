//! The calls about schedules. Wherever a schedule is named, its id and its reference will do.

use crate::{Client, ClientError};
use everstep_core::schedule::{
    BackfillBody, Backfilled, Created, ScheduleBody, ScheduleList, ScheduleView, TriggerBody,
    Triggered,
};
use futures::{Stream, TryStreamExt, stream};
use std::fmt::Write;
use std::time::Duration;

/// A backfill starts up to a thousand runs before it answers.
const BACKFILL_TIMEOUT: Duration = Duration::from_secs(600);

impl Client {
    /// Makes a schedule. The same reference with the same definition again changes nothing.
    ///
    /// # Errors
    /// When it can never fire, or what it starts would be refused.
    pub async fn create_schedule(&self, body: &ScheduleBody) -> Result<Created, ClientError> {
        self.json(self.post("/v1/schedules").json(body)).await
    }

    /// One page of the schedules, in the order of their creation.
    ///
    /// # Errors
    /// When the cursor is none.
    pub async fn schedule_page(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<ScheduleList, ClientError> {
        let mut query = Vec::new();
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        query.extend(limit.map(|limit| ("limit", limit.to_string())));
        self.json(self.get("/v1/schedules").query(&query)).await
    }

    /// All schedules, in the order of their creation, page by page.
    pub fn schedules(
        &self,
    ) -> impl Stream<Item = Result<ScheduleView, ClientError>> + Send + use<> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(None::<String>), move |next| {
            let client = client.clone();
            async move {
                let Some(cursor) = next else { return Ok(None) };
                let list = client.schedule_page(cursor.as_deref(), None).await?;
                Ok::<_, ClientError>(Some((list.schedules, list.cursor.map(Some))))
            }
        });
        pages.map_ok(|schedules| stream::iter(schedules.into_iter().map(Ok))).try_flatten()
    }

    /// One schedule, with its next ten occurrences and its last fires.
    ///
    /// # Errors
    /// When there is none with this id or reference.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.json(self.get(&path(name, ""))).await
    }

    /// Stands a schedule still.
    ///
    /// # Errors
    /// When there is none with this id or reference.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.json(self.post(&path(name, "/pause"))).await
    }

    /// Lets a schedule go on.
    ///
    /// # Errors
    /// When there is none with this id or reference.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.json(self.post(&path(name, "/resume"))).await
    }

    /// Fires now.
    ///
    /// # Errors
    /// When there is none with this id or reference.
    pub async fn trigger_schedule(
        &self,
        name: &str,
        body: &TriggerBody,
    ) -> Result<Triggered, ClientError> {
        self.json(self.post(&path(name, "/trigger")).json(body)).await
    }

    /// Fires every occurrence in a range of the past. It can be repeated: an occurrence starts one
    /// run.
    ///
    /// # Errors
    /// When the range is none, too long, or not past.
    pub async fn backfill_schedule(
        &self,
        name: &str,
        body: &BackfillBody,
    ) -> Result<Backfilled, ClientError> {
        self.json_within(self.post(&path(name, "/backfill")).json(body), BACKFILL_TIMEOUT).await
    }

    /// Deletes a schedule; gives it as it was.
    ///
    /// # Errors
    /// When there is none with this id or reference.
    pub async fn delete_schedule(&self, name: &str) -> Result<ScheduleView, ClientError> {
        self.json(self.delete(&path(name, ""))).await
    }
}

/// The path of a schedule. A reference may be any text, so what could mean something else in a path
/// is escaped.
fn path(name: &str, action: &str) -> String {
    let mut path = String::from("/v1/schedules/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            path.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path.push_str(action);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_escaped_in_paths() {
        assert_eq!(path("a-b_1", "/pause"), "/v1/schedules/a-b_1/pause");
        assert_eq!(path("../ä?", ""), "/v1/schedules/%2E%2E%2F%C3%A4%3F");
    }
}
