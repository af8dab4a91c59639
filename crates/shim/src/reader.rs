//! Reading the log of a workload by sequence number, also while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::log::{segment_path, segments};
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
            // Before the look at what is in it: once there is a later
            // segment, nothing is added to this one.
            let later = self.later_segment()?;
            self.read_segment(&mut buffer, limit, &mut found)?;
            if !found.is_empty() {
                return Ok(found);
            }
            let Some(later) = later else {
                return Ok(found);
            };
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
            while found.len() < limit
                && let Some((size, seq)) = record::peek(rest)
            {
                if seq >= self.next {
                    if let Some((_, entry)) = record::decode(rest) {
                        found.push(entry);
                    }
                    self.next = seq + 1;
                }
                place.offset += size as u64;
                rest = &rest[size..];
            }
            let advanced = rest.len() < length;
            if !found.is_empty() || !advanced {
                return Ok(());
            }
        }
    }
}
