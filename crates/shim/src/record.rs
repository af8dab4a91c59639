//! One line of a log as it lies on disk.
//!
//! ```text
//!  length u32 │ sum u32 │ seq u64 │ at i64 │ instance 16 │ stream stage flags 0 │ line
//!             └──────── the sum is over everything after it ───────────────────────┘
//! ```
//! All numbers are little-endian; the length is that of the line.

/// Bytes before the line.
pub const HEADER: usize = 44;

/// Longest line in one record; longer ones are split.
pub const MAX_LINE: usize = 64 * 1024;

/// The line goes on in the next record of the same stream and instance.
pub const PARTIAL: u8 = 1;
/// A system line that stands for lines which were lost.
pub const DROPPED: u8 = 2;

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

/// Appends a record to `buffer`; its number and sum are set by [`number`].
pub fn encode(buffer: &mut Vec<u8>, meta: &Meta, line: &[u8]) {
    debug_assert!(line.len() <= MAX_LINE, "longer lines are split before");
    let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
    buffer.reserve(HEADER + line.len());
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; 12]);
    buffer.extend_from_slice(&meta.at.to_le_bytes());
    buffer.extend_from_slice(&meta.instance.to_be_bytes());
    buffer.extend_from_slice(&[meta.stream as u8, meta.stage as u8, meta.flags, 0]);
    buffer.extend_from_slice(line);
}

/// Numbers the records in `buffer` from `first` on; answers the number that
/// comes next.
pub fn number(buffer: &mut [u8], first: u64) -> u64 {
    let mut rest = buffer;
    let mut seq = first;
    while rest.len() >= HEADER {
        let length = HEADER + line_length(rest);
        let (record, after) = rest.split_at_mut(length.min(rest.len()));
        record[8..16].copy_from_slice(&seq.to_le_bytes());
        let sum = sum(&record[8..]);
        record[4..8].copy_from_slice(&sum.to_le_bytes());
        seq += 1;
        rest = after;
    }
    seq
}

fn line_length(header: &[u8]) -> usize {
    u32_at(header, 0) as usize
}

/// Where the record at the beginning of `bytes` ends, and its number; `None`
/// when there is no whole record.
pub fn peek(bytes: &[u8]) -> Option<(usize, u64)> {
    if bytes.len() < HEADER {
        return None;
    }
    let length = line_length(bytes);
    if length > MAX_LINE || bytes.len() < HEADER + length {
        return None;
    }
    let record = &bytes[..HEADER + length];
    if sum(&record[8..]) != u32_at(record, 4) {
        return None;
    }
    let seq = u64::from_le_bytes(record[8..16].try_into().ok()?);
    Some((record.len(), seq))
}

/// What the record at the beginning of `bytes` says of its length and its
/// number, true or not: for those that are known to be whole.
pub fn measure(bytes: &[u8]) -> Option<(usize, u64)> {
    let length = line_length(bytes.get(..HEADER)?);
    let seq = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    (length <= MAX_LINE).then_some((HEADER + length, seq))
}

/// What is in one whole record.
pub fn entry(bytes: &[u8]) -> Option<Entry> {
    let (length, seq) = measure(bytes)?;
    let meta = Meta {
        at: i64::from_le_bytes(bytes[16..24].try_into().ok()?),
        instance: u128::from_be_bytes(bytes[24..40].try_into().ok()?),
        stream: Stream::of(bytes[40])?,
        stage: Stage::of(bytes[41])?,
        flags: bytes[42],
    };
    let line = bytes.get(HEADER..length)?.to_vec();
    Some(Entry { seq, meta, line })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Tells a torn record from a whole one. It is fast, and no more than that.
fn sum(bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64 ^ FACTOR;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        hash ^= hash >> 29;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> 32;
    // The lower half has taken up the upper one.
    (hash & 0xffff_ffff) as u32
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

    #[test]
    fn records_are_read_back_with_their_numbers() {
        let mut buffer = Vec::new();
        for line in [&b"one"[..], b"", &[0xff; 100]] {
            encode(&mut buffer, &META, line);
        }
        assert_eq!(number(&mut buffer, 41), 44);
        let (length, seq) = peek(&buffer).unwrap();
        let first = entry(&buffer[..length]).unwrap();
        assert_eq!((seq, measure(&buffer)), (41, Some((length, 41))));
        assert_eq!(
            (first.seq, first.meta, &first.line[..]),
            (41, META, &b"one"[..])
        );
        let second = entry(&buffer[length..]).unwrap();
        assert_eq!((second.seq, second.line.len()), (42, 0));
    }

    #[test]
    fn torn_records_are_none() {
        let mut buffer = Vec::new();
        encode(&mut buffer, &META, b"a line that is long enough to be torn");
        number(&mut buffer, 1);
        for end in 0..buffer.len() {
            assert_eq!(peek(&buffer[..end]), None, "{end}");
        }
        for at in 0..buffer.len() {
            let mut torn = buffer.clone();
            torn[at] ^= 0x40;
            // A changed length may ask for more than there is; both are none.
            assert_eq!(peek(&torn), None, "{at}");
        }
        assert_eq!(peek(&[0; 200]), None, "zeros are no record");
    }
}
