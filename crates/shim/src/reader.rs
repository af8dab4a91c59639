//! Reading the log of a workload by sequence number, also while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::log::{next_number, segment_path, segments};
use crate::record::{self, Entry, MAX_LINE, MAX_RECORD, Rest};

/// Read at once; at least one whole record.
const CHUNK: usize = 256 * 1024;
/// The same of a record that was begun before.
const PIECE: usize = 16 * 1024;

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    directory: PathBuf,
    /// The number of the line to come.
    next: u64,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: u64,
    file: File,
    /// Of the record to come.
    offset: u64,
    /// The number of its first line.
    at: u64,
    /// What is left of it, when it was begun.
    begun: Option<Rest>,
    /// Lines before this one are whole: the head said so.
    whole: u64,
}

impl LogReader {
    /// The lines after the one with this number; 0 for all that are kept.
    pub fn after(directory: &Path, after: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            next: after.saturating_add(1),
            place: None,
        }
    }

    /// The number of the line to come.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Up to `limit` lines that are there already, in order and without gap,
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

    /// The segment with the next line, or the oldest one after it.
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
                    begun: None,
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
        const { assert!(CHUNK > MAX_RECORD, "a record fits into a chunk") };
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if place.begun.is_some() {
            self.next = place.read_on(buffer, limit, found)?;
            return Ok(());
        }
        buffer.resize(CHUNK, 0);
        loop {
            let length = place.file.read_at(buffer, place.offset)?;
            let mut rest = &buffer[..length];
            let wanted = self.next.min(place.whole);
            while let Some(span) = record::measure(rest)
                && span.seq == place.at
                && span.next() <= wanted
            {
                // One that was read before, and is not looked at again.
                place.pass(span.size, span.next());
                rest = rest.get(span.size..).unwrap_or_default();
            }
            while found.len() < limit
                && let Some(span) = record::peek(rest)
            {
                let record = &rest[..span.size];
                let left = limit - found.len();
                if let Some(begun) = record::entries(record, self.next, left, found) {
                    self.next = begun.seq;
                    place.begun = Some(begun);
                    return Ok(());
                }
                self.next = self.next.max(span.next());
                place.pass(span.size, span.next());
                rest = &rest[span.size..];
            }
            let advanced = rest.len() < length;
            if !found.is_empty() || !advanced {
                return Ok(());
            }
        }
    }
}

impl Place {
    /// Goes over the record.
    fn pass(&mut self, size: usize, next: u64) {
        self.offset += size as u64;
        self.at = next;
        self.begun = None;
    }

