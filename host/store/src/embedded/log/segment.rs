//! One of the two files of the log. Its room is written with zeros ahead of what is appended, so that
//! an append changes nothing but data and one `fdatasync` is all that it waits for.

use super::SyncFile;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// The room that is made at once.
const STEP: u64 = 1 << 20;

/// A file that is being written from its beginning on.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    /// How far the file's room goes.
    room: u64,
    /// Where the next batch goes.
    at: u64,
    /// The number of the last batch in it.
    last: u64,
}

impl Segment {
    /// Opens the file, or creates it; what is in it will be written over.
    pub(super) fn open(path: &Path, last: u64) -> std::io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let room = file.metadata()?.len();
        Ok(Self { file, room, at: 0, last })
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a batch of this size can be appended. One that is larger than a segment has one to
    /// itself.
    pub(super) fn takes(&self, bytes: usize, limit: u64) -> bool {
        self.at == 0 || self.at + bytes as u64 <= limit
    }

    /// Begins anew at the front. What a very large batch made the file longer by is given back.
    pub(super) fn restart(&mut self, limit: u64) -> std::io::Result<()> {
        if self.room > limit.max(STEP) {
            self.room = limit.max(STEP);
            self.file.set_len(self.room)?;
        }
        self.at = 0;
        Ok(())
    }

    /// Appends a batch; it is on the disk when this returns.
    pub(super) fn append(
        &mut self,
        frame: &[u8],
        number: u64,
        sync: &SyncFile,
    ) -> std::io::Result<()> {
        let end = self.at + frame.len() as u64;
        if end > self.room {
            let room = end.next_multiple_of(STEP);
            self.file.seek(SeekFrom::Start(self.room))?;
            std::io::copy(
                &mut std::io::Read::take(std::io::repeat(0), room - self.room),
                &mut self.file,
            )?;
            sync(&self.file)?;
            self.room = room;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.write_all(frame)?;
        sync(&self.file)?;
        self.at = end;
        self.last = number;
        Ok(())
    }
}
