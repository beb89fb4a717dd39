//! An append-only ledger outside the system under test. Tasks of the example workflows post to it
//! what they do; it notes when that arrived. It is the witness of the crash tests.

use crate::runs::{completed, journal};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use everstep_client::{Client, RunId};
use everstep_core::{JournalEvent, Timestamp};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Something that a task posted.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// When it arrived.
    pub at: Timestamp,
    /// What was posted.
    pub body: serde_json::Value,
}

/// The time by the clock of the ledger.
///
/// # Panics
/// When the clock is before 1970.
#[must_use]
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Timestamp::from_millis(u64::try_from(millis).unwrap())
}

/// A running ledger. It ends with the test process.
#[derive(Clone)]
pub struct Ledger {
    pages: Arc<Pages>,
    url: String,
}

#[derive(Default)]
struct Pages {
    lines: Mutex<Vec<Line>>,
    held: AtomicBool,
}

impl Ledger {
    /// Starts a ledger on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let pages = Arc::new(Pages::default());
        let router = Router::new().fallback(post(append)).with_state(Arc::clone(&pages));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { pages, url }
    }

    /// Where to post.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that was posted so far.
    ///
    /// # Panics
    /// When a handler panicked.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.pages.lines.lock().unwrap().clone()
    }

    /// Waits until runs of the example `crash` have completed, and compares what they did with their
    /// journals: every result that is recorded was seen here at the end of an attempt, no task began after
    /// its result was recorded, and the output of the run is made of these results. Returns how many
    /// results each has.
    ///
    /// # Panics
    /// When something is not so.
    pub async fn check(&self, client: &Client, runs: &[RunId]) -> Vec<usize> {
        for run in runs {
            completed(client, *run).await;
        }
        let mut lines: HashMap<String, Vec<Line>> = HashMap::new();
        for line in self.lines() {
            let token = line.body["token"].as_str().unwrap().to_owned();
            lines.entry(token).or_default().push(line);
        }
        let mut counts = Vec::new();
        for run in runs {
            let mut recorded = Vec::new();
            for view in journal(client, *run).await {
                let JournalEvent::TaskCompleted { op, output, .. } = view.entry.event else {
                    continue;
                };
                let (token, value) = (format!("{run}/{op}"), output.read::<Value>().unwrap());
                // The clock of a host may be a little behind, so what was in front of the end does not count.
                let mut after = lines[&token].iter().skip_while(|line| line.body["value"] != value);
                assert!(after.next().is_some(), "{token}: {value} was seen by nobody");
                let late = after.find(|it| it.body["phase"] == "begin" && it.at > view.entry.at);
                assert!(
                    late.is_none(),
                    "{token} began again after its result was recorded: {late:?}"
                );
                recorded.push(value);
            }
            let output = completed(client, *run).await;
            assert_eq!(output["values"], Value::Array(recorded.clone()), "{run}");
            counts.push(recorded.len());
        }
        counts
    }

    /// Whether to leave those who post waiting for the answer; what they post is noted still.
    pub fn hold(&self, hold: bool) {
        self.pages.held.store(hold, Ordering::SeqCst);
    }

    /// Waits until so many lines have been posted.
    ///
    /// # Panics
    /// When that takes a minute.
    pub async fn has(&self, count: usize) {
        for _ in 0..6_000 {
            if self.lines().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the ledger has {} lines only", self.lines().len());
    }
}

async fn append(State(pages): State<Arc<Pages>>, body: String) -> &'static str {
    let at = now();
    let body = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
    pages.lines.lock().unwrap().push(Line { at, body });
    while pages.held.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    "noted"
}
