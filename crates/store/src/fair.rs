//! How a claim shares out when more is due than it may take.
//!
//! Half of it goes round: one for each deployment that has something due, on
//! from the one that was served last. The other half goes by priority, in
//! turn where it is equal. So a flood delays others by little, and whoever
//! has low priority still gets on.

/// Deployments that one claim looks at, at most.
pub const LOOKED_AT: u32 = 64;

/// Where the round stands, in this process.
#[derive(Debug, Default)]
pub struct Turn {
    /// The deployment served last; empty at first.
    pub last: String,
    /// Claims so far: a claim of one alternates between the halves.
    claims: u64,
}

impl Turn {
    /// How many of `limit` go round in this claim.
    pub const fn round(&mut self, limit: usize) -> usize {
        self.claims = self.claims.wrapping_add(1);
        if limit > 1 {
            limit / 2
        } else if self.claims % 2 == 1 {
            limit
        } else {
            0
        }
    }
}

/// How many candidates to read of each of `deployments`: enough to share
/// `limit` out, and few altogether.
pub fn depth(limit: usize, deployments: usize) -> usize {
    (limit * 2 / deployments.max(1)).max(8).min(limit.max(1))
}

/// A deployment with something due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due<T> {
    pub priority: i16,
    /// Oldest due first.
    pub candidates: Vec<T>,
}

/// Chooses up to `limit`, of which `round` go round. `due` is in the order of
/// the round.
pub fn choose<T: Clone>(due: &[Due<T>], limit: usize, round: usize) -> Vec<T> {
    let mut chosen = Vec::with_capacity(limit);
    let mut taken = vec![0; due.len()];
    for (at, deployment) in due.iter().enumerate().take(round.min(limit)) {
        if let Some(first) = deployment.candidates.first() {
            chosen.push(first.clone());
            taken[at] = 1;
        }
    }
    let mut by_priority: Vec<usize> = (0..due.len()).collect();
    by_priority.sort_by_key(|at| std::cmp::Reverse(due[*at].priority));
    for group in by_priority.chunk_by(|a, b| due[*a].priority == due[*b].priority) {
        let mut left = true;
        while left && chosen.len() < limit {
            left = false;
            for at in group {
                if chosen.len() >= limit {
                    break;
                }
                if let Some(next) = due[*at].candidates.get(taken[*at]) {
                    chosen.push(next.clone());
                    taken[*at] += 1;
                    left = true;
                }
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(priority: i16, name: &str, count: usize) -> Due<String> {
        Due {
            priority,
            candidates: (0..count).map(|n| format!("{name}{n}")).collect(),
        }
    }

    #[test]
    fn a_flood_leaves_room_for_the_single_one() {
        let all = [due(0, "a", 50), due(0, "b", 1)];
        assert_eq!(choose(&all, 4, 2), ["a0", "b0", "a1", "a2"]);
    }

    #[test]
    fn priority_goes_first_and_the_lowest_still_gets_on() {
        let all = [due(-5, "low", 50), due(9, "high", 50)];
        assert_eq!(choose(&all, 4, 2), ["low0", "high0", "high1", "high2"]);
        assert_eq!(choose(&all, 1, 1), ["low0"]);
        assert_eq!(choose(&all, 1, 0), ["high0"]);
    }

    #[test]
    fn equals_take_turns() {
        let all = [due(0, "a", 9), due(0, "b", 9), due(0, "c", 9)];
        assert_eq!(choose(&all, 6, 3), ["a0", "b0", "c0", "a1", "b1", "c1"]);
    }

    #[test]
    fn a_claim_of_one_alternates() {
        let mut turn = Turn::default();
        let rounds: Vec<_> = (0..4).map(|_| turn.round(1)).collect();
        assert_eq!(rounds, [1, 0, 1, 0]);
        assert_eq!(turn.round(128), 64);
    }
}
