//! The server's side: what a host says over its connection is asked of a [`LocalLink`], what there
//! is for the host is sent to it.
//!
//! Invariant: a host gets no more runs than it has granted places, and the dispatcher lets none have
//! more than its concurrency; what it asks is bounded in number and size, and one that exceeds that is cut off.

use super::frame::{self, Frame};
use super::protocol::{
    Answer, Bytes as Piece, CHUNK, ClockFrame, FRAME_MAX, Grant, HANDSHAKE, HandBackFrame, Hello,
    JournalFrom, Lease, ModuleFrom, ModulePiece, OfRun, ProgressFrame, REQUESTS_MAX, Refusal,
    Renew, SendFrame, SnapshotFrame, Speaks, VERSIONS, Welcome, WorkFrame, kind,
};
use crate::clock;
use crate::dispatch::{Dispatch, Introduction, Seat, Timing, check_name, check_pool};
use crate::link::{HostLink, LinkError, LinkParts, LocalLink, News, Work};
use bytes::Bytes;
use everstep_core::{Commit, Digest};
use serde::Serialize;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// The most hosts at once.
const HOSTS_MAX: usize = 1_000;
/// The largest first word, in bytes: it lists the leases of the host.
const HELLO_MAX: usize = 16 << 20;
/// The most runs that one host drives at once.
const CONCURRENCY_MAX: u32 = 65_536;
/// The most workflows that a host may name.
const WORKFLOWS_MAX: usize = 1_000;
/// Answers with a piece of a journal or a module that are made for one host at once.
const READS_MAX: usize = 16;
/// Bytes of answers that wait to be written for one host at once; one answer is always allowed.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The unit in which they are counted.
const UNIT: usize = 1 << 10;
/// Clocks that differ by more are worth a warning, in milliseconds.
const SKEW_MS: u64 = 1_000;

/// What connections of hosts need.
pub(crate) struct Doorway {
    pub(crate) parts: LinkParts,
}

/// A frame that waits to be written, with its share of the room for answers.
struct Outgoing {
    frame: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// A host that has been taken in.
struct Guest {
    link: LocalLink,
    dispatch: Arc<Dispatch>,
    seat: Seat,
    heard: Arc<AtomicU64>,
    concurrency: usize,
    out: mpsc::UnboundedSender<Outgoing>,
    credits: Semaphore,
    requests: Arc<Semaphore>,
    reads: Semaphore,
    /// Bytes of answers that wait to be written.
    answers: Arc<Semaphore>,
    /// The module that is being sent.
    module: Mutex<Option<(Digest, Arc<Vec<u8>>)>>,
}

/// Serves a host over this stream until it goes, the connection breaks, or the server goes.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    doorway: Arc<Doorway>,
    address: Option<String>,
    mut draining: watch::Receiver<bool>,
) {
    let (hearing, mut speaking) = tokio::io::split(stream);
    let mut hearing = BufReader::new(hearing);
    let reading = frame::read(&mut hearing, HELLO_MAX, HANDSHAKE);
    // However slowly it comes.
    let Ok(first) = tokio::time::timeout(HANDSHAKE, reading).await else { return };
    let dispatch = &doorway.parts.dispatch;
    let admitted = match first {
        Ok(Some(first)) => admit(&first, address, dispatch),
        Ok(None) => return,
        Err(error) => Err(refused("host.invalid", error.to_string())),
    };
    let (hello, introduction) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::warn!(code = refusal.code, detail = refusal.detail, "a host was refused");
            let refused = frame::encode(kind::REFUSED, 0, &refusal).unwrap_or_default();
            // It may have gone already.
            let _ = speaking.write_all(&refused).await;
            let _ = speaking.shutdown().await;
            return;
        }
    };
    let (version, concurrency) = (introduction.protocol, introduction.concurrency);
    let leases: Vec<_> = hello.leases.iter().map(|lease| (lease.run, lease.token)).collect();
    let joined = dispatch.join(introduction, &leases);
    let (seat, timing) = (joined.seat, dispatch.timing());
    let host = seat.host.0;
    tracing::info!(host, name = hello.name, "a host is connected");
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let guest = Arc::new(Guest {
        link: LocalLink::new(doorway.parts.clone(), seat),
        dispatch: Arc::clone(dispatch),
        seat,
        heard: joined.heard,
        concurrency,
        out,
        credits: Semaphore::new(0),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        reads: Semaphore::new(READS_MAX),
        answers: Arc::new(Semaphore::new(ANSWER_BYTES_MAX / UNIT)),
        module: Mutex::default(),
    });
    guest.tell(kind::WELCOME, &welcome(version.unwrap_or_default(), host, timing, joined.lost));
    let ended = tokio::select! {
        ended = guest.listen(&mut hearing, timing.silence()) => ended,
        ended = frame::write_all(&mut speaking, &mut outgoing, timing.heartbeat) => ended,
        never = guest.hand_out() => match never {},
        never = guest.tell_the_time(timing.heartbeat) => match never {},
        never = guest.pass_news_on() => match never {},
        () = joined.superseded.notified() => Ok(()),
        _ = draining.wait_for(|draining| *draining) => Ok(()),
    };
    let patience = match &ended {
        // It has been waited for already.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Duration::ZERO,
        _ => timing.heartbeat,
    };
    dispatch.lose_touch(seat, patience);
    dispatch.expire_leases();
    match ended {
        Ok(()) => tracing::info!(host, "a host has gone"),
        Err(error) => tracing::warn!(host, %error, "a host was lost"),
    }
}