    /// Reads some more lines of a record that was found to be whole when it
    /// was begun; answers the number of the line to come.
    fn read_on(
        &mut self,
        buffer: &mut Vec<u8>,
        limit: usize,
        found: &mut Vec<Entry>,
    ) -> io::Result<u64> {
        let Some(mut begun) = self.begun else {
            return Ok(self.at);
        };
        let before = begun.offset;
        // A line that is longer than a piece comes with the second one.
        for most in [PIECE, MAX_LINE + 1] {
            buffer.resize((begun.size - begun.offset).min(most), 0);
            let at = self.offset + begun.offset as u64;
            self.file.read_exact_at(buffer, at)?;
            begun.read(buffer, begun.seq, limit, found);
            if begun.offset > before {
                break;
            }
        }
        if begun.is_over() || begun.offset == before {
            self.pass(begun.size, begun.seq);
        } else {
            self.begun = Some(begun);
        }
        Ok(begun.seq)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::log::{Appender, Keep};
    use crate::record::{Meta, Stage, Stream, encode, encode_lines};

    const RECORDS: u64 = 3000;
    const KEEP: Keep = Keep {
        max_bytes: 1 << 30,
        max_age: Duration::from_hours(1),
        instances: 5,
    };
    const META: Meta = Meta {
        at: 1,
        instance: 7,
        stream: Stream::Stdout,
        stage: Stage::Running,
        flags: 0,
    };

    /// A folder with some segments, of single lines and of many in a record;
    /// each line begins with its number.
    fn written(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for batch in 0..3 {
            // Each begins a segment of its own.
            let mut appender = Appender::open(&folder, KEEP, true).unwrap();
            let mut buffer = Vec::new();
            let mut lines = String::new();
            for n in 1..=RECORDS / 3 {
                let number = batch * (RECORDS / 3) + n;
                let line = number
                    .to_string()
                    .repeat(1 + usize::try_from(number % 40).unwrap());
                if batch == 0 || n % 100 == 0 {
                    encode(&mut buffer, &META, line.as_bytes());
                    continue;
                }
                lines += &line;
                lines.push('\n');
                if n % 100 == 99 {
                    let (begun, rest) = lines.as_bytes().split_at(1);
                    encode_lines(&mut buffer, &META, [begun, rest], 99);
                    lines.clear();
                }
            }
            appender.append(&mut buffer).unwrap();
        }
        folder
    }

    /// All lines that are there.
    fn all(folder: &Path) -> Vec<Entry> {
        let mut reader = LogReader::after(folder, 0);
        let mut found = Vec::new();
        loop {
            let more = reader.read(100).unwrap();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
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
    fn reading_goes_on_where_it_ended() {
        let folder = written("go-on");
        for limit in [1, 7, 50, 99, 100, 101, 5000] {
            let mut reader = LogReader::after(&folder, 0);
            let mut found = Vec::new();
            while found.len() < usize::try_from(RECORDS).unwrap() {
                let more = reader.read(limit).unwrap();
                assert!(!more.is_empty() && more.len() <= limit);
                found.extend(more);
            }
            let numbers: Vec<u64> = found.iter().map(|entry| entry.seq).collect();
            assert_eq!(numbers, (1..=RECORDS).collect::<Vec<_>>());
            assert!(found.iter().all(is_right));
            assert_eq!(reader.read(limit).unwrap(), []);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn long_lines_of_one_record_are_read_one_by_one() {
        let folder = written("long-lines");
        let mut appender = Appender::open(&folder, KEEP, false).unwrap();
        let lengths = [MAX_LINE, 40_000, 0, PIECE, 3];
        let text: Vec<u8> = lengths
            .iter()
            .flat_map(|length| [vec![b'x'; *length], vec![b'\n']].concat())
            .collect();
        let mut buffer = Vec::new();
        encode_lines(&mut buffer, &META, [b"", &text], lengths.len());
        appender.append(&mut buffer).unwrap();
        let mut reader = LogReader::after(&folder, RECORDS);
        for (seq, length) in (RECORDS + 1..).zip(lengths) {
            let entry = reader.read(1).unwrap().remove(0);
            assert_eq!((entry.seq, entry.line.len()), (seq, length));
        }
        assert_eq!(reader.read(1).unwrap(), []);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_writer_that_died_leaves_no_gap() {
        let folder = written("died");
        let last = segments(&folder).unwrap().pop().unwrap();
        let path = segment_path(&folder, last);
        let bytes = std::fs::read(&path).unwrap();
        // Right within the last record of many lines, before the head was told.
        std::fs::write(&path, &bytes[..bytes.len() - 500]).unwrap();
        let mut appender = Appender::open(&folder, KEEP, false).unwrap();
        let next = 1 + all(&folder).len() as u64;
        assert_eq!(
            next % 100,
            1,
            "many lines are there together, or not at all"
        );
        let mut buffer = Vec::new();
        encode(&mut buffer, &META, next.to_string().as_bytes());
        appender.append(&mut buffer).unwrap();
        let entry = LogReader::after(&folder, next - 1)
            .read(1)
            .unwrap()
            .remove(0);
        assert!(entry.seq == next && is_right(&entry));
        assert_eq!(next_number(&folder), next + 1);
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
        let found = all(&folder);
        assert!(found.len() as u64 > RECORDS / 3 * 2 && (found.len() as u64) < RECORDS);
        assert!(found.iter().all(is_right));
        // Whoever is past the hole gets nothing wrong.
        assert_eq!(LogReader::after(&folder, RECORDS - 1).read(1).unwrap(), []);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
