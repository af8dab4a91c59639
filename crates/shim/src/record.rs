//! What a log is made of on disk: lines one by one, or as many as were read
//! from the program at once.
//!
//! ```text
//!  length u32 │ sum u32 │ seq u64 │ at i64 │ instance 16 │ stream stage flags kind │ body
//!             └──────── the sum is over everything after it ─────────────────────────┘
//!  kind 0, a line:    line
//!  kind 1, of lines:  count u32 │ so many lines, each with its newline
//! ```
//! All numbers are little-endian; the length is that of the body. The number is
//! that of the first line: those after it follow without a gap, and have the
//! rest of it in common. Earlier versions wrote lines one by one only.

use crate::lines::find_newline;
use crate::sum;

/// Bytes before the body.
pub const HEADER: usize = 44;

/// Longest line in one record; longer ones are split.
pub const MAX_LINE: usize = 64 * 1024;
/// Most bytes of lines in one record: a line that was begun before, and what
/// was read with its end.
pub const MAX_TEXT: usize = 2 * MAX_LINE;
/// Most bytes of one record.
pub const MAX_RECORD: usize = HEADER + COUNT + MAX_TEXT;

/// The line goes on in the next record of the same stream and instance.
pub const PARTIAL: u8 = 1;
/// A system line that stands for lines which were lost.
pub const DROPPED: u8 = 2;

const LINE: u8 = 0;
const LINES: u8 = 1;
/// Bytes of the count before many lines.
const COUNT: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Stdout = 0,
    Stderr = 1,
    System = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Validate = 0,
    Build = 1,
    Deploy = 2,
    Running = 3,
    Stop = 4,
}

impl Stream {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stdout),
            1 => Some(Self::Stderr),
            2 => Some(Self::System),
            _ => None,
        }
    }
}

impl Stage {
    pub const fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Validate),
            1 => Some(Self::Build),
            2 => Some(Self::Deploy),
            3 => Some(Self::Running),
            4 => Some(Self::Stop),
            _ => None,
        }
    }
}

/// What is known of a line besides its text and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Microseconds since 1970.
    pub at: i64,
    /// Zero where no instance wrote it.
    pub instance: u128,
    pub stream: Stream,
    pub stage: Stage,
    pub flags: u8,
}

/// A line that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub meta: Meta,
    pub line: Vec<u8>,
}

/// Appends a record of one line to `buffer`; its number and sum are set by
/// [`number`].
pub fn encode(buffer: &mut Vec<u8>, meta: &Meta, line: &[u8]) {
    debug_assert!(line.len() <= MAX_LINE, "longer lines are split before");
    header(buffer, meta, LINE, line.len());
    buffer.extend_from_slice(line);
}

/// The same of `count` whole lines, each with its newline, which are in two
/// pieces.
pub fn encode_lines(buffer: &mut Vec<u8>, meta: &Meta, text: [&[u8]; 2], count: usize) {
    let [begun, rest] = text;
    let length = begun.len() + rest.len();
    debug_assert!(length <= MAX_TEXT, "no more is read at once");
    if let (1, Some((_newline, end))) = (count, rest.split_last()) {
        header(buffer, meta, LINE, length - 1);
        buffer.extend_from_slice(begun);
        buffer.extend_from_slice(end);
        return;
    }
    header(buffer, meta, LINES, COUNT + length);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&count.to_le_bytes());
    buffer.extend_from_slice(begun);
    buffer.extend_from_slice(rest);
}

fn header(buffer: &mut Vec<u8>, meta: &Meta, kind: u8, body: usize) {
    buffer.reserve(HEADER + body);
    let length = u32::try_from(body).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; 12]);
    buffer.extend_from_slice(&meta.at.to_le_bytes());
    buffer.extend_from_slice(&meta.instance.to_be_bytes());
    buffer.extend_from_slice(&[meta.stream as u8, meta.stage as u8, meta.flags, kind]);
}

/// Numbers the lines of the records in `buffer` from `first` on; answers the
/// number that comes next.
pub fn number(buffer: &mut [u8], first: u64) -> u64 {
    let mut rest = buffer;
    let mut seq = first;
    while let Some(span) = measure(rest) {
        let (record, after) = rest.split_at_mut(span.size.min(rest.len()));
        record[8..16].copy_from_slice(&seq.to_le_bytes());
        let sum = sum(record);
        record[4..8].copy_from_slice(&sum.to_le_bytes());
        seq += span.count;
        rest = after;
    }
    seq
}