fn refused(code: &str, detail: String) -> Refusal {
    Refusal { code: code.into(), detail }
}

/// Checks how a host introduces itself. First of all its version: what one of another says besides
/// may have another shape.
fn admit(
    first: &Frame,
    address: Option<String>,
    dispatch: &Dispatch,
) -> Result<(Hello, Introduction), Refusal> {
    let invalid = |detail: String| refused("host.invalid", detail);
    if first.head.kind != kind::HELLO {
        return Err(invalid(format!("a host says `hello` first, and not `{}`", first.head.kind)));
    }
    let speaks: Speaks = first.body().map_err(|error| invalid(error.to_string()))?;
    let Some(version) = VERSIONS.agree(speaks.versions) else {
        let detail = format!(
            "the host speaks version {} of the protocol, the server {VERSIONS}; update the older",
            speaks.versions
        );
        return Err(refused("host.protocol", detail));
    };
    let hello: Hello = first.body().map_err(|error| invalid(error.to_string()))?;
    check_name(&hello.name, "a host").map_err(invalid)?;
    check_name(&hello.identity, "a process").map_err(invalid)?;
    if let Some(pool) = &hello.pool {
        check_pool(pool).map_err(invalid)?;
    }
    if hello.concurrency == 0 || hello.concurrency > CONCURRENCY_MAX {
        return Err(invalid(format!("a host drives 1 to {CONCURRENCY_MAX} runs at once")));
    }
    if hello.workflows.len() > WORKFLOWS_MAX {
        return Err(invalid(format!("a host names at most {WORKFLOWS_MAX} workflows")));
    }
    if dispatch.hosts().len() >= HOSTS_MAX {
        return Err(refused("host.too_many", format!("there are {HOSTS_MAX} hosts already")));
    }
    let skew = clock::now().as_millis().abs_diff(hello.clock_ms);
    if hello.clock_ms > 0 && skew > SKEW_MS {
        let name = &hello.name;
        tracing::warn!(name, skew_ms = skew, "the clock of a host differs; set both by NTP");
    }
    let introduction = Introduction {
        identity: hello.identity.clone(),
        name: hello.name.clone(),
        concurrency: hello.concurrency as usize,
        pool: hello.pool.clone(),
        workflows: hello.workflows.clone(),
        protocol: Some(version),
        address,
        report: hello.report,
    };
    Ok((hello, introduction))
}

