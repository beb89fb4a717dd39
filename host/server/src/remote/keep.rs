//! Keeping the connection of a [`RemoteLink`](super::link::RemoteLink): it connects, introduces the
//! host with the leases that it has, hears what the server says, and begins again after a while when
//! the connection broke. Leases that cannot stand any more are given up without the server.

use super::connect::connect;
use super::frame::{self, Frame};
use super::link::{Happening, RemoteOptions, Shared, State};
use super::protocol::{
    ClockFrame, FRAME_MAX, HANDSHAKE, Hello, Lease, OfRun, Refusal, VERSIONS, Versions, Welcome,
    WorkFrame, kind,
};
use crate::clock;
use crate::dispatch::Timing;
use crate::link::{HandBack, News, Work};
use everstep_core::{RunId, Token};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

/// The pause after a connection broke, doubled each time that the next one does not come about.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// No server's heartbeat is shorter.
const SHORTEST: Duration = Duration::from_millis(10);

/// Keeps the connection, until it is dropped.
pub(super) async fn keep(shared: Arc<Shared>) {
    let connecting = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut welcomed = false;
            let Err(reason) = converse(&shared, &mut welcomed).await;
            shared.disconnected();
            (shared.options.observer)(Happening::Lost(&shared.options.server, &reason));
            pause = if welcomed { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            // A hundred hosts that lost one server do not come back all at once.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
        }
    };
    let watching = async {
        loop {
            let nap = shared.state().timing.heartbeat / 2;
            tokio::time::sleep(nap).await;
            shared.give_up_when_late();
        }
    };
    let ((), ()) = tokio::join!(connecting, watching);
}

/// One connection, from its beginning to its end. Returns why it ended.
async fn converse(shared: &Arc<Shared>, welcomed: &mut bool) -> Result<Infallible, String> {
    let (hearing, mut speaking) = tokio::io::split(connect(&shared.options.server).await?);
    let mut hearing = BufReader::new(hearing);
    let hello = frame::encode(kind::HELLO, 0, &shared.hello()).ok_or("too many leases")?;
    speaking.write_all(&hello).await.map_err(broken)?;
    speaking.flush().await.map_err(broken)?;
    let first = frame::read(&mut hearing, FRAME_MAX, HANDSHAKE).await.map_err(broken)?;
    let first = first.ok_or("the server closed the connection")?;
    if first.head.kind == kind::REFUSED {
        let Refusal { code, detail } = first.body().map_err(broken)?;
        return Err(format!("refused ({code}): {detail}"));
    }
    if first.head.kind != kind::WELCOME {
        return Err(format!("the server began with `{}`", first.head.kind));
    }
    let welcome: Welcome = first.body().map_err(broken)?;
    let chosen = Versions { oldest: welcome.version, newest: welcome.version };
    if VERSIONS.agree(chosen).is_none() {
        return Err(format!("the server chose version {chosen} of the protocol"));
    }
    *welcomed = true;
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let timing = shared.connected(&welcome, out);
    (shared.options.observer)(Happening::Connected(&shared.options.server, welcome.host));
    let listening = async {
        loop {
            match frame::read(&mut hearing, FRAME_MAX, timing.silence()).await.map_err(broken)? {
                Some(frame) => shared.hear(frame)?,
                None => return Err("the server closed the connection".to_owned()),
            }
        }
    };
    tokio::select! {
        ended = listening => ended,
        ended = frame::write_all(&mut speaking, &mut outgoing, timing.heartbeat) => {
            Err(ended.map_or_else(broken, |()| "the connection was closed".to_owned()))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped with it")]
fn broken(error: io::Error) -> String {
    error.to_string()
}

impl Shared {
    fn hello(&self) -> Hello {
        let state = self.state();
        let RemoteOptions { name, concurrency, pool, workflows, .. } = self.options.clone();
        Hello {
            versions: VERSIONS,
            identity: self.identity.clone(),
            name,
            program: env!("CARGO_PKG_VERSION").into(),
            concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
            pool,
            workflows,
            leases: state.leases.iter().map(|(&run, &token)| Lease { run, token }).collect(),
            report: state.report,
            clock_ms: clock::now().as_millis(),
        }
    }

    fn connected(&self, welcome: &Welcome, out: mpsc::UnboundedSender<bytes::Bytes>) -> Timing {
        let mut state = self.state();
        state.heard = Instant::now();
        self.clock.hear(welcome.clock_ms);
        state.timing = Timing {
            lease: Duration::from_millis(welcome.lease_ms).max(SHORTEST),
            heartbeat: Duration::from_millis(welcome.heartbeat_ms).max(SHORTEST),
        };
        for run in &welcome.lost {
            if let Some(token) = state.leases.get(run).copied() {
                self.lose(&mut state, *run, token);
            }
        }
        state.granted = 0;
        let timing = state.timing;
        // First everything that waits, then more work.
        self.pending.connected(out);
        if state.stopped {
            self.pending.tell(kind::STOP, &());
        }
        self.ask_for_work(&mut state);
        timing
    }

    fn disconnected(&self) {
        self.pending.disconnected();
        self.state().granted = 0;
    }

    /// Takes in what the server says.
    fn hear(self: &Arc<Self>, frame: Frame) -> Result<(), String> {
        let mut state = self.state();
        state.heard = Instant::now();
        match frame.head.kind.as_str() {
            kind::ANSWER => {
                drop(state);
                self.pending.answered(frame);
            }
            kind::WORK => {
                let WorkFrame { lease: Lease { run, token }, record } =
                    frame.body().map_err(broken)?;
                if state.granted == 0 {
                    return Err("the server sent more work than was asked for".into());
                }
                state.granted -= 1;
                state.leases.insert(run, token);
                if state.stopped {
                    let shared = Arc::clone(self);
                    tokio::spawn(async move { shared.hand_back(run, token, HandBack::Now).await });
                    return Ok(());
                }
                state.work.push_back(Work { run, token, record });
                self.work_bell.notify_one();
            }
            kind::MOVED => {
                let OfRun { run } = frame.body().map_err(broken)?;
                if state.leases.contains_key(&run) && !state.news.contains(&News::Moved(run)) {
                    state.news.push_back(News::Moved(run));
                    self.news_bell.notify_one();
                }
            }
            kind::LOST => {
                let Lease { run, token } = frame.body().map_err(broken)?;
                self.lose(&mut state, run, token);
            }
            kind::CLOCK => {
                let ClockFrame { clock_ms } = frame.body().map_err(broken)?;
                self.clock.hear(clock_ms);
            }
            // A ping, or something that this version does not know.
            _ => {}
        }
        Ok(())
    }

    /// The host does not have this run any more.
    pub(super) fn lose(&self, state: &mut State, run: RunId, token: Token) {
        if state.leases.get(&run) == Some(&token) {
            state.leases.remove(&run);
            state.work.retain(|work| work.token != token);
            state.news.push_back(News::Lost(run, token));
            self.news_bell.notify_one();
        }
    }

    /// When the server was not heard for long enough, every lease has ended.
    fn give_up_when_late(&self) {
        let mut state = self.state();
        if state.heard.elapsed() > state.timing.parting() {
            let all: Vec<_> = state.leases.iter().map(|(run, token)| (*run, *token)).collect();
            all.into_iter().for_each(|(run, token)| self.lose(&mut state, run, token));
        }
    }
}
