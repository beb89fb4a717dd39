//! The door for hosts, at which a host stands that does what the test says: another version, more
//! than it may, fields of the future. It writes its frames itself.

use crate::fixture::Fixture;
use everstep_core::api::HostList;
use everstep_core::{Commit, RunId, Token};
use everstep_server::link::{HandBack, LinkError, Report};
use everstep_server::remote::protocol::{
    Answer, Grant, HandBackFrame, Head, Hello, Lease, ModuleFrom, ModulePiece, OfRun, Refusal,
    Renew, VERSIONS, Versions, Welcome, WorkFrame, kind,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Host {
    stream: TcpStream,
    last_id: u64,
}

/// What came: its head and its body.
type Frame = (Head, Vec<u8>);

fn body<T: DeserializeOwned>((head, body): &Frame) -> T {
    rmp_serde::from_slice(body).unwrap_or_else(|e| panic!("{head:?}: {e}"))
}

fn hello(identity: &str) -> Hello {
    Hello {
        versions: VERSIONS,
        identity: identity.into(),
        name: format!("host-{identity}"),
        program: String::new(),
        concurrency: 2,
        pool: None,
        workflows: Vec::new(),
        leases: Vec::new(),
        report: Report::default(),
        clock_ms: 0,
    }
}

impl Host {
    /// Asks for the upgrade.
    async fn knock(fixture: &Fixture) -> Self {
        let address = fixture.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /v1/hosts/connect HTTP/1.1\r\nhost: x\r\n\
                       connection: upgrade\r\nupgrade: everstep-host\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        Self { stream, last_id: 0 }
    }

    /// Comes in.
    async fn join(fixture: &Fixture, hello: &impl Serialize) -> (Self, Welcome) {
        let mut host = Self::knock(fixture).await;
        host.say(kind::HELLO, 0, hello).await;
        let welcome = body(&host.next(kind::WELCOME).await);
        (host, welcome)
    }

    async fn say(&mut self, kind: &str, id: u64, what: &impl Serialize) {
        let mut frame = rmp_serde::to_vec_named(&Head { kind: kind.into(), id }).unwrap();
        frame.extend(rmp_serde::to_vec_named(what).unwrap());
        self.stream.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn next(&mut self, kind: &str) -> Frame {
        let frame = self.next_of_any_kind().await;
        assert_eq!(frame.0.kind, kind);
        frame
    }

    async fn next_of_any_kind(&mut self) -> Frame {
        loop {
            let length = self.stream.read_u32().await.unwrap();
            let mut bytes = vec![0; length as usize];
            self.stream.read_exact(&mut bytes).await.unwrap();
            let mut rest = bytes.as_slice();
            let head: Head = rmp_serde::from_read(&mut rest).unwrap();
            if head.kind != kind::PING {
                return (head, rest.to_vec());
            }
        }
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        kind: &str,
        what: &impl Serialize,
    ) -> Result<T, LinkError> {
        self.last_id += 1;
        self.say(kind, self.last_id, what).await;
        let answer = self.next(kind::ANSWER).await;
        assert_eq!(answer.0.id, self.last_id);
        body::<Answer<T>>(&answer).into()
    }

    async fn work(&mut self) -> WorkFrame {
        body(&self.next(kind::WORK).await)
    }

    /// Whether the server has nothing to say. Asked of something that it answers at once.
    async fn hears_nothing(&mut self) -> bool {
        self.ask::<bool>("anything?", &()).await.is_err()
    }

    async fn ends(&mut self) {
        let mut byte = [0];
        assert!(matches!(self.stream.read(&mut byte).await, Ok(0) | Err(_)), "it goes on");
    }
}

async fn refused(fixture: &Fixture, hello: &impl Serialize) -> Refusal {
    let mut host = Host::knock(fixture).await;
    host.say(kind::HELLO, 0, hello).await;
    let refusal = body(&host.next(kind::REFUSED).await);
    host.ends().await;
    refusal
}

#[tokio::test]
async fn versions_are_agreed_on_or_the_host_is_told_why_not() {
    let fixture = Fixture::new().await;
    let of = |oldest, newest| Hello { versions: Versions { oldest, newest }, ..hello("a") };
    for (oldest, newest) in [(1, 1), (0, 1), (1, 2), (0, 9)] {
        let (_host, welcome) = Host::join(&fixture, &of(oldest, newest)).await;
        assert_eq!(welcome.version, 1, "{oldest} to {newest}");
    }
    for (oldest, newest) in [(0, 0), (2, 3)] {
        let refusal = refused(&fixture, &of(oldest, newest)).await;
        assert_eq!(refusal.code, "host.protocol");
        assert!(refusal.detail.contains("the server 1;"), "{}", refusal.detail);
    }
    // What else a host of the future says may have any shape.
    let future = json!({"versions": {"oldest": 7, "newest": 9}, "identity": {"of": ["another"]}});
    assert_eq!(refused(&fixture, &future).await.code, "host.protocol");
}

#[tokio::test]
async fn who_introduces_himself_badly_is_refused() {
    let fixture = Fixture::new().await;
    for wrong in [
        Hello { concurrency: 0, ..hello("a") },
        Hello { name: "a b".into(), ..hello("a") },
        Hello { name: String::new(), ..hello("a") },
        Hello { pool: Some("x,y".into()), ..hello("a") },
        Hello { workflows: vec!["w".into(); 1_001], ..hello("a") },
    ] {
        assert_eq!(refused(&fixture, &wrong).await.code, "host.invalid", "{wrong:?}");
    }
    assert_eq!(refused(&fixture, &json!({"versions": 7})).await.code, "host.invalid");
    let hosts: HostList = fixture.get("/v1/hosts").await.good();
    assert_eq!(hosts.hosts.len(), 1, "only the one of the fixture");
    fixture.get("/v1/hosts/connect").await.problem(400, "request.invalid");
    let mut host = Host::knock(&fixture).await;
    host.stream.write_all(&[0xff; 8]).await.unwrap();
    assert_eq!(body::<Refusal>(&host.next(kind::REFUSED).await).code, "host.invalid");
}

#[tokio::test]
async fn a_newer_host_may_say_more_than_the_server_knows() {
    let fixture = Fixture::new().await;
    let newer = json!({
        "versions": {"oldest": 1, "newest": 3, "preferred": 2},
        "identity": "n", "name": "newer", "concurrency": 1, "mood": ["good", {"very": true}],
    });
    let (mut host, _) = Host::join(&fixture, &newer).await;
    host.say("weather", 0, &json!({"sun": true})).await;
    let unknown = host.ask::<bool>("weather", &json!({"sun": true})).await.unwrap_err();
    assert!(unknown.to_string().contains("does not know `weather`"), "{unknown}");
    let run = fixture.run().await;
    host.say(kind::GRANT, 0, &json!({"slots": 1, "colour": "red"})).await;
    assert_eq!(host.work().await.lease.run, run);
    let hosts: HostList = fixture.get("/v1/hosts").await.good();
    let listed = hosts.hosts.iter().find(|host| host.name == "newer").unwrap();
    assert_eq!((listed.leases, listed.free, listed.protocol), (1, 0, Some(1)));
}

#[tokio::test]
async fn a_host_gets_what_it_granted_places_for_and_never_more_than_it_drives() {
    let fixture = Fixture::new().await;
    let (mut host, _) = Host::join(&fixture, &hello("a")).await;
    for _ in 0..4 {
        fixture.run().await;
    }
    assert!(host.hears_nothing().await, "it has granted nothing");
    host.say(kind::GRANT, 0, &Grant { slots: 1 }).await;
    let first = host.work().await;
    assert!(host.hears_nothing().await);
    host.say(kind::GRANT, 0, &Grant { slots: 100 }).await;
    let second = host.work().await;
    assert!(host.hears_nothing().await, "its concurrency is 2, whatever it grants");
    assert_eq!(fixture.dispatch.counts(), (2, 2));
    let how = HandBack::Later(Duration::from_secs(60));
    host.say(kind::HAND_BACK, 77, &HandBackFrame { lease: first.lease, how }).await;
    let (one, other) = (host.next_of_any_kind().await, host.next_of_any_kind().await);
    let mut kinds = [one.0.kind.as_str(), other.0.kind.as_str()];
    kinds.sort_unstable();
    assert_eq!(kinds, [kind::ANSWER, kind::WORK], "there is a place again");
    assert!(fixture.dispatch.holds(second.lease.run, second.lease.token));
    assert_eq!(fixture.dispatch.counts(), (1, 2));
}

#[tokio::test]
async fn only_who_has_the_lease_can_write() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let (mut host, _) = Host::join(&fixture, &hello("a")).await;
    host.say(kind::GRANT, 0, &Grant { slots: 1 }).await;
    let WorkFrame { lease, record } = host.work().await;
    assert_eq!((lease.run, record.length), (run, 1));
    let under = |token| Commit {
        expected_length: record.length,
        token,
        entries: Vec::new(),
        logs: Vec::new(),
        record: record.clone(),
        references: Vec::new(),
    };
    for token in [None, Some(Token(lease.token.0 - 1)), Some(Token(lease.token.0 + 1))] {
        let refused = host.ask::<()>(kind::COMMIT, &under(token)).await;
        assert_eq!(refused, Err(LinkError::LeaseLost), "{token:?}");
    }
    let commit = under(Some(lease.token));
    host.ask::<()>(kind::COMMIT, &commit).await.unwrap();
    let moved_on = Commit { expected_length: 9, ..commit.clone() };
    let conflict = host.ask::<()>(kind::COMMIT, &moved_on).await;
    assert!(matches!(conflict, Err(LinkError::Conflict | LinkError::Unavailable(_))));
    let renew = |token| Renew { leases: vec![Lease { run, token }], report: Report { replays: 3 } };
    let renewed = host.ask::<Vec<RunId>>(kind::RENEW, &renew(lease.token)).await;
    assert_eq!(renewed, Ok(Vec::new()));
    assert_eq!(host.ask::<Vec<RunId>>(kind::RENEW, &renew(Token(99))).await, Ok(vec![run]));
    assert!(fixture.dispatch.hosts().iter().any(|host| host.replays == 3));
    // It hears of what happens to its run, and that it has it no longer.
    fixture.post_json(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    assert_eq!(body::<OfRun>(&host.next(kind::MOVED).await).run, run);
    host.ask::<()>(kind::GOODBYE, &()).await.unwrap();
    assert_eq!(fixture.dispatch.counts(), (1, 0), "at once");
    assert_eq!(host.ask::<()>(kind::COMMIT, &commit).await, Err(LinkError::LeaseLost));
}

#[tokio::test]
async fn who_comes_back_is_told_what_it_has_no_more_and_takes_the_place_of_its_old_self() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let (mut host, first) = Host::join(&fixture, &hello("a")).await;
    host.say(kind::GRANT, 0, &Grant { slots: 1 }).await;
    let lease = host.work().await.lease;
    let other = Lease { run: RunId::from_bytes([9; 16]), token: Token(5) };
    let back = Hello { leases: vec![lease, other], ..hello("a") };
    let (mut again, second) = Host::join(&fixture, &back).await;
    assert_eq!((second.host, second.lost), (first.host, vec![other.run]));
    assert_eq!(body::<OfRun>(&again.next(kind::MOVED).await).run, run, "it may have missed it");
    host.ends().await;
    assert!(fixture.dispatch.holds(run, lease.token));
    // One that has forgotten what it has gets it no longer.
    let (_third, _) = Host::join(&fixture, &hello("a")).await;
    assert_eq!(fixture.dispatch.counts(), (1, 0));
}

#[tokio::test]
async fn modules_come_in_pieces_and_what_is_not_there_is_said() {
    let fixture = Fixture::new().await;
    fixture.run().await;
    let module = fixture.store.modules().await.unwrap().remove(0);
    let bytes = fixture.store.module_bytes(module.digest).await.unwrap().unwrap();
    let (mut host, _) = Host::join(&fixture, &hello("a")).await;
    let from = |offset| ModuleFrom { digest: module.digest, offset };
    let piece: ModulePiece = host.ask(kind::MODULE, &from(0)).await.unwrap();
    assert_eq!((piece.total, &piece.bytes.0), (bytes.len() as u64, &bytes));
    let piece: ModulePiece = host.ask(kind::MODULE, &from(100)).await.unwrap();
    assert_eq!(piece.bytes.0, bytes[100..]);
    let piece: ModulePiece = host.ask(kind::MODULE, &from(u64::MAX)).await.unwrap();
    assert!(piece.bytes.0.is_empty());
    let none = ModuleFrom { digest: everstep_core::Digest::of(b"none"), offset: 0 };
    let missing = host.ask::<ModulePiece>(kind::MODULE, &none).await;
    assert!(matches!(missing, Err(LinkError::Corrupt(_))), "{missing:?}");
    let wrong = host.ask::<()>(kind::COMMIT, &json!({"nonsense": true})).await;
    assert!(matches!(wrong, Err(LinkError::Unavailable(_))), "{wrong:?}");
}

#[tokio::test]
async fn who_asks_too_much_is_cut_off() {
    let fixture = Fixture::new().await;
    let (mut host, _) = Host::join(&fixture, &hello("a")).await;
    host.stream.write_u32(u32::MAX).await.unwrap();
    host.ends().await;
}

#[tokio::test]
async fn a_server_that_goes_lets_its_hosts_go() {
    let fixture = Fixture::new().await;
    let (mut host, _) = Host::join(&fixture, &hello("a")).await;
    fixture.draining.send_replace(true);
    host.ends().await;
}
