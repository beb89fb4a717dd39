//! Log lines as they are written. When the connection breaks, the stream goes on behind the last
//! line that came, so that no line is lost or seen twice.

use crate::connection::Outage;
use crate::sse::{Event, Parser};
use crate::{Client, ClientError};
use everstep_core::RunId;
use everstep_core::api::{LogLineView, RunView};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};

/// What comes through the stream.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nobody keeps many of them")]
pub enum LogEvent {
    /// A line.
    Line(LogLineView),
    /// The run has ended, and nothing follows.
    End(RunView),
}

type Body = BoxStream<'static, Result<Vec<u8>, ClientError>>;

struct Follow {
    client: Client,
    id: RunId,
    from: u64,
    body: Option<Body>,
    parser: Parser,
    outage: Outage,
    done: bool,
}

impl Client {
    /// The log lines of a run from a position on, until the run has ended. After an error the
    /// stream is over.
    pub fn follow_logs(
        &self,
        id: RunId,
        from: u64,
    ) -> impl Stream<Item = Result<LogEvent, ClientError>> + Send + use<> {
        let follow = Follow {
            client: self.clone(),
            id,
            from,
            body: None,
            parser: Parser::default(),
            outage: Outage::default(),
            done: false,
        };
        stream::unfold(follow, |mut follow| async move {
            if follow.done {
                return None;
            }
            let item = follow.next().await;
            follow.done = !matches!(item, Ok(LogEvent::Line(_)));
            Some((item, follow))
        })
    }

    async fn open_logs(&self, id: RunId, from: u64) -> Result<Body, ClientError> {
        let query = [("follow", "true".to_owned()), ("from", from.to_string())];
        let response = self.open(self.get(&format!("/v1/runs/{id}/logs")).query(&query)).await?;
        let url = self.address().to_owned();
        let body = response.bytes_stream().map(move |piece| {
            piece.map(Vec::from).map_err(|e| ClientError::Unreachable {
                url: url.clone(),
                reason: crate::error::root_cause(&e),
            })
        });
        Ok(body.boxed())
    }
}

impl Follow {
    async fn next(&mut self) -> Result<LogEvent, ClientError> {
        loop {
            match self.advance().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) => {
                    self.body = None;
                    self.parser = Parser::default();
                    self.client.ride_out(&mut self.outage, error).await?;
                }
            }
        }
    }

    /// Takes what has come, or reads more, or connects.
    async fn advance(&mut self) -> Result<Option<LogEvent>, ClientError> {
        if let Some(event) = self.parser.pop() {
            return self.understand(&event);
        }
        let Some(body) = &mut self.body else {
            self.body = Some(self.client.open_logs(self.id, self.from).await?);
            return Ok(None);
        };
        let url = || self.client.address().to_owned();
        let bytes = body.next().await.unwrap_or_else(|| {
            Err(ClientError::Unreachable { url: url(), reason: "the stream was closed".into() })
        })?;
        self.parser.push(&bytes).map_err(|e| self.client.protocol(&e))?;
        Ok(None)
    }

    fn understand(&mut self, event: &Event) -> Result<Option<LogEvent>, ClientError> {
        let wrong = |e: serde_json::Error| self.client.protocol(&e);
        match event.name.as_str() {
            "log" => {
                let line: LogLineView = serde_json::from_str(&event.data).map_err(wrong)?;
                self.client.recovered(&mut self.outage);
                let is_new = line.seq >= self.from;
                self.from = self.from.max(line.seq + 1);
                Ok(is_new.then_some(LogEvent::Line(line)))
            }
            "end" => {
                let run = serde_json::from_str(&event.data).map_err(wrong)?;
                self.client.recovered(&mut self.outage);
                Ok(Some(LogEvent::End(run)))
            }
            // The server could not go on, and says why.
            "problem" => {
                let problem = serde_json::from_str(&event.data).map_err(wrong)?;
                Err(ClientError::Problem(Box::new(problem)))
            }
            _ => Ok(None),
        }
    }
}
