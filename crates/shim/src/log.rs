//! Writing the log of a workload: one series of segments in one folder, with
//! one sequence from 1 on, whoever writes.
//!
//! ```text
//!  head                          locked by whoever writes; says where the end is
//!  00000000000000000001.seg      records, named by the first line's number
//!  00000000000000004711.seg
//! ```
//! The segments are the truth, the head is a hint: when it does not fit the
//! last segment (a writer died between the two), that segment is read to its
//! last whole record, and what comes after it is cut off. The head names a
//! segment before that is made, so that it never fits one which is not the
//! last.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::record;

#[cfg(test)]
mod tests;

/// The file that is locked.
pub const HEAD: &str = "head";
const SUFFIX: &str = ".seg";

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Of all segments together.
    pub max_bytes: u64,
    pub max_age: Duration,
    /// Instances whose segments stay, besides the last one.
    pub instances: u32,
}

impl Keep {
    /// Deletes nothing: where it is not known what is to be kept.
    pub const ALL: Self = Self {
        max_bytes: u64::MAX,
        max_age: Duration::MAX,
        instances: u32::MAX,
    };

    /// A segment is an eighth of what is kept, and not large.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 8).clamp(64 << 10, 8 << 20)
    }

    fn segment_age(&self) -> Duration {
        (self.max_age / 8).max(Duration::from_secs(1))
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last segment's first line.
    pub segment: u64,
    /// Bytes in the last segment.
    pub length: u64,
    /// The number of the next line.
    pub next: u64,
    /// When the last segment was begun: µs since 1970.
    begun: i64,
}

impl Head {
    const BYTES: usize = 32;

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next.to_le_bytes());
        bytes[24..].copy_from_slice(&self.begun.to_le_bytes());
        bytes
    }

    fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; Self::BYTES];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Some(Self {
            segment: number(0),
            length: number(8),
            next: number(16),
            begun: number(24).cast_signed(),
        })
        .filter(|head| head.segment > 0 && head.next >= head.segment)
    }
}

/// Microseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}

pub fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{SUFFIX}"))
}

/// The first numbers of the segments that are there, in order.
pub fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let first: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        found.extend(first);
    }
    found.sort_unstable();
    Ok(found)
}

/// The number of the next line, as the head says: for readers.
pub fn next_number(directory: &Path) -> u64 {
    File::open(directory.join(HEAD))
        .ok()
        .and_then(|file| Head::read(&file))
        .map_or(1, |head| head.next)
}

/// One of the writers of a log.
#[derive(Debug)]
pub struct Appender {
    directory: PathBuf,
    keep: Keep,
    head_file: File,
    /// The segment that `open` is, with its number.
    open: Option<(u64, File)>,
    /// Begin a segment of its own with the next records.
    fresh: bool,
}

/// Lets go of the lock when it is dropped.
struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file would let go of it too.
        let _ = self.0.unlock();
    }
}

