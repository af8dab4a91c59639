//! "Did you mean" for names that are nearly right.

/// `; did you mean …?` for the nearest of `known`, or nothing when none is
/// near.
pub fn suggestion<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    // A third of a word may be wrong, and two letters at most.
    let allowed = (given.chars().count() / 3).clamp(1, 2);
    known
        .into_iter()
        .map(|known| (distance(given, known), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

/// How many letters to add, drop, change or swap with their neighbour; case
/// does not count.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["then", "input", "output", "export", "if"];
        assert_eq!(suggestion("thne", known), "; did you mean `then`?");
        assert_eq!(suggestion("ouput", known), "; did you mean `output`?");
        assert_eq!(suggestion("Input", known), "; did you mean `input`?");
        assert_eq!(suggestion("retry", known), "");
        assert_eq!(suggestion("of", known), "; did you mean `if`?");
        assert_eq!(suggestion("", known), "");
    }
}