/// Of a record how long it is, and which lines are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Bytes, with the header.
    pub size: usize,
    /// The first line's number.
    pub seq: u64,
    /// How many lines.
    pub count: u64,
}

impl Span {
    /// The number of the line after it.
    pub const fn next(&self) -> u64 {
        self.seq.saturating_add(self.count)
    }
}

/// The record at the beginning of `bytes`; `None` when there is no whole one.
pub fn peek(bytes: &[u8]) -> Option<Span> {
    let span = measure(bytes)?;
    let record = bytes.get(..span.size)?;
    (sum(record) == u32_at(record, 4)).then_some(span)
}

/// What the record at the beginning of `bytes` says of itself, true or not:
/// for those that are known to be whole.
pub fn measure(bytes: &[u8]) -> Option<Span> {
    let header = bytes.get(..HEADER)?;
    let length = u32_at(header, 0) as usize;
    let seq = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let (most, count) = match header[43] {
        LINE => (MAX_LINE, 1),
        LINES => {
            let count = bytes.get(HEADER..HEADER + COUNT)?;
            (COUNT + MAX_TEXT, u64::from(u32_at(count, 0)))
        }
        _ => return None,
    };
    let size = HEADER + length;
    // Each line has its newline.
    let fits = length <= most && (header[43] == LINE || count <= length as u64);
    fits.then_some(Span { size, seq, count })
}

/// Lines at the end of a record that was found to be whole, not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    meta: Meta,
    /// The number of the first of them.
    pub seq: u64,
    /// Bytes of the record before them.
    pub offset: usize,
    /// Bytes of the record.
    pub size: usize,
}

/// What is in a whole record, before any of its lines is read. `None` when it
/// is of a kind that is not known.
pub fn open(record: &[u8]) -> Option<Rest> {
    let span = measure(record)?;
    Some(Rest {
        meta: Meta {
            at: i64::from_le_bytes(record[16..24].try_into().ok()?),
            instance: u128::from_be_bytes(record[24..40].try_into().ok()?),
            stream: Stream::of(record[40])?,
            stage: Stage::of(record[41])?,
            flags: record[42],
        },
        seq: span.seq,
        offset: HEADER + if record[43] == LINE { 0 } else { COUNT },
        size: span.size,
    })
}

impl Rest {
    /// Appends those of the lines in `text`, which is what comes next in the
    /// record, that are numbered `from` or more, up to `limit`; the rest is
    /// what comes after them.
    pub fn read(&mut self, mut text: &[u8], from: u64, limit: usize, found: &mut Vec<Entry>) {
        let most = found.len() + limit;
        while found.len() < most
            && let Some(end) = find_newline(text)
        {
            if self.seq >= from {
                self.put(&text[..end], found);
            }
            self.seq += 1;
            self.offset += end + 1;
            text = &text[end + 1..];
        }
    }

    /// The same where the record is of one line, which is the text.
    fn read_line(&mut self, line: &[u8], from: u64, found: &mut Vec<Entry>) {
        if self.seq >= from {
            self.put(line, found);
        }
        self.seq += 1;
        self.offset = self.size;
    }

    fn put(&self, line: &[u8], found: &mut Vec<Entry>) {
        found.push(Entry {
            seq: self.seq,
            meta: self.meta,
            line: line.to_vec(),
        });
    }

    /// Whether none is left.
    pub const fn is_over(&self) -> bool {
        self.offset >= self.size
    }
}

