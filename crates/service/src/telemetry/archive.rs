//! Log files of before: what they are called, compressed and deleted.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Length of `20261122T004501.123456Z`.
const STAMP: usize = 23;

/// The path of an archive that does not exist yet. Names sort by time: they
/// have a fixed width, in UTC.
pub(super) fn archive_name(path: &Path, mut at: SystemTime) -> PathBuf {
    loop {
        let stamp = jiff::Timestamp::try_from(at)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .strftime("%Y%m%dT%H%M%S.%6fZ");
        let name = with_suffix(path, &format!(".{stamp}"));
        if !name.exists() && !with_suffix(&name, ".gz").exists() {
            return name;
        }
        at += Duration::from_micros(1);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The archives of the log at `path`, oldest first.
pub(super) fn archives(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_one = entry.file_name().to_str().is_some_and(|file| {
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(is_ours)
        });
        if is_one {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a file is called as we call archives, and may be deleted.
fn is_ours(rest: &str) -> bool {
    let Some((stamp, suffix)) = rest.split_at_checked(STAMP) else {
        return false;
    };
    let fits = stamp.bytes().enumerate().all(|(at, byte)| match at {
        8 => byte == b'T',
        15 => byte == b'.',
        22 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    fits && matches!(suffix, "" | ".gz" | ".gz.part")
}

pub(super) fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

/// A kill at any moment leaves the source or its whole archive, or both, and
/// then this makes the archive anew.
pub(super) fn compress_all(path: &Path) -> io::Result<()> {
    for archive in archives(path)? {
        // Its source is still there.
        if has_extension(&archive, "part") {
            fs::remove_file(&archive)?;
        }
    }
    for archive in archives(path)? {
        if has_extension(&archive, "gz") {
            continue;
        }
        let part = with_suffix(&archive, ".gz.part");
        let mut encoder = GzEncoder::new(File::create(&part)?, Compression::default());
        io::copy(&mut BufReader::new(File::open(&archive)?), &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&part, with_suffix(&archive, ".gz"))?;
        fs::remove_file(&archive)?;
    }
    Ok(())
}

/// Leaves the newest `keep`: one that is only half compressed is the same as
/// what it is made of.
pub(super) fn delete_old(path: &Path, keep: usize) -> io::Result<()> {
    let all = archives(path)?;
    let mut stamps: Vec<&str> = all
        .iter()
        .filter_map(|archive| stamp(path, archive))
        .collect();
    stamps.dedup();
    let too_many = stamps.len().saturating_sub(keep);
    let old = &stamps[..too_many];
    for archive in &all {
        if stamp(path, archive).is_some_and(|stamp| old.contains(&stamp)) {
            fs::remove_file(archive)?;
        }
    }
    Ok(())
}

/// The time in the name of an archive of the log at `path`.
fn stamp<'a>(path: &Path, archive: &'a Path) -> Option<&'a str> {
    let start = path.file_name()?.len() + 1;
    let name = archive.file_name()?.to_str()?;
    name.get(start..start + STAMP)
}
