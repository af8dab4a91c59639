//! Pages of a log.

use std::io;
use std::path::Path;

use millrace_shim::log::next_number;
use millrace_shim::reader::LogReader;
use millrace_shim::record::{Entry, Stream};

/// Records that are looked at for one page at most, when few of them are of
/// the stream that is wanted.
const SCAN: usize = 20_000;
/// Bytes of lines in one page: a message over gRPC has room for 4 MiB.
const PAGE_BYTES: usize = 2 << 20;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogQuery {
    /// Exclusive.
    pub after: u64,
    /// 1 to 1000.
    pub limit: usize,
    pub stream: Option<Stream>,
}

#[derive(Debug)]
pub(crate) struct LogPage {
    pub entries: Vec<Entry>,
    /// Where to go on; `None` when this was the end for now.
    pub next: Option<u64>,
}

/// Reads from the disk: to be called where that may take its time.
pub(crate) fn page(directory: &Path, query: LogQuery) -> io::Result<LogPage> {
    let mut reader = LogReader::after(directory, query.after);
    let mut entries = Vec::new();
    let mut scanned = 0;
    let mut bytes = 0;
    while entries.len() < query.limit && scanned < SCAN && bytes < PAGE_BYTES {
        let read = reader.read(query.limit - entries.len())?;
        if read.is_empty() {
            return Ok(LogPage {
                entries,
                next: None,
            });
        }
        scanned += read.len();
        bytes += read.iter().map(|entry| entry.line.len()).sum::<usize>();
        let wanted = |entry: &Entry| query.stream.is_none_or(|s| s == entry.meta.stream);
        entries.extend(read.into_iter().filter(wanted));
    }
    // Whether there is more is seen by looking.
    let next = reader.next() - 1;
    let more = !reader.read(1)?.is_empty();
    Ok(LogPage {
        entries,
        next: more.then_some(next),
    })
}

/// What to read after for the last `count` lines.
pub(crate) fn tail(directory: &Path, count: u32) -> u64 {
    next_number(directory).saturating_sub(1 + u64::from(count))
}
