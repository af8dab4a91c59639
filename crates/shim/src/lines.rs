//! Cutting a stream of bytes into lines.

use crate::record::MAX_LINE;

/// What has come of a line that has not ended.
#[derive(Debug, Default)]
pub struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Calls `each` with every line that `bytes` end, or that has become too
    /// long for one record: then `true` says that it goes on.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], bool)) {
        while let Some(end) = find_newline(bytes) {
            self.whole(&bytes[..end], &mut each);
            bytes = &bytes[end + 1..];
        }
        while self.open.len() + bytes.len() > MAX_LINE {
            let (head, tail) = bytes.split_at(MAX_LINE - self.open.len());
            self.open.extend_from_slice(head);
            each(&self.open, true);
            self.open.clear();
            bytes = tail;
        }
        self.open.extend_from_slice(bytes);
    }

    /// The last line, when it had no newline.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8], bool)) {
        if !self.open.is_empty() {
            each(&self.open, false);
            self.open = Vec::new();
        }
    }

    fn whole(&mut self, mut end: &[u8], each: &mut impl FnMut(&[u8], bool)) {
        while self.open.len() + end.len() > MAX_LINE {
            let (head, tail) = end.split_at(MAX_LINE - self.open.len());
            self.open.extend_from_slice(head);
            each(&self.open, true);
            self.open.clear();
            end = tail;
        }
        if self.open.is_empty() {
            each(end, false);
        } else {
            self.open.extend_from_slice(end);
            each(&self.open, false);
            self.open.clear();
            // A long line leaves no memory behind.
            self.open.shrink_to(4096);
        }
    }
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(input: &[u8], chunk: usize) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut each = |line: &[u8], partial| found.push((line.to_vec(), partial));
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
}
