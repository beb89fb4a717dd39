//! A parser for server-sent events, as far as the server uses them: the fields `event` and `data`,
//! and comments, which keep the connection alive. Used by `follow.rs`. Holds at most one event.

use std::collections::VecDeque;

/// The largest event: a log line has at most 64 KiB, the run at the end a few payloads.
const MAX_EVENT: usize = 32 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` unless said otherwise.
    pub(crate) name: String,
    /// The data lines.
    pub(crate) data: String,
}

/// An event that is larger than any that the server sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than 32 MiB")]
pub(crate) struct TooLarge;

/// Turns bytes, cut anywhere, into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() + self.data.len() > MAX_EVENT {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(piece);
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                self.take_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            }
        }
        Ok(())
    }

    /// The next complete event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            // Comments have an empty field name; the rest is not ours.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".into() } else { name };
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut all = Vec::new();
        for piece in pieces {
            parser.push(piece).unwrap();
            all.extend(std::iter::from_fn(|| parser.pop()).map(|e| (e.name, e.data)));
        }
        all
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text =
            "event: log\ndata: {\"ä\":1}\n\n: alive\n\nevent:end\r\ndata:a\r\ndata: b\r\n\r\n";
        let expected = [event("log", "{\"ä\":1}"), event("end", "a\nb")];
        assert_eq!(events(&[text.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn an_event_needs_data_and_an_end() {
        assert_eq!(events(&[b"event: log\n\n", b"data: x\n"]), []);
        assert_eq!(events(&[b"data\n\n"]), [event("message", "")]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let megabyte = vec![b'x'; 1 << 20];
        let result = (0..40).try_for_each(|_| parser.push(&megabyte));
        assert_eq!(result, Err(TooLarge));
    }
}
