//! Frames on the wire: four bytes of length, then a head and a body in MessagePack. Either side may
//! be wrong or hostile: a length is a promise that is believed only as far as bytes come.

use super::protocol::{FRAME_MAX, Head};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// The bytes of a length.
const LENGTH: usize = 4;
/// How much room is made for a frame before its bytes come.
const ROOM: usize = 64 << 10;

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: Head,
    bytes: Vec<u8>,
    body: usize,
}

impl Frame {
    /// What it says.
    pub(super) fn body<T: DeserializeOwned>(&self) -> io::Result<T> {
        rmp_serde::from_slice(&self.bytes[self.body..]).map_err(|error| {
            broken(&format!("the frame `{}` cannot be read: {error}", self.head.kind))
        })
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn parse(bytes: Vec<u8>) -> io::Result<Self> {
        let mut rest = bytes.as_slice();
        let head: Head = rmp_serde::from_read(&mut rest)
            .map_err(|error| broken(&format!("a frame without a head: {error}")))?;
        let body = bytes.len() - rest.len();
        Ok(Self { head, bytes, body })
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A frame as it goes on the wire; none when it is larger than a frame may be.
pub(super) fn encode<T: Serialize + ?Sized>(kind: &str, id: u64, body: &T) -> Option<Bytes> {
    let mut bytes = vec![0; LENGTH];
    let head = Head { kind: kind.to_owned(), id };
    // Writing to memory does not fail, nor does making names of what all is named.
    rmp_serde::encode::write_named(&mut bytes, &head).ok()?;
    rmp_serde::encode::write_named(&mut bytes, body).ok()?;
    let length = bytes.len() - LENGTH;
    if length > FRAME_MAX {
        return None;
    }
    bytes[..LENGTH].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
    Some(bytes.into())
}

/// Reads the next frame, of `most` bytes at most; none at the end of the stream. Gives up when nothing at all comes for as
/// long as `patience`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    patience: Duration,
) -> io::Result<Option<Frame>> {
    let mut length = Vec::with_capacity(LENGTH);
    if !fill(stream, &mut length, LENGTH, patience).await? {
        return Ok(None);
    }
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > most {
        return Err(broken(&format!("a frame of {length} bytes is too large")));
    }
    let mut bytes = Vec::with_capacity(length.min(ROOM));
    if length > 0 && !fill(stream, &mut bytes, length, patience).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Frame::parse(bytes).map(Some)
}

/// Reads so many bytes. False when the stream ends in front of them.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    length: usize,
    patience: Duration,
) -> io::Result<bool> {
    while bytes.len() < length {
        let left = (length - bytes.len()) as u64;
        let mut rest = (&mut *stream).take(left);
        let Ok(read) = tokio::time::timeout(patience, rest.read_buf(bytes)).await else {
            let silence = format!("nothing was heard for {patience:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, silence));
        };
        match read? {
            0 if bytes.is_empty() => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
    Ok(true)
}

/// Writes what comes out of the channel, and says that this side is still there when nothing does
/// for a while. Ends when the channel does.
pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    frames: &mut mpsc::UnboundedReceiver<impl AsRef<[u8]>>,
    heartbeat: Duration,
) -> io::Result<()> {
    loop {
        match tokio::time::timeout(heartbeat, frames.recv()).await {
            Ok(Some(frame)) => stream.write_all(frame.as_ref()).await?,
            Ok(None) => return stream.shutdown().await,
            Err(_) => {
                let ping = encode(super::protocol::kind::PING, 0, &()).unwrap_or_default();
                stream.write_all(&ping).await?;
            }
        }
        // What waits already goes with it.
        while let Ok(frame) = frames.try_recv() {
            stream.write_all(frame.as_ref()).await?;
        }
        stream.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::protocol::{Grant, kind};
    use super::*;
    use serde::Deserialize;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn frames_come_as_they_went() {
        let mut bytes = encode(kind::GRANT, 7, &Grant { slots: 3 }).unwrap().to_vec();
        bytes.extend(encode(kind::PING, 0, &()).unwrap());
        let mut stream = bytes.as_slice();
        let frame = read(&mut stream, FRAME_MAX, PATIENCE).await.unwrap().unwrap();
        assert_eq!((frame.head.kind.as_str(), frame.head.id), (kind::GRANT, 7));
        assert_eq!(frame.body::<Grant>().unwrap(), Grant { slots: 3 });
        assert_eq!(
            read(&mut stream, FRAME_MAX, PATIENCE).await.unwrap().unwrap().head.kind,
            kind::PING
        );
        assert!(read(&mut stream, FRAME_MAX, PATIENCE).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn fields_of_a_newer_peer_are_ignored_and_missing_ones_have_defaults() {
        #[derive(Serialize)]
        struct Newer {
            slots: u32,
            colour: &'static str,
            shape: Vec<u32>,
        }
        #[derive(Debug, Deserialize)]
        struct Older {
            slots: u32,
            #[serde(default)]
            missing: bool,
        }
        let newer = Newer { slots: 3, colour: "red", shape: vec![1, 2] };
        let bytes = encode(kind::GRANT, 0, &newer).unwrap();
        let frame = read(&mut bytes.as_ref(), FRAME_MAX, PATIENCE).await.unwrap().unwrap();
        let older: Older = frame.body().unwrap();
        assert!(older.slots == 3 && !older.missing);
    }

    #[tokio::test]
    async fn what_is_cut_damaged_or_too_large_is_an_error_and_no_panic() {
        let whole = encode(kind::GRANT, 7, &Grant { slots: 3 }).unwrap();
        for at in 1..whole.len() {
            assert!(read(&mut &whole[..at], FRAME_MAX, PATIENCE).await.is_err(), "cut at {at}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.to_vec();
                damaged[at] ^= 1 << bit;
                if let Ok(Some(frame)) = read(&mut damaged.as_slice(), FRAME_MAX, PATIENCE).await {
                    let _ = frame.body::<Grant>();
                }
            }
        }
        let huge = read(&mut [0xff; 64].as_slice(), FRAME_MAX, PATIENCE).await.unwrap_err();
        assert!(huge.to_string().contains("too large"), "{huge}");
        assert!(
            read(&mut [0; 64].as_slice(), FRAME_MAX, PATIENCE).await.is_err(),
            "an empty frame"
        );
        assert!(encode(kind::MODULE, 0, &vec![0_u8; FRAME_MAX]).is_none());
    }

    #[tokio::test]
    async fn silence_ends_a_read() {
        let (mut ours, _theirs) = tokio::io::duplex(64);
        let silent = read(&mut ours, FRAME_MAX, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    }
}
