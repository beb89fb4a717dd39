//! Redis servers for tests: real processes on free ports of the loopback interface, with their data in
//! a directory of their own. They end with the value that stands for them, also when a test panics.

use super::options;
use crate::RedisOptions;
use redis::{Client, Value, from_redis_value};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MISSING: &str = "there is no redis-server on PATH: apt-get install redis-server";

/// How long a server may take to start; a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    process: Option<Child>,
    pub(crate) port: u16,
    directory: TempDir,
    settings: Vec<String>,
}

impl Server {
    /// Starts one that loses nothing, with further settings.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    /// The same, with files that its settings name.
    pub(crate) async fn start_in(directory: TempDir, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|it| (*it).to_owned()).collect();
        let mut server = Self { process: None, port: 0, directory, settings };
        // Somebody else may take the port between our asking and the server's listening.
        for _ in 0..5 {
            server.port = free_port();
            if server.spawn().await {
                return server;
            }
        }
        let log = std::fs::read_to_string(server.path().join("log"));
        panic!("redis-server does not start: {}", log.unwrap_or_default());
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn options(&self) -> RedisOptions {
        options(&self.url())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again with the data that it has.
    pub(crate) async fn restart(&mut self) {
        assert!(self.spawn().await, "the server does not start again");
    }

    /// Something that Redis itself is asked, besides the store.
    pub(crate) async fn ask(&self, words: &[&str]) -> Value {
        self.try_ask(words).await.unwrap()
    }

    /// Waits until it answers something with this in it.
    pub(crate) async fn until(&self, question: &str, answer: &str) {
        let words: Vec<&str> = question.split(' ').collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It may be loading, or not be asked at this moment.
            let text =
                self.try_ask(&words).await.and_then(|it| Ok(from_redis_value::<String>(it)?));
            match text {
                Ok(text) if text.contains(answer) => return,
                other => assert!(Instant::now() < deadline, "{question}: no {answer} in {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it without ending it (`STOP`), or lets it go on (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
        assert!(status.success());
    }

    async fn try_ask(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let client = Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }

    async fn spawn(&mut self) -> bool {
        let log = std::fs::File::create(self.path().join("log")).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.arg("--dir").arg(self.path()).args(&self.settings);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().expect(MISSING));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let ended = self.process.as_mut().is_some_and(|it| it.try_wait().unwrap().is_some());
            if ended {
                return false;
            }
            match self.try_ask(&["PING"]).await {
                Ok(_) => return true,
                // It wants a password, or TLS: it is there.
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody listens to at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
