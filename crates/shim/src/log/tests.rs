use std::os::unix::fs::symlink;

use super::*;
use crate::reader::LogReader;
use crate::record::{Meta, Stage, Stream, encode, number};

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

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn appender(&self, fresh: bool) -> Appender {
        Appender::open(&self.0, KEEP, fresh).unwrap()
    }

    /// The numbers and texts of what is read after this line.
    fn after(&self, after: u64) -> Vec<(u64, String)> {
        let mut reader = LogReader::after(&self.0, after);
        let mut found = Vec::new();
        loop {
            let more = reader.read(100).unwrap();
            if more.is_empty() {
                return found;
            }
            let text = |line| String::from_utf8(line).unwrap();
            found.extend(more.into_iter().map(|entry| (entry.seq, text(entry.line))));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn records(lines: &[&str]) -> Vec<u8> {
    let mut buffer = Vec::new();
    for line in lines {
        encode(&mut buffer, &META, line.as_bytes());
    }
    buffer
}

fn numbered(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
    let own = |(seq, line): &(u64, &str)| (*seq, (*line).to_owned());
    lines.iter().map(own).collect()
}

#[test]
fn lines_after_a_segment_that_was_begun_and_left_empty_are_read() {
    let folder = Folder::new("left-empty");
    let mut writer = folder.appender(true);
    writer.append(&mut records(&["one", "two"])).unwrap();
    open_segment(&folder.0, 3, true).unwrap();
    // Of this one, which has the segment before it open, and of another one.
    writer.append(&mut records(&["three"])).unwrap();
    assert_eq!(folder.after(2), numbered(&[(3, "three")]));
    let next = folder.appender(false).append(&mut records(&["four"]));
    next.unwrap();
    assert_eq!(folder.after(2), numbered(&[(3, "three"), (4, "four")]));
    assert_eq!(folder.after(0).len(), 4);
}

#[test]
fn numbers_go_on_after_records_that_the_head_was_not_told_of() {
    let folder = Folder::new("not-told");
    let mut writer = folder.appender(true);
    writer.append(&mut records(&["one", "two"])).unwrap();
    let mut left = records(&["three", "four"]);
    number(&mut left, 3);
    fs::write(segment_path(&folder.0, 3), left).unwrap();
    // Were it a rotation that comes next, nothing of it may be cut off.
    let fresh = folder.appender(true).append(&mut records(&["five"]));
    fresh.unwrap();
    writer.append(&mut records(&["six"])).unwrap();
    let lines = [(3, "three"), (4, "four"), (5, "five"), (6, "six")];
    assert_eq!(folder.after(2), numbered(&lines));
    assert_eq!(next_number(&folder.0), 7);
}

#[test]
fn a_segment_that_cannot_be_made_is_made_by_the_next_attempt() {
    let folder = Folder::new("not-made");
    let mut writer = folder.appender(true);
    writer.append(&mut records(&["one", "two"])).unwrap();
    // It can be opened by nobody, as on a disk without room.
    let blocked = segment_path(&folder.0, 3);
    symlink(folder.0.join("no such folder/segment"), &blocked).unwrap();
    let mut fresh = folder.appender(true);
    let mut three = records(&["three"]);
    assert!(fresh.append(&mut three).is_err());
    assert_eq!(next_number(&folder.0), 3);
    fs::remove_file(&blocked).unwrap();
    fresh.append(&mut three).unwrap();
    assert_eq!(segments(&folder.0).unwrap(), [1, 3]);
    assert_eq!(folder.after(2), numbered(&[(3, "three")]));
}

#[test]
fn a_writer_that_died_right_after_its_rotation_is_followed_by_the_next_number() {
    let folder = Folder::new("died-rotating");
    let mut writer = folder.appender(true);
    writer.append(&mut records(&["one", "two"])).unwrap();
    let mut next = folder.appender(false);
    let head_file = next.head_file.try_clone().unwrap();
    let mut head = next.find_end(&head_file).unwrap();
    next.rotate(&mut head, &head_file, 0).unwrap();
    // Its records are there, and the head has not been told.
    let mut left = records(&["three"]);
    number(&mut left, 3);
    fs::write(segment_path(&folder.0, 3), left).unwrap();
    writer.append(&mut records(&["four"])).unwrap();
    assert_eq!(folder.after(2), numbered(&[(3, "three"), (4, "four")]));
}
