//! The host's side against a server that does what the test says.
#![allow(clippy::unwrap_used)]

use super::frame::{self, Frame};
use super::protocol::{
    Answer, Bytes as Piece, FRAME_MAX, Grant, HandBackFrame, Hello, Lease, ModuleFrom, ModulePiece,
    OfRun, Refusal, VERSIONS, Welcome, kind,
};
use super::{Happening, RemoteLink, RemoteOptions, ServerAddress};
use crate::link::{HandBack, HostLink, LinkError, News, Work};
use everstep_core::{
    Digest, Limits, Payload, Record, Run, RunId, StartOptions, StartRequest, Timestamp, Token,
};
use serde::Serialize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server, before anybody connects.
struct Fake {
    listener: TcpListener,
    address: ServerAddress,
    happened: Arc<Mutex<Vec<String>>>,
}

/// One connection of the host.
struct Peer(TcpStream);

impl Fake {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let address = ServerAddress::parse(&address).unwrap();
        Self { listener, address, happened: Arc::default() }
    }

    fn link(&self) -> Arc<RemoteLink> {
        let happened = Arc::clone(&self.happened);
        let options = RemoteOptions {
            server: self.address.clone(),
            name: "a".into(),
            concurrency: 2,
            pool: Some("p".into()),
            workflows: vec!["w".into()],
            observer: Arc::new(move |happening| {
                happened.lock().unwrap().push(match happening {
                    Happening::Connected(_, host) => format!("host {host}"),
                    Happening::Lost(_, why) => why.to_owned(),
                });
            }),
        };
        Arc::new(RemoteLink::start(options, &Handle::current()))
    }

    /// Lets the host come as far as its first word.
    async fn accept(&self) -> (Peer, Hello) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap().to_lowercase();
        assert!(request.starts_with("get /v1/hosts/connect http/1.1\r\n"), "{request}");
        assert!(request.contains("upgrade: everstep-host\r\n"), "{request}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\n\
                      connection: upgrade\r\nupgrade: everstep-host\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut peer = Peer(stream);
        let hello = peer.next(kind::HELLO).await.body().unwrap();
        (peer, hello)
    }

    /// Takes the host in.
    async fn welcome(&self, lost: Vec<RunId>) -> (Peer, Hello) {
        let (mut peer, hello) = self.accept().await;
        let welcome = Welcome {
            version: 1,
            host: 7,
            heartbeat_ms: 10_000,
            lease_ms: 30_000,
            lost,
            clock_ms: 0,
        };
        peer.say(kind::WELCOME, 0, &welcome).await;
        (peer, hello)
    }

    /// Waits until this has happened to a connection.
    async fn happens(&self, what: &str) {
        for _ in 0..3_000 {
            if self.happened.lock().unwrap().iter().any(|said| said.contains(what)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("`{what}` did not happen: {:?}", self.happened.lock().unwrap());
    }
}

impl Peer {
    async fn say(&mut self, kind: &str, id: u64, body: &impl Serialize) {
        let frame = frame::encode(kind, id, body).unwrap();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn answer<T: Serialize>(&mut self, request: &Frame, answer: Answer<T>) {
        self.say(kind::ANSWER, request.head.id, &answer).await;
    }

    /// The next frame, which is of this kind.
    async fn next(&mut self, kind: &str) -> Frame {
        loop {
            let frame = frame::read(&mut self.0, FRAME_MAX, PATIENCE).await.unwrap().unwrap();
            if frame.head.kind != kind::PING || kind == kind::PING {
                assert_eq!(frame.head.kind, kind);
                return frame;
            }
        }
    }

    async fn ends(&mut self) {
        let ended = frame::read(&mut self.0, FRAME_MAX, PATIENCE).await;
        assert!(matches!(ended, Ok(None) | Err(_)), "{ended:?}");
    }
}

fn record(n: u8) -> Record {
    let request = StartRequest {
        id: RunId::from_bytes([n; 16]),
        workflow: "w".into(),
        version: "1".into(),
        digest: Digest::of(b""),
        engine: 1,
        limits: Limits::default(),
        input: Payload::null(),
        options: StartOptions::default(),
        due: None,
        parent: None,
    };
    Run::start(request, Timestamp::from_millis(5)).record
}

/// Work as a newer server sends it.
#[derive(Serialize)]
struct NewerWork {
    lease: Lease,
    record: Record,
    mood: &'static str,
    more: Vec<(u8, String)>,
}

fn work(n: u8, token: u64) -> NewerWork {
    let record = record(n);
    let lease = Lease { run: record.id(), token: Token(token) };
    NewerWork { lease, record, mood: "good", more: vec![(1, "x".into())] }
}

#[tokio::test]
async fn work_comes_as_it_is_asked_for_and_what_is_not_known_is_passed_over() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, hello) = fake.welcome(Vec::new()).await;
    assert_eq!((hello.versions, hello.concurrency), (VERSIONS, 2));
    assert_eq!((hello.pool.as_deref(), hello.workflows.len()), (Some("p"), 1));
    fake.happens("host 7").await;
    let asking = tokio::spawn({
        let link = Arc::clone(&link);
        async move { (link.next_work(2).await, link.next_work(1).await) }
    });
    assert_eq!(peer.next(kind::GRANT).await.body::<Grant>().unwrap().slots, 2);
    peer.say("weather", 0, &"sunny").await;
    peer.say("question", 99, &42).await;
    peer.say(kind::WORK, 0, &work(1, 11)).await;
    peer.say(kind::WORK, 0, &work(2, 12)).await;
    let (first, second) = asking.await.unwrap();
    let expected = |n: u8, token| {
        let record = record(n);
        Some(Work { run: record.id(), token: Token(token), record })
    };
    assert_eq!((first, second), (expected(1, 11), expected(2, 12)));
    // It has taken both. A third was not asked for.
    peer.say(kind::WORK, 0, &work(3, 13)).await;
    fake.happens("more work than was asked for").await;
    peer.ends().await;
}

