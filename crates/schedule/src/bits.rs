//! Sets of small numbers in one word.

/// The smallest member that is at least `from`.
pub(crate) fn next(set: u64, from: u32) -> Option<u32> {
    let rest = if from >= 64 {
        0
    } else {
        set & (u64::MAX << from)
    };
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The largest member that is at most `upto`.
pub(crate) fn prev(set: u64, upto: u32) -> Option<u32> {
    let rest = if upto >= 63 {
        set
    } else {
        set & ((1 << (upto + 1)) - 1)
    };
    rest.checked_ilog2()
}

/// The smallest member of a set that is not empty.
pub(crate) fn first(set: u64) -> u32 {
    set.trailing_zeros()
}

/// The largest member of a set that is not empty.
pub(crate) fn last(set: u64) -> u32 {
    set.checked_ilog2().unwrap_or(0)
}

/// How many members are below `end`.
pub(crate) fn count_below(set: u64, end: u32) -> u64 {
    let rest = if end >= 64 {
        set
    } else {
        set & ((1 << end) - 1)
    };
    u64::from(rest.count_ones())
}

pub(crate) fn has(set: u64, member: u32) -> bool {
    set >> member & 1 == 1
}
