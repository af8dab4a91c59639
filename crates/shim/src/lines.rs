//! Cutting a stream of bytes into lines.

use crate::record::MAX_LINE;

/// Memory that is kept of a line that was long.
const KEPT: usize = 4096;

/// What has come of a line that has not ended.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

/// What has come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// So many lines, each with its newline. What is in the first part of the
    /// text is the beginning of the first one.
    Whole([&'a [u8]; 2], usize),
    /// One that is too long for one record, or the last one, which has no
    /// newline; `true` when it goes on.
    Part(&'a [u8], bool),
}

impl Lines {
    /// Calls `each` with the lines that `bytes` end, in as few pieces as
    /// possible, and with what has become too long for one record.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        // So that one piece is never more than fits into a record.
        for bytes in bytes.chunks(MAX_LINE) {
            self.push_some(bytes, &mut each);
        }
    }

    fn push_some(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        if let Some(first) = find_newline(bytes)
            && self.open.len() + first > MAX_LINE
        {
            self.lengthen(&bytes[..first], each);
            self.close(each);
            bytes = &bytes[first + 1..];
        }
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            let (whole, rest) = bytes.split_at(last + 1);
            each(Piece::Whole([&self.open, whole], count_newlines(whole)));
            self.open.clear();
            // A long line leaves no memory behind.
            self.open.shrink_to(KEPT);
            bytes = rest;
        }
        self.lengthen(bytes, each);
    }

    /// The last line, when it had no newline.
    pub fn finish(&mut self, mut each: impl FnMut(Piece<'_>)) {
        if !self.open.is_empty() {
            self.close(&mut each);
        }
    }

    /// More of a line that has not ended.
    fn lengthen(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        while self.open.len() + bytes.len() > MAX_LINE {
            let (head, tail) = bytes.split_at(MAX_LINE - self.open.len());
            self.open.extend_from_slice(head);
            each(Piece::Part(&self.open, true));
            self.open.clear();
            bytes = tail;
        }
        self.open.extend_from_slice(bytes);
    }

    fn close(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        each(Piece::Part(&self.open, false));
        self.open.clear();
        self.open.shrink_to(KEPT);
    }
}

pub(crate) fn find_newline(bytes: &[u8]) -> Option<usize> {
    // Eight bytes at a time: whether one of them is a newline.
    const NEWLINES: u64 = 0x0a0a_0a0a_0a0a_0a0a;
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word) ^ NEWLINES;
        if word.wrapping_sub(LOW) & !word & HIGH != 0 {
            break;
        }
        at += 8;
    }
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|offset| at + offset)
}

fn count_newlines(bytes: &[u8]) -> usize {
    // As many as a byte can count, so that the compiler counts many bytes at
    // a time.
    let count = |some: &[u8]| some.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>();
    bytes.chunks(192).map(|some| usize::from(count(some))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(input: &[u8], chunk: usize) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut each = |piece: Piece<'_>| match piece {
            Piece::Part(line, partial) => found.push((line.to_vec(), partial)),
            Piece::Whole(text, count) => {
                let text = text.concat();
                let text = text.strip_suffix(b"\n").unwrap();
                let before = found.len();
                found.extend(
                    text.split(|b| *b == b'\n')
                        .map(|line| (line.to_vec(), false)),
                );
                assert_eq!(found.len() - before, count);
            }
        };
        for bytes in input.chunks(chunk) {
            lines.push(bytes, &mut each);
        }
        lines.finish(&mut each);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let input = b"one\n\ntwo which is longer than eight\r\n\nthree".to_vec();
        let whole = cut(&input, 1000);
        let texts: Vec<&[u8]> = whole.iter().map(|(line, _)| &line[..]).collect();
        let wanted: [&[u8]; 5] = [
            b"one",
            b"",
            b"two which is longer than eight\r",
            b"",
            b"three",
        ];
        assert_eq!(texts, wanted);
        for chunk in 1..20 {
            assert_eq!(cut(&input, chunk), whole);
        }
    }

    #[test]
    fn long_lines_are_split_and_marked() {
        let mut input = vec![b'x'; 2 * MAX_LINE + 7];
        input.push(b'\n');
        input.extend_from_slice(&vec![b'y'; MAX_LINE]);
        input.push(b'\n');
        for chunk in [1000, 4096, 65_536, 1 << 20] {
            let found: Vec<_> = cut(&input, chunk)
                .iter()
                .map(|(line, partial)| (line.len(), *partial))
                .collect();
            let wanted = [
                (MAX_LINE, true),
                (MAX_LINE, true),
                (7, false),
                (MAX_LINE, false),
            ];
            assert_eq!(found, wanted, "in chunks of {chunk}");
        }
    }

    #[test]
    fn newlines_are_counted() {
        for length in [0, 1, 191, 192, 193, 1000] {
            assert_eq!(count_newlines(&vec![b'\n'; length]), length);
            assert_eq!(count_newlines(&vec![b'x'; length]), 0);
        }
    }
}