#[tokio::test]
async fn what_was_not_answered_is_asked_again_with_the_leases_that_there_are() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, hello) = fake.welcome(Vec::new()).await;
    assert!(hello.leases.is_empty());
    let asking = tokio::spawn({
        let link = Arc::clone(&link);
        async move { (link.next_work(2).await.unwrap().run, link.next_work(1).await.unwrap().run) }
    });
    peer.next(kind::GRANT).await;
    peer.say(kind::WORK, 0, &work(1, 11)).await;
    peer.say(kind::WORK, 0, &work(2, 12)).await;
    let (kept, lost) = asking.await.unwrap();
    let reading = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.record(kept).await }
    });
    let request = peer.next(kind::RECORD).await;
    drop(peer);
    let (mut peer, hello) = fake.welcome(vec![lost]).await;
    let mut leases = hello.leases;
    leases.sort_unstable_by_key(|lease| lease.token);
    let lease = |run, token| Lease { run, token: Token(token) };
    assert_eq!(leases, [lease(kept, 11), lease(lost, 12)]);
    assert_eq!(link.next_news().await, News::Lost(lost, Token(12)));
    let again = peer.next(kind::RECORD).await;
    assert_eq!(again.head, request.head);
    peer.answer(&again, Answer::Done(Some(record(1)))).await;
    assert_eq!(reading.await.unwrap(), Ok(Some(record(1))));
    // A lease is given up only when the server knows why.
    let giving = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.hand_back(kept, Token(11), HandBack::Idle(None)).await }
    });
    peer.next(kind::HAND_BACK).await;
    drop(peer);
    let (mut peer, hello) = fake.welcome(Vec::new()).await;
    assert_eq!(hello.leases, [lease(kept, 11)]);
    let back = peer.next(kind::HAND_BACK).await;
    let frame: HandBackFrame = back.body().unwrap();
    assert_eq!((frame.lease, frame.how), (lease(kept, 11), HandBack::Idle(None)));
    peer.answer(&back, Answer::Done(())).await;
    giving.await.unwrap();
    drop(peer);
    let (_peer, hello) = fake.welcome(Vec::new()).await;
    assert!(hello.leases.is_empty());
}

