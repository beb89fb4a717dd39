//! `everstep server`: the API, the timers and a host in this process, until it is told to stop.
//! `dev` starts its server with the same parts.

use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::output::Output;
use crate::store_at::StoreAt;
use everstep_server::remote::ServerAddress;
use everstep_server::{
    HostOptions, RetentionOptions, Secrets, SelfCheckOptions, Server, ServerError, ServerOptions,
    Timing,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Programs that started this one may pass a signal on which came to it directly, too; that is not
/// somebody losing patience.
const ECHO: Duration = Duration::from_millis(500);

/// Run the server, and a host in the same process.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM or Ctrl-C ends it gracefully; a second one at once. EVERSTEP_LOG says how much is logged \
on stderr (warn, info, debug, everstep_server=trace).

Examples:
  everstep server
  everstep server --listen 0.0.0.0:9090 --store /var/lib/everstep
  everstep server --listen 127.0.0.1:0 --json
  everstep server --secret MAIL_TOKEN --secret STRIPE_KEY=@/run/secrets/stripe
  everstep server --audit --self-check 10s
  everstep server --store 'redis://127.0.0.1:6379?namespace=flows'
  everstep server --store 'redis://10.0.0.9:6379' --listen 0.0.0.0:9090 --advertise http://10.0.0.5:9090
  everstep server --retention 90d --retention-workflow ping=1d --retention-export /var/lib/everstep/old")]
pub(crate) struct Args {
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Where everything is kept: a folder, or redis://HOST:PORT for a Redis
    #[arg(long, default_value = ".everstep/data", value_name = "PATH|URL")]
    store: String,
    /// Where compiled modules are kept when the store is a Redis: a folder
    #[arg(long, default_value = ".everstep/server", value_name = "PATH")]
    data: PathBuf,
    /// Where other servers on the same Redis reach this one; else where it listens, by the name of the
    /// machine if that is anywhere
    #[arg(long, value_name = "URL", value_parser = parse_address)]
    advertise: Option<String>,
    /// Leave the execution of runs to other processes
    #[arg(long)]
    no_host: bool,
    /// How many runs are executed at once (sleeping ones do not count)
    #[arg(long, value_name = "N", conflicts_with = "no_host")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16_384))]
    concurrency: Option<u32>,
    /// A secret for tasks that ask for it: from a file, or from the variable of that name (repeat
    /// for more)
    #[arg(long = "secret", value_name = "NAME[=@FILE]", value_parser = parse_secret)]
    secrets: Vec<Secret>,
    /// How long a host may have a run without being heard of; else three heartbeats
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    lease: Option<Duration>,
    /// How often hosts and server let each other hear of them; else 5s, or a third of the lease
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    heartbeat: Option<Duration>,
    #[command(flatten)]
    memory: Memory,
    /// How often a finished run is executed again and compared, or `never`
    #[arg(long, value_name = "DURATION|never", default_value = "1m", value_parser = parse_kept)]
    self_check: Kept,
    #[command(flatten)]
    retention: Retention,
}

fn parse_address(text: &str) -> Result<String, String> {
    ServerAddress::parse(text).map(|address| address.to_string())
}

/// A secret's name and value.
pub(super) type Secret = (String, String);

/// A secret is not typed: a command line can be seen by everybody on the machine.
pub(super) fn parse_secret(text: &str) -> Result<Secret, String> {
    let value = match text.split_once('=') {
        None => std::env::var(text).map_err(|_| format!("there is no variable `{text}`"))?,
        Some((_, file)) => {
            let file = file.strip_prefix('@').ok_or("write NAME=@FILE, or NAME for a variable")?;
            let value = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
            value.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    Ok((name.to_owned(), value))
}

/// What a host does with the memory of its guests.
#[derive(Debug, clap::Args)]
pub(super) struct Memory {
    /// Record in the journals a hash of what each activation leaves of its guest; replays compare it
    #[arg(long)]
    audit: bool,
    /// The part of the time of activations that memory snapshots may take; 0 takes none
    #[arg(long, value_name = "0..1", default_value = "0.05", value_parser = parse_share)]
    snapshot_share: f64,
    /// The megabytes of memory snapshots that may be written in a second, on average
    #[arg(long, value_name = "MB", default_value_t = 32)]
    snapshot_mb: u64,
}

impl Memory {
    pub(super) fn apply(&self, host: &mut HostOptions) {
        host.audit = self.audit;
        host.snapshot_share = self.snapshot_share;
        host.snapshot_bytes = self.snapshot_mb.saturating_mul(1_000_000);
    }
}

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is no number between 0 and 1".into()),
    }
}

/// What becomes of runs that have ended.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Retention")]
struct Retention {
    /// How long runs are kept after their end, or `never` to remove none
    #[arg(long, value_name = "DURATION|never", default_value = "30d", value_parser = parse_kept)]
    retention: Kept,
    /// The same for one workflow (repeat for more)
    #[arg(long, value_name = "NAME=DURATION|never", value_parser = parse_kept_of)]
    retention_workflow: Vec<(String, Kept)>,
    /// A folder to which runs are written as JSON lines before they are removed, a file per day
    #[arg(long, value_name = "FOLDER")]
    retention_export: Option<PathBuf>,
}

/// A duration, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept(Option<Duration>);

fn parse_kept(text: &str) -> Result<Kept, String> {
    match text {
        "never" => Ok(Kept(None)),
        text => durations::parse(text).map(|kept| Kept(Some(kept))),
    }
}

fn parse_kept_of(text: &str) -> Result<(String, Kept), String> {
    match text.rsplit_once('=') {
        Some((name, kept)) if !name.is_empty() => Ok((name.to_owned(), parse_kept(kept)?)),
        _ => Err(format!("`{text}` is not of the form NAME=DURATION")),
    }
}

impl Retention {
    fn options(self) -> RetentionOptions {
        let of_workflows = self.retention_workflow.into_iter();
        RetentionOptions {
            keep: self.retention.0,
            workflows: of_workflows.map(|(name, kept)| (name, kept.0)).collect(),
            export: self.retention_export,
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let output = &context.output;
    let mut options = ServerOptions::new(args.listen, args.data);
    match StoreAt::parse(&args.store)? {
        StoreAt::Folder(folder) => options.data = folder,
        StoreAt::Redis(redis) => options.redis = Some(*redis),
    }
    options.advertise = args.advertise;
    options.host = (!args.no_host).then(|| {
        let mut host = HostOptions::default();
        if let Some(concurrency) = args.concurrency {
            host.concurrency = concurrency as usize;
        }
        args.memory.apply(&mut host);
        host
    });
    options.timing = timing(args.lease, args.heartbeat)?;
    options.retention = args.retention.options();
    options.self_check = SelfCheckOptions { every: args.self_check.0 };
    options.secrets = Secrets::new(args.secrets.into_iter().collect());
    log_to_stderr(output);
    outlive_file_limits()?;
    let server = start(options).await?;
    let url = url(&server);
    if output.is_json() {
        output.value(&serde_json::json!({ "listen": url }))?;
    }
    output.note(&format!("listening on {url}"));
    stop_signal().await?;
    shut_down(output, server).await
}

/// Starts a server, and says what to do when it does not start.
pub(super) async fn start(options: ServerOptions) -> Result<Server, Failure> {
    Server::start(options).await.map_err(|error| {
        let failure = Failure::new(error.code(), error.to_string());
        match (&error, error.code()) {
            (ServerError::Listen { .. }, _) => {
                failure.fix("stop whatever listens there, or choose another address with --listen")
            }
            (_, "store.in_use") => {
                failure.fix("stop the other server, or choose another folder with --store")
            }
            (_, "store.format") => failure.fix("start it with the version that wrote it, or newer"),
            (_, "store.foreign") => failure.fix("choose another folder with --store"),
            (_, "store.unavailable" | "store.unfit") => {
                failure.fix("look at the Redis; docs/redis.md says what it has to be like")
            }
            _ => failure.fix("`everstep doctor` checks this machine"),
        }
    })
}

/// Where clients of this machine reach the server.
pub(super) fn url(server: &Server) -> String {
    let mut address = server.local_addr();
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    format!("http://{address}")
}

/// The shortest heartbeat.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);

/// How long leases last and how often they are renewed: what is not said follows from the other.
fn timing(lease: Option<Duration>, heartbeat: Option<Duration>) -> Result<Timing, Failure> {
    let usual = Timing::default();
    let timing = match (lease, heartbeat) {
        (None, None) => usual,
        (Some(lease), None) => Timing { lease, heartbeat: lease / 3 },
        (None, Some(heartbeat)) => Timing { lease: heartbeat.saturating_mul(3), heartbeat },
        (Some(lease), Some(heartbeat)) => Timing { lease, heartbeat },
    };
    if timing.heartbeat < SHORTEST_HEARTBEAT || timing.heartbeat.saturating_mul(2) > timing.lease {
        let Timing { lease, heartbeat } = timing;
        let (lease, heartbeat) = (durations::short(lease), durations::short(heartbeat));
        let why = format!("a lease of {lease} and a heartbeat of {heartbeat} do not go together");
        return Err(Failure::usage("option.invalid", why).fix(
            "let the lease be at least two heartbeats, better three, and a heartbeat at least 100ms",
        ));
    }
    Ok(timing)
}

/// Ends the server gracefully, unless a second signal comes.
pub(super) async fn shut_down(output: &Output, server: Server) -> Ended {
    output.note("shutting down; once more stops at once");
    unless_impatient(server.shutdown()).await.map(|()| Exit::Done)
}

/// Waits for the end, unless a second signal comes.
pub(super) async fn unless_impatient(ending: impl Future<Output = ()>) -> Result<(), Failure> {
    let again = async {
        tokio::time::sleep(ECHO).await;
        stop_signal().await
    };
    tokio::select! {
        () = ending => Ok(()),
        signal = again => {
            signal?;
            Err(Failure::new("server.interrupted", "stopped before everything had ended"))
        }
    }
}

/// Has writes that exceed a limit on the size of files fail like those on a full disk, instead of
/// ending the process.
fn outlive_file_limits() -> Result<(), Failure> {
    listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::new("system.signals", format!("no signals: {e}")))
}

/// Returns when the process is asked to stop.
pub(super) async fn stop_signal() -> Result<(), Failure> {
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Sends the server's log to stderr.
pub(super) fn log_to_stderr(output: &Output) {
    let filter = EnvFilter::try_from_env("EVERSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber is refused, which leaves the first in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output.has_colour())
        .try_init();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn retention_is_a_duration_or_never() {
        assert_eq!(parse_kept("never"), Ok(Kept(None)));
        assert_eq!(parse_kept("2d"), Ok(Kept(Some(Duration::from_secs(172_800)))));
        let (name, kept) = parse_kept_of("a=b=1h").unwrap();
        assert_eq!((name.as_str(), kept), ("a=b", Kept(Some(Duration::from_secs(3_600)))));
        assert!(parse_kept("always").unwrap_err().contains("not a duration"));
        assert!(parse_kept_of("=1h").unwrap_err().contains("NAME=DURATION"));
    }

    #[test]
    fn lease_and_heartbeat_go_together() {
        let (second, whole) = (Duration::from_secs(1), |s| Some(Duration::from_secs(s)));
        assert_eq!(timing(None, None).unwrap(), Timing::default());
        assert_eq!(timing(whole(6), None).unwrap().heartbeat, second * 2);
        assert_eq!(timing(None, whole(2)).unwrap().lease, second * 6);
        assert_eq!(timing(whole(6), whole(1)).unwrap().heartbeat, second);
        for (lease, heartbeat) in [(whole(3), whole(2)), (whole(0), None), (None, whole(0))] {
            let refused = timing(lease, heartbeat).unwrap_err();
            assert_eq!(refused.report.unwrap().code, "option.invalid", "{lease:?} {heartbeat:?}");
        }
    }
}
