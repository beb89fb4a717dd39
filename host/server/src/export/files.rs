//! Files of exported runs, one for each day (UTC), which only grow. Retention writes to them.
//!
//! Invariant: a file consists of whole lines, except behind a crash or a failed write; what is not
//! whole is cut off before anything is added.

use axum::body::Bytes;
use everstep_core::Timestamp;
use everstep_store::StoreError;
use futures::{Stream, TryStreamExt};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much is read at once when the last line is looked for.
const BLOCK: u64 = 64 << 10;

/// Why a run was not exported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The run cannot be read, or the store not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("the export cannot be written: {0}")]
    File(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct DayFiles {
    folder: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    day: String,
    file: Arc<File>,
    length: u64,
}

impl DayFiles {
    /// The files in this folder, which is created when it is needed.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: None }
    }

    /// Adds the lines of a run to the file of the day: all, or none when there is an error. They are
    /// on disk after the next [`DayFiles::sync`].
    pub(crate) async fn append(
        &mut self,
        now: Timestamp,
        lines: impl Stream<Item = Result<Bytes, StoreError>>,
    ) -> Result<(), ExportError> {
        let open = self.of_day(now).await?;
        let (start, file) = (open.length, Arc::clone(&open.file));
        let appended = self.write(lines).await;
        if appended.is_err() {
            // When this fails, too, the next opening finds whole lines of a run that is not whole;
            // the first line of a run says how many there should be.
            self.open = None;
            blocking(move || file.set_len(start)).await?;
        }
        appended
    }

    async fn write(
        &mut self,
        lines: impl Stream<Item = Result<Bytes, StoreError>>,
    ) -> Result<(), ExportError> {
        let mut lines = std::pin::pin!(lines);
        while let Some(piece) = lines.try_next().await? {
            let Some(open) = &mut self.open else { return Ok(()) };
            let (file, length) = (Arc::clone(&open.file), piece.len() as u64);
            blocking(move || (&*file).write_all(&piece)).await?;
            open.length += length;
        }
        Ok(())
    }

    /// Returns when everything that was added is on disk.
    pub(crate) async fn sync(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let file = Arc::clone(&open.file);
        blocking(move || file.sync_all()).await
    }

    async fn of_day(&mut self, now: Timestamp) -> io::Result<&Open> {
        // RFC 3339 begins with the day.
        let day: String = now.to_string().chars().take(10).collect();
        let open = match self.open.take() {
            Some(open) if open.day == day => open,
            _ => {
                let (folder, name) = (self.folder.clone(), format!("runs-{day}.jsonl"));
                let (file, length) = blocking(move || open_at_end(&folder, &name)).await?;
                Open { day, file: Arc::new(file), length }
            }
        };
        Ok(self.open.insert(open))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Opens a file behind its last whole line; the rest, from a crash, is cut off.
fn open_at_end(folder: &Path, name: &str) -> io::Result<(File, u64)> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let length = whole_lines(&mut file)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    // The name of a new file must be on disk, too.
    File::open(folder)?.sync_all()?;
    Ok((file, length))
}

/// The length of the file up to the end of its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&mut *file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::stream;

    type Pieces = Vec<Result<Bytes, StoreError>>;

    fn pieces(texts: &[&'static str]) -> Pieces {
        texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect()
    }

    async fn append(files: &mut DayFiles, at: u64, pieces: Pieces) -> Result<(), ExportError> {
        files.append(Timestamp::from_millis(at), stream::iter(pieces)).await
    }

    #[tokio::test]
    async fn each_day_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = DayFiles::new(folder.path().join("a/b"));
        append(&mut files, 1, pieces(&["1\n", "2\n3\n"])).await.unwrap();
        append(&mut files, 2, pieces(&["4\n"])).await.unwrap();
        append(&mut files, 86_400_000, pieces(&["5\n"])).await.unwrap();
        files.sync().await.unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join("a/b").join(name));
        assert_eq!(read("runs-1970-01-01.jsonl").unwrap(), "1\n2\n3\n4\n");
        assert_eq!(read("runs-1970-01-02.jsonl").unwrap(), "5\n");
    }

    #[tokio::test]
    async fn what_is_not_whole_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs-1970-01-01.jsonl");
        for (found, kept) in [
            (String::new(), String::new()),
            ("half".into(), String::new()),
            ("1\n".into(), "1\n".into()),
            ("1\nhalf".into(), "1\n".into()),
            (format!("1\n{}", "x".repeat(200_000)), "1\n".into()),
        ] {
            std::fs::write(&path, found).unwrap();
            let mut files = DayFiles::new(folder.path().into());
            append(&mut files, 0, pieces(&["2\n"])).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{kept}2\n"));
        }
    }

    #[tokio::test]
    async fn a_run_that_cannot_be_read_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = DayFiles::new(folder.path().into());
        append(&mut files, 0, pieces(&["1\n"])).await.unwrap();
        let damaged = Err(StoreError::Corrupt { what: "it".into() });
        let mut broken = pieces(&["2\n"]);
        broken.push(damaged);
        let refused = append(&mut files, 0, broken).await.unwrap_err();
        assert!(matches!(refused, ExportError::Store(StoreError::Corrupt { .. })), "{refused}");
        append(&mut files, 0, pieces(&["3\n"])).await.unwrap();
        let text = std::fs::read_to_string(folder.path().join("runs-1970-01-01.jsonl")).unwrap();
        assert_eq!(text, "1\n3\n");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = append(&mut DayFiles::new(file), 0, pieces(&["1\n"])).await.unwrap_err();
        assert!(matches!(refused, ExportError::File(_)), "{refused}");
    }
}
