//! A Redis of a test's own: a real process on a free port of the loopback interface, with its data in a
//! folder of its own. It ends with the value that stands for it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MISSING: &str = "there is no redis-server on PATH: apt-get install redis-server";

/// See the module.
#[derive(Debug)]
pub struct RedisProcess {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl RedisProcess {
    /// Starts one that has every write on disk before it answers.
    ///
    /// # Panics
    /// When there is no `redis-server`, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Somebody else may take the port between our asking and the server's listening.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = spawn(&folder, port);
            if answers(&mut process, port) {
                return Self { process, port, folder };
            }
        }
        panic!("redis-server does not start in {}", folder.path().display());
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it, and starts it again with what it has on disk.
    ///
    /// # Panics
    /// When it does not start again.
    pub fn crash(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.process = spawn(&self.folder, self.port);
        assert!(answers(&mut self.process, self.port), "redis-server does not start again");
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(folder: &TempDir, port: u16) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--port", &port.to_string()])
        .args(["--maxmemory-policy", "noeviction", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect(MISSING)
}

/// Waits until it takes connections and has read its data.
fn answers(process: &mut Child, port: u16) -> bool {
    use std::io::{Read, Write};
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = [0; 5];
            let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
            if asked.is_ok() && answer == *b"+PONG" {
                return true;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
