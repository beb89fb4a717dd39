//! An append-only ledger outside the system under test. Tasks of the example workflows post to it
//! what they do; it notes when that arrived. It is the witness of the crash tests.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use everstep_core::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Something that a task posted.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it arrived.
    pub at: Timestamp,
    /// What was posted.
    pub body: serde_json::Value,
}

/// A running ledger. It ends with the test process.
#[derive(Clone)]
pub struct Ledger {
    lines: Arc<Mutex<Vec<Line>>>,
    url: String,
}

impl Ledger {
    /// Starts a ledger on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(post(append)).with_state(Arc::clone(&lines));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { lines, url }
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
        self.lines.lock().unwrap().clone()
    }
}

async fn append(State(lines): State<Arc<Mutex<Vec<Line>>>>, body: String) -> &'static str {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let at = Timestamp::from_millis(u64::try_from(millis).unwrap());
    let body = serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body));
    lines.lock().unwrap().push(Line { at, body });
    "noted"
}
