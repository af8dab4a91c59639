//! Records on their way to the disk: bounded, and counted when they do not
//! get there.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::lines::{Piece, find_newline};
use crate::log::{self, Appender};
use crate::record::{self, DROPPED, Meta, PARTIAL, Stream};

#[cfg(test)]
mod tests;

/// Bytes that may wait. What has been read is always taken, so that it can be
/// exceeded by the lines of one read.
const CAPACITY: usize = 512 * 1024;
/// How long the program is kept waiting by a disk that does not write.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts at a disk that fails.
const RETRY: Duration = Duration::from_millis(100);
/// How long the end of the log may take once the program has ended.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);
/// How long nothing comes until the queue gives back its memory, but for this
/// much.
const SILENCE: Duration = Duration::from_secs(1);
const IDLE: usize = 16 * 1024;

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    closed: bool,
    /// Bytes that the writer has taken and not written yet.
    writing: usize,
}

impl State {
    const fn is_full(&self) -> bool {
        self.buffer.len() + self.writing >= CAPACITY
    }
}

/// Between the thread that reads pipes and the one that writes the log.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// The writer has written what it had taken.
    emptied: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_full(&self) -> bool {
        self.lock().is_full()
    }

    /// Comes back as soon as there is room, or after that time.
    fn wait_for_room(&self, within: Duration) {
        // Either way it is looked at again.
        drop(
            self.emptied
                .wait_timeout_while(self.lock(), within, |state| state.is_full()),
        );
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Writes what comes until the queue is closed and empty; answers how many
    /// records could not be written at the end.
    pub fn write_to(&self, appender: &mut Appender) -> u64 {
        let mut taken = Vec::new();
        loop {
            let Some(mut state) = self.wait_for_records(&mut taken) else {
                return 0;
            };
            std::mem::swap(&mut state.buffer, &mut taken);
            state.writing = taken.len();
            drop(state);
            if !self.write(appender, &mut taken) {
                return count(&taken) + count(&self.lock().buffer);
            }
            taken.clear();
            self.lock().writing = 0;
            self.emptied.notify_one();
        }
    }

    /// `None` when there are none, and none will come. Buffers that may be
    /// wanted again at once are kept; after a silence, they are not.
    fn wait_for_records(&self, spare: &mut Vec<u8>) -> Option<MutexGuard<'_, State>> {
        let is_waiting = |state: &mut State| state.buffer.is_empty() && !state.closed;
        let mut state = self.lock();
        if spare.capacity().max(state.buffer.capacity()) > IDLE {
            let waited = self.filled.wait_timeout_while(state, SILENCE, is_waiting);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if is_waiting(&mut state) {
                spare.shrink_to(IDLE);
                state.buffer.shrink_to(IDLE);
            }
        }
        let waited = self.filled.wait_while(state, is_waiting);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        (!state.buffer.is_empty()).then_some(state)
    }

    /// `false` when it had to be given up.
    fn write(&self, appender: &mut Appender, records: &mut [u8]) -> bool {
        let mut closed_since = None;
        while appender.append(records).is_err() {
            if self.lock().closed {
                let since = *closed_since.get_or_insert_with(Instant::now);
                if since.elapsed() > LAST_ATTEMPT {
                    return false;
                }
            }
            std::thread::sleep(RETRY);
        }
        true
    }
}

/// How many lines.
fn count(mut records: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(span) = record::measure(records) {
        count += span.count;
        records = records.get(span.size..).unwrap_or_default();
    }
    count
}

/// What becomes of the line of a stream that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    /// All that is still to come of it is dropped too; it has been counted.
    Dropped,
}

/// Of one stream.
#[derive(Debug)]
struct Course {
    /// There is none when the next piece begins a line.
    under_way: Option<Fate>,
    /// What was taken last goes on, and the rest of it was dropped.
    is_cut: bool,
}

impl Course {
    const NEW: Self = Self {
        under_way: None,
        is_cut: false,
    };

    /// What comes is dropped; answers how many lines that are which had not
    /// been counted.
    fn lose(&mut self, piece: Piece<'_>) -> u64 {
        let counted = u64::from(self.under_way == Some(Fate::Dropped));
        self.is_cut |= self.under_way == Some(Fate::Taken);
        let (count, goes_on) = match piece {
            Piece::Whole(_, count) => (count as u64, false),
            Piece::Part(_, goes_on) => (1, goes_on),
        };
        self.under_way = goes_on.then_some(Fate::Dropped);
        count.saturating_sub(counted)
    }

