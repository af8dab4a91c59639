//! Logs in files: one that is written to, and archives of those before.
//!
//! `millrace.log` is renamed to `millrace.log.20261122T004501.123456Z` when it
//! is large or old enough, and compressed to `….gz` by a thread of its own;
//! of the archives only the newest are kept. `millrace.log.lock` is held by
//! the one process that writes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::archive::{archive_name, compress_all, delete_old};

/// When a file is archived, and how many archives are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// In bytes.
    pub max_size: u64,
    pub max_age: Duration,
    pub keep: usize,
}

/// A log file; clones write to the same one.
#[derive(Debug, Clone)]
pub struct LogFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    rotation: Rotation,
    open: Mutex<Open>,
    /// Wakes the thread that archives; it ends when this is dropped.
    archiver: SyncSender<()>,
    /// Two that rename the same file would lose each other's lines.
    _alone: File,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    since: Instant,
}

impl LogFile {
    /// Opens the file, behind what is in it, and archives what a process
    /// before has left uncompressed. Fails while another process has it open.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let alone = lock(path)?;
        let open = Open::new(path)?;
        let archiver = archiver(path.to_owned(), rotation.keep)?;
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            rotation,
            open: Mutex::new(open),
            archiver,
            _alone: alone,
        })))
    }

    /// Appends whole lines with one write. What cannot be written is counted
    /// and lost: logs must not stop what they tell of.
    pub fn write(&self, lines: &[u8]) {
        let shared = &self.0;
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let after = open.size.saturating_add(lines.len() as u64);
        let due =
            after > shared.rotation.max_size || open.since.elapsed() >= shared.rotation.max_age;
        if due && open.size > 0 {
            match self.rotate() {
                Ok(new) => {
                    *open = new;
                    // One that is waiting to be heard will do for this too.
                    let _ = shared.archiver.try_send(());
                }
                // It goes on growing, and is tried again after as much more.
                Err(_) => {
                    lost();
                    open.size = 0;
                    open.since = Instant::now();
                }
            }
        }
        match open.file.write_all(lines) {
            Ok(()) => open.size += lines.len() as u64,
            Err(_) => lost(),
        }
    }

    fn rotate(&self) -> io::Result<Open> {
        let path = &self.0.path;
        match fs::rename(path, archive_name(path, SystemTime::now())) {
            // Somebody else has moved it away, or the last attempt got no
            // further than that: what it takes is a new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
        Open::new(path)
    }
}

/// Nothing is logged of it here: that line would come back.
fn lost() {
    crate::metrics::log_file_failed();
}

fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process writes to it; each needs a file of its own",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Compresses what is not, and deletes what is too much, apart from those who
/// log: now, and whenever it is woken.
fn archiver(path: PathBuf, keep: usize) -> io::Result<SyncSender<()>> {
    let (wake, woken) = sync_channel(1);
    let work = move || {
        loop {
            // First what makes room, and each whatever came of the other.
            for done in [delete_old(&path, keep), compress_all(&path)] {
                if let Err(error) = done {
                    // The next archive tries again.
                    tracing::warn!(%error, "old logs cannot be archived: {error}");
                }
            }
            if woken.recv().is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("log-archive".to_owned())
        .spawn(work)?;
    Ok(wake)
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let about = file.metadata()?;
        // A process that is started again often would never see it get old.
        let age = about.created().ok().and_then(|at| at.elapsed().ok());
        let now = Instant::now();
        Ok(Self {
            size: about.len(),
            file,
            since: age.and_then(|age| now.checked_sub(age)).unwrap_or(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::archive::{archives, has_extension};
    use super::*;
    use std::io::Read as _;

    fn rotation(max_size: u64, keep: usize) -> Rotation {
        Rotation {
            max_size,
            max_age: Duration::from_hours(1),
            keep,
        }
    }

    /// Waits for the thread that archives.
    fn archived(path: &Path, done: impl Fn(&[PathBuf]) -> bool) -> Vec<PathBuf> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let all = archives(path).unwrap();
            if done(&all) {
                return all;
            }
            assert!(Instant::now() < deadline, "{all:?}");
            std::thread::yield_now();
        }
    }

    fn all_compressed(all: &[PathBuf]) -> bool {
        all.iter().all(|path| has_extension(path, "gz"))
    }

    fn text_of(archive: &Path) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(archive).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn a_large_file_is_archived_and_nothing_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/millrace.log");
        let log = LogFile::open(&path, rotation(100, 10)).unwrap();
        let mut written = String::new();
        for n in 0..20 {
            let line = format!("line {n:03} of twenty\n");
            log.write(line.as_bytes());
            written.push_str(&line);
        }
        let all = archived(&path, |all| all.len() == 3 && all_compressed(all));
        let mut read: String = all.iter().map(|archive| text_of(archive)).collect();
        read.push_str(&fs::read_to_string(&path).unwrap());
        assert_eq!(read, written);
    }

    #[test]
    fn an_old_file_is_archived_and_old_archives_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("millrace.log");
        let at_once = Rotation {
            max_age: Duration::ZERO,
            ..rotation(1 << 20, 2)
        };
        let log = LogFile::open(&path, at_once).unwrap();
        for n in 0..6 {
            log.write(format!("{n}\n").as_bytes());
        }
        let newest = |all: &[PathBuf]| all.len() == 2 && all_compressed(all);
        let all = archived(&path, newest);
        assert_eq!(
            (text_of(&all[0]), text_of(&all[1])),
            ("3\n".into(), "4\n".into())
        );
        assert_eq!(fs::read(&path).unwrap(), b"5\n");
    }

    #[test]
    fn what_a_process_before_has_left_is_compressed_and_nothing_else_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("millrace.log");
        let left = archive_name(&path, SystemTime::UNIX_EPOCH);
        fs::write(&left, "old\n").unwrap();
        let half = format!("{}.gz.part", left.display());
        fs::write(&half, "half").unwrap();
        let others = ["other.log", "millrace.log.1", "millrace.log.20261122"];
        for other in others {
            fs::write(directory.path().join(other), "mine\n").unwrap();
        }
        let log = LogFile::open(&path, rotation(100, 5)).unwrap();
        let all = archived(&path, |all| all.len() == 1 && all_compressed(all));
        assert!(all[0].ends_with("millrace.log.19700101T000000.000000Z.gz"));
        assert_eq!(text_of(&all[0]), "old\n");
        log.write(b"new\n");
        for other in others {
            let kept = fs::read_to_string(directory.path().join(other)).unwrap();
            assert_eq!(kept, "mine\n", "{other}");
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("millrace.log");
        let log = LogFile::open(&path, rotation(10, 5)).unwrap();
        log.write(b"before\n");
        fs::rename(&path, directory.path().join("moved")).unwrap();
        log.write(b"after\n");
        assert_eq!(fs::read(&path).unwrap(), b"after\n");
    }

    #[test]
    fn old_archives_go_also_when_nothing_can_be_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("millrace.log");
        let second = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        for n in 0..4 {
            fs::write(archive_name(&path, second(n)), "old\n").unwrap();
        }
        let newest = path.with_file_name("millrace.log.19700101T000003.000000Z");
        // In the way of what it would be compressed to.
        let part = PathBuf::from(format!("{}.gz.part", newest.display()));
        fs::create_dir(&part).unwrap();
        let _log = LogFile::open(&path, rotation(100, 1)).unwrap();
        let all = archived(&path, |all| all.len() == 2);
        assert_eq!(all, [newest, part]);
    }

    #[test]
    fn one_process_writes_to_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("millrace.log");
        let first = LogFile::open(&path, rotation(100, 5)).unwrap();
        let second = LogFile::open(&path, rotation(100, 5)).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        LogFile::open(&path, rotation(100, 5)).unwrap();
    }
}