impl Appender {
    /// Makes the folder if need be. With `fresh`, the next records begin a
    /// segment: those of a new instance.
    pub fn open(directory: &Path, keep: Keep, fresh: bool) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let head_file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(directory.join(HEAD))?;
        Ok(Self {
            directory: directory.to_owned(),
            keep,
            head_file,
            open: None,
            fresh,
        })
    }

    /// Numbers the lines of the records in `buffer` (see [`record::encode`])
    /// and appends them. After an error none of them is there, and it can be repeated.
    pub fn append(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        self.head_file.lock()?;
        let head_file = self.head_file.try_clone()?;
        let locked = Locked(&head_file);
        let mut head = self.find_end(&head_file)?;
        if self.is_full(&head, buffer.len()) {
            self.rotate(&mut head, &head_file, buffer.len())?;
        }
        self.fresh = false;
        let (_, segment) = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let next = record::number(buffer, head.next);
        if let Err(error) = segment.write_all_at(buffer, head.length) {
            // What was written of it is cut off; else the next writer does it.
            let _ = segment.set_len(head.length);
            return Err(error);
        }
        head.next = next;
        head.length += buffer.len() as u64;
        // Readers look here, and are woken by it. A failure only makes the
        // next writer search for the end.
        let _ = head_file.write_all_at(&head.encode(), 0);
        drop(locked);
        Ok(())
    }

    fn is_full(&self, head: &Head, coming: usize) -> bool {
        if head.length == 0 {
            return false;
        }
        let age = u64::try_from(now().saturating_sub(head.begun)).unwrap_or(0);
        self.fresh
            || head.length + coming as u64 > self.keep.segment_bytes()
            || Duration::from_micros(age) > self.keep.segment_age()
    }

    /// Opens the last segment, and answers where it ends.
    fn find_end(&mut self, head_file: &File) -> io::Result<Head> {
        if let Some(head) = Head::read(head_file) {
            let is_open = matches!(&self.open, Some((first, _)) if *first == head.segment);
            if !is_open {
                self.open = open_segment(&self.directory, head.segment, false)
                    .ok()
                    .map(|file| (head.segment, file));
            }
            if let Some((_, segment)) = &self.open
                && segment.metadata()?.len() == head.length
                && !self.has_later(&head)?
            {
                return Ok(head);
            }
        }
        self.search_end()
    }

    /// Whether the next segment is there, of which the head says nothing: it
    /// was lost in a crash of the machine, or an earlier version made it.
    fn has_later(&self, head: &Head) -> io::Result<bool> {
        Ok(head.next > head.segment && segment_path(&self.directory, head.next).try_exists()?)
    }

    fn search_end(&mut self) -> io::Result<Head> {
        let segments = segments(&self.directory)?;
        let first = segments.last().copied().unwrap_or(1);
        let segment = open_segment(&self.directory, first, true)?;
        let bytes = fs::read(segment_path(&self.directory, first))?;
        let mut length = 0;
        let mut next = first;
        while let Some(span) = record::peek(&bytes[length..])
            && span.seq == next
        {
            length += span.size;
            next = span.next();
        }
        segment.set_len(length as u64)?;
        self.open = Some((first, segment));
        Ok(Head {
            segment: first,
            length: length as u64,
            next,
            begun: now(),
        })
    }

    fn rotate(&mut self, head: &mut Head, head_file: &File, coming: usize) -> io::Result<()> {
        let begun = Head {
            segment: head.next,
            length: 0,
            next: head.next,
            begun: now(),
        };
        // Whoever comes after a death right here, or after a disk that is full
        // now, finds either the new segment as it is said to be, or searches.
        head_file.write_all_at(&begun.encode(), 0)?;
        let file = open_segment(&self.directory, begun.segment, true)?;
        self.open = Some((begun.segment, file));
        *head = begun;
        self.prune(head.segment, coming)
    }

    /// Deletes what is too old, also where nothing comes any more; the last
    /// segment goes once all of it is. The sequence goes on.
    pub fn expire(&mut self) -> io::Result<()> {
        self.head_file.lock()?;
        let head_file = self.head_file.try_clone()?;
        let locked = Locked(&head_file);
        let mut head = self.find_end(&head_file)?;
        let (_, segment) = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let age = segment.metadata()?.modified()?.elapsed();
        if head.length > 0 && age.unwrap_or_default() > self.keep.max_age {
            self.rotate(&mut head, &head_file, 0)?;
        } else {
            self.prune(head.segment, 0)?;
        }
        drop(locked);
        Ok(())
    }

    /// Deletes what is too much, too old, or of instances too long ago. The
    /// current segment counts as full; what comes may be more than that.
    fn prune(&self, current: u64, coming: usize) -> io::Result<()> {
        let mut kept_bytes = self.keep.segment_bytes().max(coming as u64);
        let mut instances: Vec<u128> = Vec::new();
        let mut delete = false;
        for first in segments(&self.directory)?.into_iter().rev() {
            if first >= current {
                continue;
            }
            let path = segment_path(&self.directory, first);
            let metadata = fs::metadata(&path)?;
            kept_bytes += metadata.len();
            if let Some(instance) = first_instance(&path)
                && !instances.contains(&instance)
            {
                instances.push(instance);
            }
            let age = metadata.modified()?.elapsed().unwrap_or_default();
            delete = delete
                || kept_bytes > self.keep.max_bytes
                || age > self.keep.max_age
                || instances.len().saturating_sub(1) > self.keep.instances as usize;
            if delete {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn open_segment(directory: &Path, first: u64, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .create(create)
        .truncate(false)
        .read(true)
        .write(true)
        .open(segment_path(directory, first))
}

/// Of the first record in the segment; none where no instance wrote it.
fn first_instance(path: &Path) -> Option<u128> {
    let mut header = [0; record::HEADER];
    File::open(path).ok()?.read_exact_at(&mut header, 0).ok()?;
    let instance = u128::from_be_bytes(header[24..40].try_into().ok()?);
    (instance != 0).then_some(instance)
}