    /// What is left of a piece without the rest of a line whose beginning was
    /// dropped.
    fn keep<'p>(&mut self, piece: Piece<'p>) -> Option<Piece<'p>> {
        let is_dropped = self.under_way == Some(Fate::Dropped);
        let goes_on = matches!(piece, Piece::Part(_, true));
        let fate = if is_dropped {
            Fate::Dropped
        } else {
            Fate::Taken
        };
        self.under_way = goes_on.then_some(fate);
        match piece {
            piece if !is_dropped => Some(piece),
            // The first of them is the end of that line.
            Piece::Whole([_, text], count) if count > 1 => {
                let end = find_newline(text).map_or(text.len(), |end| end + 1);
                Some(Piece::Whole([b"", &text[end..]], count - 1))
            }
            Piece::Whole(..) | Piece::Part(..) => None,
        }
    }
}

/// The end of the queue that lines go in; counts those that do not fit.
#[derive(Debug)]
pub struct Intake<'a> {
    queue: &'a Queue,
    /// Something was taken that the writer has not been told of.
    has_taken: bool,
    /// Since when the queue has been full.
    full_since: Option<Instant>,
    /// Lines, also those of which only a part is.
    dropped: u64,
    dropping_since: Option<Instant>,
    stdout: Course,
    stderr: Course,
}

impl<'a> Intake<'a> {
    pub const fn new(queue: &'a Queue) -> Self {
        Self {
            queue,
            has_taken: false,
            full_since: None,
            dropped: 0,
            dropping_since: None,
            stdout: Course::NEW,
            stderr: Course::NEW,
        }
    }

    /// As [`Intake::may_read`], but waits that long for room.
    pub fn may_read_within(&mut self, within: Duration) -> bool {
        if !self.may_read() {
            self.queue.wait_for_room(within);
        }
        self.may_read()
    }

    /// Whether the pipes may be read now: there is room, or the program has
    /// been kept waiting long enough and its lines are dropped.
    pub fn may_read(&mut self) -> bool {
        if !self.queue.is_full() {
            self.full_since = None;
            return true;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE && self.dropping_since.is_none() {
            return false;
        }
        self.dropping_since.get_or_insert_with(Instant::now);
        true
    }

    /// Takes the lines, or counts them.
    pub fn take(&mut self, meta: &Meta, piece: Piece<'_>) {
        let course = match meta.stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::System => &mut self.stdout,
        };
        if self.dropping_since.is_some() {
            self.dropped += course.lose(piece);
            return;
        }
        let Some(piece) = course.keep(piece) else {
            return;
        };
        self.has_taken = true;
        let buffer = &mut self.queue.lock().buffer;
        match piece {
            Piece::Whole(text, count) => record::encode_lines(buffer, meta, text, count),
            Piece::Part(line, goes_on) => {
                let flags = if goes_on { PARTIAL } else { 0 };
                record::encode(buffer, &Meta { flags, ..*meta }, line);
            }
        }
    }

    /// Hands over what was taken since the last time. Where there is room
    /// again, it first says what was dropped.
    pub fn flush(&mut self, meta: &Meta) {
        if self.dropping_since.is_some() && !self.queue.is_full() {
            self.report(meta);
        }
        if std::mem::take(&mut self.has_taken) {
            self.queue.filled.notify_one();
        }
    }

    /// At the end, there is nobody left to be kept waiting.
    pub fn finish(&mut self, meta: &Meta) {
        if self.dropping_since.is_some() {
            self.report(meta);
        }
        self.flush(meta);
    }

    fn report(&mut self, meta: &Meta) {
        let Some(since) = self.dropping_since.take() else {
            return;
        };
        self.full_since = None;
        // More of a line at most that has been told of before.
        if self.dropped == 0 {
            return;
        }
        let text = format!(
            "{} lines were dropped: the log could not be written for {} s",
            self.dropped,
            since.elapsed().as_secs() + PATIENCE.as_secs()
        );
        self.dropped = 0;
        let meta = Meta {
            at: log::now(),
            stream: Stream::System,
            flags: DROPPED,
            ..*meta
        };
        self.has_taken = true;
        let buffer = &mut self.queue.lock().buffer;
        for (stream, course) in [
            (Stream::Stdout, &mut self.stdout),
            (Stream::Stderr, &mut self.stderr),
        ] {
            // Whoever waits for the rest of it learns that there is none.
            if std::mem::take(&mut course.is_cut) {
                let end = Meta {
                    stream,
                    flags: 0,
                    ..meta
                };
                record::encode(buffer, &end, b"");
            }
        }
        record::encode(buffer, &meta, text.as_bytes());
    }
}
