//! Sums that tell a torn record from a whole one. They are fast, and no more
//! than that.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Of a record of one line.
pub fn narrow(bytes: &[u8]) -> u32 {
    let mut hash = bytes.len() as u64 ^ FACTOR;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = stir(hash, *word);
    }
    end(hash, rest)
}

/// Of a record of many lines: four at a time, since each step of one waits
/// for the one before it.
pub fn wide(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let seed = bytes.len() as u64 ^ FACTOR;
    let mut lanes = [0, 1, 2, 3].map(|lane| seed ^ (lane << 32));
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = stir(*lane, *word);
        }
    }
    let mut hash = seed;
    for lane in lanes {
        hash = stir(hash, lane.to_le_bytes());
    }
    end(hash, rest)
}

const fn stir(hash: u64, word: [u8; 8]) -> u64 {
    let hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    hash ^ (hash >> 29)
}

fn end(mut hash: u64, rest: &[u8]) -> u32 {
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

    #[test]
    fn every_changed_bit_is_seen() {
        let bytes: Vec<u8> = (0..100).collect();
        for sum in [narrow, wide] {
            let whole = sum(&bytes);
            for bit in 0..bytes.len() * 8 {
                let mut torn = bytes.clone();
                torn[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(sum(&torn), whole, "{bit}");
            }
            assert_ne!(sum(&bytes[..99]), whole);
        }
    }
}