fn welcome(version: u32, host: u64, timing: Timing, lost: Vec<everstep_core::RunId>) -> Welcome {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Welcome {
        version,
        host,
        heartbeat_ms: millis(timing.heartbeat),
        lease_ms: millis(timing.lease),
        lost,
        clock_ms: clock::now().as_millis(),
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Guest {
    fn tell(&self, kind: &str, what: &impl Serialize) {
        if let Some(frame) = frame::encode(kind, 0, what) {
            // When the connection has broken, whoever waits notices.
            let _ = self.out.send(Outgoing { frame, _room: None });
        }
    }

    /// Hosts go by the clock of their server.
    async fn tell_the_time(&self, every: Duration) -> Infallible {
        loop {
            tokio::time::sleep(every).await;
            self.tell(kind::CLOCK, &ClockFrame { clock_ms: clock::now().as_millis() });
        }
    }

    /// Hears what the host says.
    async fn listen(
        self: &Arc<Self>,
        hearing: &mut (impl AsyncRead + Unpin),
        silence: Duration,
    ) -> io::Result<()> {
        while let Some(frame) = frame::read(hearing, FRAME_MAX, silence).await? {
            self.heard.store(clock::now().as_millis(), Ordering::Relaxed);
            match frame.head.kind.as_str() {
                kind::GRANT => self.granted(&frame.body()?),
                kind::STOP => self.dispatch.stop_work(self.seat),
                kind::PROGRESS => {
                    let ProgressFrame { run, op, progress } = frame.body()?;
                    self.link.progress(run, op, progress).await;
                }
                kind::NOTE => {
                    // A newer host may have more to tell.
                    if let Ok(note) = frame.body() {
                        self.link.note(note);
                    }
                }
                _ if frame.head.id != 0 => self.ask(frame)?,
                // A ping, or something that this version does not know.
                _ => {}
            }
        }
        Ok(())
    }

    fn granted(&self, grant: &Grant) {
        let room = self.concurrency.saturating_sub(self.credits.available_permits());
        self.credits.add_permits(room.min(grant.slots as usize));
    }

    /// Answers a request. Nothing that comes behind it waits for that, and it is done to its end
    /// also when the connection breaks: were a commit dropped half-way, it could be durable and
    /// nobody told.
    fn ask(self: &Arc<Self>, frame: Frame) -> io::Result<()> {
        let place = Arc::clone(&self.requests).try_acquire_owned();
        let place = place.map_err(|_| broken("too many requests at once"))?;
        let guest = Arc::clone(self);
        tokio::spawn(async move {
            let is_read =
                matches!(frame.head.kind.as_str(), kind::JOURNAL | kind::MODULE | kind::SNAPSHOT);
            // Until there is room for the answer.
            let turn = if is_read { guest.reads.acquire().await.ok() } else { None };
            if let Some(answer) = guest.answer(frame).await {
                let units = u32::try_from(answer.len() / UNIT).unwrap_or(u32::MAX);
                let room = Arc::clone(&guest.answers).acquire_many_owned(units).await.ok();
                let _ = guest.out.send(Outgoing { frame: answer, _room: room });
            }
            drop((turn, place));
        });
        Ok(())
    }

    async fn answer(&self, frame: Frame) -> Option<Bytes> {
        let (id, size) = (frame.head.id, frame.len());
        let answered = match frame.head.kind.as_str() {
            kind::COMMIT => match frame.body::<Commit>() {
                Ok(commit) => reply(id, self.link.commit(commit).await),
                Err(error) => Err(error),
            },
            kind::RECORD => match frame.body() {
                Ok(OfRun { run }) => reply(id, self.link.record(run).await),
                Err(error) => Err(error),
            },
            kind::JOURNAL => match frame.body() {
                Ok(JournalFrom { run, from }) => reply(id, self.link.journal(run, from).await),
                Err(error) => Err(error),
            },
            kind::MODULE => match frame.body() {
                Ok(ModuleFrom { digest, offset }) => reply(id, self.module(digest, offset).await),
                Err(error) => Err(error),
            },
            kind::SNAPSHOT => match frame.body() {
                Ok(OfRun { run }) => reply(id, Ok(self.link.snapshot(run).await.map(Piece))),
                Err(error) => Err(error),
            },
            kind::PUT_SNAPSHOT => match frame.body() {
                Ok(SnapshotFrame { run, snapshot }) => {
                    self.link.put_snapshot(run, snapshot.map(|bytes| bytes.0)).await;
                    reply(id, Ok(()))
                }
                Err(error) => Err(error),
            },
            kind::SEND => match frame.body() {
                Ok(SendFrame { from, message }) => reply(id, self.link.send(from, message).await),
                Err(error) => Err(error),
            },
            kind::RENEW => match frame.body() {
                Ok(Renew { leases, report }) => {
                    let leases: Vec<_> = leases.iter().map(|it| (it.run, it.token)).collect();
                    reply(id, self.link.renew(&leases, report).await)
                }
                Err(error) => Err(error),
            },
            kind::HAND_BACK => match frame.body() {
                Ok(HandBackFrame { lease: Lease { run, token }, how }) => {
                    self.link.hand_back(run, token, how).await;
                    reply(id, Ok(()))
                }
                Err(error) => Err(error),
            },
            kind::GOODBYE => {
                self.link.leave().await;
                reply(id, Ok(()))
            }
            other => Err(broken(&format!("the server does not know `{other}`"))),
        };
        match answered {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(host = self.seat.host.0, size, %error, "a request cannot be answered");
                let refusal = Refusal { code: "invalid".into(), detail: error.to_string() };
                frame::encode(kind::ANSWER, id, &Answer::<()>::Refused(refusal))
            }
        }
    }

    /// A piece of a module. The store reads all of it at once, so it is kept until it is sent.
    async fn module(&self, digest: Digest, offset: u64) -> Result<ModulePiece, LinkError> {
        let kept = {
            let module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
            module.as_ref().filter(|(kept, _)| *kept == digest).map(|(_, bytes)| Arc::clone(bytes))
        };
        let bytes = match kept {
            Some(bytes) => bytes,
            None => Arc::new(self.link.module(digest).await?),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(CHUNK).min(bytes.len());
        let piece =
            ModulePiece { total: bytes.len() as u64, bytes: Piece(bytes[from..to].to_vec()) };
        let is_last = to == bytes.len();
        let mut module = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        *module = (!is_last).then_some((digest, bytes));
        Ok(piece)
    }

    /// Sends the host work for which it has places.
    async fn hand_out(&self) -> Infallible {
        loop {
            if let Ok(credit) = self.credits.acquire().await {
                credit.forget();
            }
            let Some(Work { run, token, record }) = self.link.next_work(1).await else {
                // It is stopping, or the server is. What it has goes on.
                return std::future::pending().await;
            };
            self.tell(kind::WORK, &WorkFrame { lease: Lease { run, token }, record });
        }
    }

    async fn pass_news_on(&self) -> Infallible {
        loop {
            match self.link.next_news().await {
                News::Moved(run) => self.tell(kind::MOVED, &OfRun { run }),
                News::Lost(run, token) => self.tell(kind::LOST, &Lease { run, token }),
            }
        }
    }
}

/// The answer to a request; one that is too large says that instead.
fn reply<T: Serialize>(id: u64, result: Result<T, LinkError>) -> io::Result<Option<Bytes>> {
    let answer = Answer::from(result);
    if let Some(frame) = frame::encode(kind::ANSWER, id, &answer) {
        return Ok(Some(frame));
    }
    let detail = format!("the answer has more than {FRAME_MAX} bytes");
    let refused = Answer::<()>::from(Err(LinkError::TooLarge(detail)));
    Ok(frame::encode(kind::ANSWER, id, &refused))
}
