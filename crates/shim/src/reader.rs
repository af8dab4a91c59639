//! Reading the log of a workload by sequence number, also while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::log::{next_number, segment_path, segments};
use crate::record::{self, Entry, HEADER, MAX_LINE};

/// Read at once; at least one whole record.
const CHUNK: usize = 256 * 1024;

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
    /// The number of the record to come.
    next: u64,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: u64,
    file: File,
    offset: u64,
    /// The number of the record at the offset.
    at: u64,
    /// Records before this one are whole: the head said so.
    whole: u64,
}

impl LogReader {
    /// The records after the one with this number; 0 for all that are kept.
    pub fn after(directory: &Path, after: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            next: after.saturating_add(1),
            place: None,
        }
    }

    /// The number of the record to come.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Up to `limit` records that are there already, in order and without gap,
    /// but for what is not kept any more; at most a few hundred KiB at once.
    /// Empty when there are none for now.
    pub fn read(&mut self, limit: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let mut buffer = Vec::new();
        loop {
            if self.place.is_none() && !self.find_segment()? {
                return Ok(found);
            }
            self.read_segment(&mut buffer, limit, &mut found)?;
            if !found.is_empty() {
                return Ok(found);
            }
            let Some(later) = self.later_segment()? else {
                return Ok(found);
            };
            // Once there is a later segment, nothing is added to this one;
            // something may have been just before.
            self.read_segment(&mut buffer, limit, &mut found)?;
            if !found.is_empty() {
                return Ok(found);
            }
            // What is missing before it was torn by a crash of the machine.
            self.next = self.next.max(later);
            self.place = None;
        }
    }

    /// The segment with the next record, or the oldest one after it.
    fn find_segment(&mut self) -> io::Result<bool> {
        let all = match segments(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            all => all?,
        };
        let before = all.iter().rev().find(|first| **first <= self.next);
        let Some(segment) = before.or(all.first()).copied() else {
            return Ok(false);
        };
        match File::open(segment_path(&self.directory, segment)) {
            Ok(file) => {
                self.place = Some(Place {
                    segment,
                    file,
                    offset: 0,
                    at: segment,
                    whole: next_number(&self.directory),
                });
                Ok(true)
            }
            // Deleted just now: look again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.find_segment(),
            Err(error) => Err(error),
        }
    }

    fn later_segment(&self) -> io::Result<Option<u64>> {
        let Some(place) = &self.place else {
            return Ok(None);
        };
        let all = segments(&self.directory)?;
        Ok(all.into_iter().find(|first| *first > place.segment))
    }

    /// Reads on from the offset until something was found, or to the end.
    fn read_segment(
        &mut self,
        buffer: &mut Vec<u8>,
        limit: usize,
        found: &mut Vec<Entry>,
    ) -> io::Result<()> {
        const { assert!(CHUNK > HEADER + MAX_LINE, "a record fits into a chunk") };
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        buffer.resize(CHUNK, 0);
        loop {
            let length = place.file.read_at(buffer, place.offset)?;
            let mut rest = &buffer[..length];
            let wanted = self.next.min(place.whole);
            while place.at < wanted
                && let Some((size, seq)) = record::measure(rest)
                && seq == place.at
            {
                // One that was read before, and is not looked at again.
                place.offset += size as u64;
                place.at += 1;
                rest = rest.get(size..).unwrap_or_default();
            }
            while found.len() < limit
                && let Some((size, seq)) = record::peek(rest)
            {
                if seq >= self.next {
                    found.extend(record::entry(&rest[..size]));
                    self.next = seq + 1;
                }
                place.offset += size as u64;
                place.at = seq + 1;
                rest = &rest[size..];
            }
            let advanced = rest.len() < length;
            if !found.is_empty() || !advanced {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::log::{Appender, Keep};
    use crate::record::{Meta, Stage, Stream, encode};

    const RECORDS: u64 = 3000;

    /// A folder with some segments; the numbers of its records are their lines.
    fn written(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let keep = Keep {
            max_bytes: 1 << 30,
            max_age: Duration::from_hours(1),
            instances: 5,
        };
        let meta = Meta {
            at: 1,
            instance: 7,
            stream: Stream::Stdout,
            stage: Stage::Running,
            flags: 0,
        };
        for batch in 0..3 {
            // Each begins a segment of its own.
            let mut appender = Appender::open(&folder, keep, true).unwrap();
            let mut buffer = Vec::new();
            for n in 1..=RECORDS / 3 {
                let number = batch * (RECORDS / 3) + n;
                let line = number
                    .to_string()
                    .repeat(1 + usize::try_from(number % 40).unwrap());
                encode(&mut buffer, &meta, line.as_bytes());
            }
            appender.append(&mut buffer).unwrap();
        }
        folder
    }

    fn is_right(entry: &Entry) -> bool {
        entry.line.starts_with(entry.seq.to_string().as_bytes())
    }

    #[test]
    fn reading_can_begin_anywhere() {
        let folder = written("begin-anywhere");
        for after in 0..RECORDS {
            let found = LogReader::after(&folder, after).read(2).unwrap();
            assert_eq!(found[0].seq, after + 1);
            assert!(found.iter().all(is_right), "{found:?}");
        }
        let mut at_the_end = LogReader::after(&folder, RECORDS);
        assert_eq!(at_the_end.read(1).unwrap(), []);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_head_that_says_too_much_hides_nothing() {
        let folder = written("bold-head");
        // A machine that crashed: of the last segment, the end is missing, and
        // something else is there instead.
        let last = segments(&folder).unwrap().pop().unwrap();
        let path = segment_path(&folder, last);
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let mut reader = LogReader::after(&folder, 0);
        let mut found = Vec::new();
        loop {
            let more = reader.read(100).unwrap();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        assert!(found.len() as u64 > RECORDS / 3 * 2 && (found.len() as u64) < RECORDS);
        assert!(found.iter().all(is_right));
        // Whoever is past the hole gets nothing wrong.
        assert_eq!(LogReader::after(&folder, RECORDS - 1).read(1).unwrap(), []);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
