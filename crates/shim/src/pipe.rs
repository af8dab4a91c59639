//! A pipe that the program writes into.
//!
//! Who looks at once whenever something comes wakes up for each write of the
//! program, and makes the program wake him each time. A program that writes
//! much is given a larger pipe, and time to write into it before the next
//! look: it runs on meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::lines::{Lines, Piece};
use crate::record::Stream;
use crate::sys;

/// What a pipe holds as it is made, and while much comes.
const NARROW: usize = 64 * 1024;
const WIDE: usize = 1024 * 1024;
/// So much in so short a time is much.
const MUCH: usize = 32 * 1024;
const MOMENT: Duration = Duration::from_millis(1);
/// Nothing for so long, and it is as it was made: where many pipes of a user
/// are wide, the kernel gives him narrower ones than usual.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Pipe {
    file: File,
    pub stream: Stream,
    lines: Lines,
    /// Whether the last look found all that there was.
    pub is_empty: bool,
    /// Whether it has filled the buffer at the last look.
    pub fills_buffer: bool,
    /// When the moment began, and what has come in it.
    moment: Instant,
    bytes: usize,
    width: Width,
    /// Not looked at before that.
    rests_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Narrow,
    Wide,
    /// The system allows no other.
    Fixed,
}

impl Pipe {
    /// The reading end, which does not block.
    pub fn new(file: OwnedFd, stream: Stream) -> Self {
        Self {
            file: file.into(),
            stream,
            lines: Lines::default(),
            is_empty: false,
            fills_buffer: false,
            moment: Instant::now(),
            bytes: 0,
            width: Width::Narrow,
            rests_until: None,
        }
    }

    /// To be polled; `None` while it rests.
    pub fn fd(&self) -> Option<RawFd> {
        let rests = self.rests_until.is_some();
        (!rests).then(|| self.file.as_raw_fd())
    }

    /// When to look at it though nothing has come.
    pub fn due(&self) -> Option<Instant> {
        let silence = || (self.width == Width::Wide).then(|| self.moment + SILENCE);
        self.rests_until.or_else(silence)
    }

    /// Before each poll; `true` when nothing much has come for a while.
    pub fn pass_time(&mut self) -> bool {
        // Most pipes have nothing to do with time.
        let Some(due) = self.due() else {
            return false;
        };
        let now = Instant::now();
        if now < due || self.rests_until.take().is_some() {
            return false;
        }
        // With more in it than fits, it is tried again.
        self.moment = now;
        if sys::set_pipe_size(self.file.as_fd(), NARROW).is_ok() {
            self.width = Width::Narrow;
        }
        true
    }

    /// The program has ended: what it wrote at last is looked for at once.
    pub fn hurry(&mut self) {
        self.is_empty = false;
        self.rests_until = None;
    }

    /// After a poll of it: calls `each` with what has come. `false` at its end.
    pub fn read(
        &mut self,
        is_ready: bool,
        buffer: &mut [u8],
        mut each: impl FnMut(Piece<'_>),
    ) -> bool {
        if !is_ready {
            // What rests was not asked.
            self.is_empty |= self.rests_until.is_none();
            return true;
        }
        match self.file.read(buffer) {
            Ok(0) => {}
            Ok(length) => {
                self.is_empty = false;
                self.lines.push(&buffer[..length], &mut each);
                self.fills_buffer = length == buffer.len();
                self.pace(length);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_empty = true;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => {}
        }
        self.lines.finish(&mut each);
        false
    }

    /// Calls `each` with what is left of a line without an end.
    pub fn finish(&mut self, each: impl FnMut(Piece<'_>)) {
        self.lines.finish(each);
    }

    fn pace(&mut self, length: usize) {
        let now = Instant::now();
        if now.duration_since(self.moment) > MOMENT {
            self.moment = now;
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes < MUCH {
            return;
        }
        if self.width == Width::Narrow {
            let widened = sys::set_pipe_size(self.file.as_fd(), WIDE);
            self.width = widened.map_or(Width::Fixed, |()| Width::Wide);
        }
        if self.width == Width::Wide && !self.fills_buffer {
            self.rests_until = Some(now + MOMENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Reads it to its end as the shim does; answers the text, and whether it
    /// ever rested.
    fn read_all(mut pipe: Pipe) -> (Vec<u8>, bool) {
        let mut buffer = vec![0; NARROW];
        let (mut text, mut rested) = (Vec::new(), false);
        loop {
            pipe.pass_time();
            let fd = pipe.fd();
            rested |= fd.is_none();
            assert!(fd.is_some() || !pipe.is_empty, "nobody has looked");
            let mut polls = [sys::Poll::input(fd)];
            sys::wait(&mut polls, 1).unwrap();
            let goes_on = pipe.read(polls[0].is_ready(), &mut buffer, |piece| match piece {
                Piece::Whole(parts, _) => text.extend_from_slice(&parts.concat()),
                Piece::Part(part, _) => text.extend_from_slice(part),
            });
            if !goes_on {
                return (text, rested);
            }
        }
    }

    fn pipe() -> (Pipe, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        sys::set_nonblocking(reader.as_fd()).unwrap();
        (Pipe::new(reader.into(), Stream::Stdout), writer)
    }

    #[test]
    fn much_is_read_whole() {
        let (reader, mut writer) = pipe();
        let wanted: Vec<u8> = (0..1_000_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let text = wanted.clone();
        let program = std::thread::spawn(move || writer.write_all(&text));
        let (text, _) = read_all(reader);
        program.join().unwrap().unwrap();
        assert!(text == wanted);
    }

    #[test]
    fn little_never_waits() {
        let (reader, mut writer) = pipe();
        writer.write_all(b"one\ntwo\nthree").unwrap();
        drop(writer);
        assert_eq!(read_all(reader), (b"one\ntwo\nthree".to_vec(), false));
    }

    #[test]
    fn who_hurries_does_not_rest() {
        let (mut reader, mut writer) = pipe();
        let mut buffer = vec![0; NARROW];
        writer.write_all(&vec![b'x'; MUCH]).unwrap();
        assert!(reader.read(true, &mut buffer, |_| ()));
        if reader.width == Width::Fixed {
            return;
        }
        assert!(reader.fd().is_none() && reader.due().is_some());
        reader.hurry();
        assert!(reader.fd().is_some() && !reader.is_empty);
        assert!(reader.read(true, &mut buffer, |_| ()));
        assert!(reader.is_empty, "it was looked at once more");
    }
}