/// Appends lines of a whole record as [`Rest::read`] does; what is left after
/// that, when something is.
pub fn entries(record: &[u8], from: u64, limit: usize, found: &mut Vec<Entry>) -> Option<Rest> {
    let mut rest = open(record)?;
    let text = record.get(rest.offset..rest.size)?;
    if record[43] == LINE {
        rest.read_line(text, from, found);
    } else {
        rest.read(text, from, limit, found);
    }
    (!rest.is_over()).then_some(rest)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn sum(record: &[u8]) -> u32 {
    match record[43] {
        LINE => sum::narrow(&record[8..]),
        _ => sum::wide(&record[8..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        at: 1_700_000_000_000_001,
        instance: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        stream: Stream::Stderr,
        stage: Stage::Running,
        flags: PARTIAL,
    };
    const THREE: [&[u8]; 2] = [b"one", b" and more\n\nthree\n"];

    /// All lines of the record at the beginning.
    fn read(bytes: &[u8], from: u64, limit: usize) -> (Vec<Entry>, Option<Rest>) {
        let span = peek(bytes).unwrap();
        let mut found = Vec::new();
        let rest = entries(&bytes[..span.size], from, limit, &mut found);
        (found, rest)
    }

    #[test]
    fn records_are_read_back_with_their_numbers() {
        let mut buffer = Vec::new();
        for line in [&b"one"[..], b"", &[0xff; 100]] {
            encode(&mut buffer, &META, line);
        }
        assert_eq!(number(&mut buffer, 41), 44);
        let span = peek(&buffer).unwrap();
        assert_eq!((span.seq, span.next()), (41, 42));
        assert_eq!(measure(&buffer), Some(span));
        let first = read(&buffer, 0, 9).0.remove(0);
        assert_eq!(
            (first.seq, first.meta, &first.line[..]),
            (41, META, &b"one"[..])
        );
        let second = read(&buffer[span.size..], 0, 9).0.remove(0);
        assert_eq!((second.seq, second.line.len()), (42, 0));
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let hex = "12000000c5a381bb290000000000000001401e18240a06000123456789abcdef\
                   0011223344556677010301006173206974206c696573206f6e206469736b";
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let record: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let (found, _) = read(&record, 0, 9);
        assert_eq!(
            found,
            [Entry {
                seq: 41,
                meta: META,
                line: b"as it lies on disk".to_vec()
            }]
        );
    }

    #[test]
    fn lines_in_one_record_are_read_from_any_of_them() {
        let mut buffer = Vec::new();
        encode_lines(&mut buffer, &META, THREE, 3);
        encode(&mut buffer, &META, b"after them");
        assert_eq!(number(&mut buffer, 41), 45);
        let lines = |found: Vec<Entry>| -> Vec<(u64, String)> {
            found
                .into_iter()
                .map(|e| (e.seq, String::from_utf8(e.line).unwrap()))
                .collect()
        };
        let all = [(41, "one and more"), (42, ""), (43, "three")].map(|(n, s)| (n, s.to_owned()));
        for from in 40..45 {
            let skipped = usize::try_from(from.max(41) - 41).unwrap();
            let (found, rest) = read(&buffer, from, 9);
            assert_eq!((lines(found), rest), (all[skipped..].to_vec(), None));
        }
        let (found, rest) = read(&buffer, 41, 1);
        assert_eq!(lines(found), all[..1]);
        let (mut found, mut rest) = (Vec::new(), rest.unwrap());
        let size = rest.size;
        // As it is read on in two pieces, the first of which ends in a line.
        rest.read(&buffer[rest.offset..size - 3], 42, 9, &mut found);
        rest.read(&buffer[rest.offset..size], 42, 9, &mut found);
        assert_eq!((lines(found), rest.is_over()), (all[1..].to_vec(), true));
        assert_eq!(read(&buffer[size..], 0, 9).0[0].seq, 44);
    }

    #[test]
    fn one_line_is_the_same_in_either_way() {
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        encode(&mut line, &META, b"begun and ended");
        encode_lines(&mut lines, &META, [b"begun and", b" ended\n"], 1);
        assert_eq!(line, lines);
    }

    #[test]
    fn torn_records_are_none() {
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        encode(&mut line, &META, b"a line that is long enough to be torn");
        encode_lines(&mut lines, &META, THREE, 3);
        for mut buffer in [line, lines] {
            number(&mut buffer, 1);
            assert!(peek(&buffer).is_some());
            for end in 0..buffer.len() {
                assert_eq!(peek(&buffer[..end]), None, "{end}");
            }
            for at in 0..buffer.len() {
                let mut torn = buffer.clone();
                torn[at] ^= 0x40;
                // A changed length may ask for more than there is; both are none.
                assert_eq!(peek(&torn), None, "{at}");
            }
        }
        assert_eq!(peek(&[0; 200]), None, "zeros are no record");
    }
}