#[tokio::test]
async fn a_module_comes_in_pieces_and_one_that_is_something_else_is_refused() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, _) = fake.welcome(Vec::new()).await;
    let bytes: Vec<u8> = (0..1_000).map(|n: u32| n.to_be_bytes()[3]).collect();
    let digest = Digest::of(&bytes);
    for damaged in [Some(700), None, Some(0)] {
        let fetching = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.module(digest).await }
        });
        for piece in [0..400, 400..800, 800..1_000] {
            let request = peer.next(kind::MODULE).await;
            let from: ModuleFrom = request.body().unwrap();
            assert_eq!((from.digest, from.offset), (digest, piece.start as u64));
            let mut sent = bytes.clone();
            if let Some(at) = damaged {
                sent[at] ^= 1;
            }
            let piece = ModulePiece { total: 1_000, bytes: Piece(sent[piece].to_vec()) };
            peer.answer(&request, Answer::Done(piece)).await;
        }
        match (damaged, fetching.await.unwrap()) {
            (None, Ok(fetched)) => assert_eq!(fetched, bytes),
            // The run is not to blame: it is tried again later.
            (Some(_), Err(LinkError::Unavailable(why))) => {
                assert!(why.contains("something else"), "{why}");
            }
            (_, other) => panic!("{damaged:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn refusals_keep_their_meaning_and_new_ones_may_pass() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, _) = fake.welcome(Vec::new()).await;
    let run = RunId::from_bytes([1; 16]);
    let text = || "why".to_owned();
    for (code, expected) in [
        ("conflict", LinkError::Conflict),
        ("lease_lost", LinkError::LeaseLost),
        ("corrupt", LinkError::Corrupt(text())),
        ("too_large", LinkError::TooLarge(text())),
        ("unavailable", LinkError::Unavailable(text())),
        ("moon_phase", LinkError::Unavailable(text())),
    ] {
        let asking = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.record(run).await }
        });
        let request = peer.next(kind::RECORD).await;
        let refusal = Refusal { code: code.into(), detail: text() };
        peer.answer(&request, Answer::<()>::Refused(refusal)).await;
        assert_eq!(asking.await.unwrap(), Err(expected), "{code}");
    }
}

#[tokio::test]
async fn a_server_of_another_version_is_tried_again_until_it_is_updated() {
    let fake = Fake::new().await;
    let _link = fake.link();
    let (mut peer, _) = fake.accept().await;
    let detail = "the server speaks version 9 of the protocol".to_owned();
    peer.say(kind::REFUSED, 0, &Refusal { code: "host.protocol".into(), detail }).await;
    fake.happens("refused (host.protocol): the server speaks version 9").await;
    let (mut peer, _) = fake.accept().await;
    let welcome = Welcome {
        version: 9,
        host: 1,
        heartbeat_ms: 1_000,
        lease_ms: 3_000,
        lost: Vec::new(),
        clock_ms: 0,
    };
    peer.say(kind::WELCOME, 0, &welcome).await;
    fake.happens("chose version 9").await;
    fake.welcome(Vec::new()).await;
    fake.happens("host 7").await;
}

#[tokio::test]
async fn a_silent_server_is_left_and_leases_that_cannot_stand_are_given_up() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, _) = fake.accept().await;
    let welcome = Welcome {
        version: 1,
        host: 7,
        heartbeat_ms: 300,
        lease_ms: 600_000,
        lost: Vec::new(),
        clock_ms: 0,
    };
    peer.say(kind::WELCOME, 0, &welcome).await;
    let asking = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.next_work(1).await }
    });
    peer.next(kind::GRANT).await;
    peer.say(kind::WORK, 0, &work(1, 11)).await;
    let taken = asking.await.unwrap().unwrap();
    // The host goes on saying that it is there.
    peer.next(kind::PING).await;
    fake.happens("nothing was heard").await;
    assert_eq!(link.next_news().await, News::Lost(taken.run, Token(11)));
    let (_peer, hello) = fake.welcome(Vec::new()).await;
    assert!(hello.leases.is_empty());
}

#[tokio::test]
async fn who_stops_hands_back_what_it_has_not_begun_and_says_goodbye() {
    let fake = Fake::new().await;
    let link = fake.link();
    let (mut peer, _) = fake.welcome(Vec::new()).await;
    let asking = tokio::spawn({
        let link = Arc::clone(&link);
        async move { (link.next_work(2).await.map(|work| work.run), link) }
    });
    peer.next(kind::GRANT).await;
    for (n, token) in [(1, 11), (2, 12)] {
        peer.say(kind::WORK, 0, &work(n, token)).await;
    }
    let (begun, link) = asking.await.unwrap();
    assert_eq!(begun, Some(record(1).id()));
    peer.say(kind::MOVED, 0, &OfRun { run: record(2).id() }).await;
    assert_eq!(link.next_news().await, News::Moved(record(2).id()), "the second is there, too");
    let stopping = tokio::spawn(async move {
        link.stop_work().await;
        let more = link.next_work(1).await;
        link.leave().await;
        more
    });
    peer.next(kind::STOP).await;
    let back = peer.next(kind::HAND_BACK).await;
    let frame: HandBackFrame = back.body().unwrap();
    assert_eq!((frame.lease.token, frame.how), (Token(12), HandBack::Now));
    peer.answer(&back, Answer::Done(())).await;
    let goodbye = peer.next(kind::GOODBYE).await;
    peer.answer(&goodbye, Answer::Done(())).await;
    assert_eq!(stopping.await.unwrap(), None);
}
