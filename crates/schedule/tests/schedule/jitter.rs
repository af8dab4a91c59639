use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schedule::{DEFAULT_JITTER_WINDOW, DstPolicy, Jitter, JitterWindow, workflow_hash};

use crate::{at, cron, second};

/// Computed by Python:
/// `int(hashlib.md5(id.encode()).hexdigest()[:8], 16)`, then `h % 300`,
/// `h % 60`, `h % 3600`, `h % 30`.
const GOLDEN: [(&str, u32, [u64; 4]); 5] = [
    (
        "wfl_00000000000000000000000000",
        4_004_936_267,
        [167, 47, 1067, 17],
    ),
    (
        "wfl_01jd8z6k3v9p2m5q7r4t0w1x8y",
        2_617_907_251,
        [151, 31, 1651, 1],
    ),
    ("orders/nightly-report", 1_173_239_654, [254, 14, 3254, 14]),
    ("", 3_558_706_393, [193, 13, 1993, 13]),
    ("münchen", 116_161_817, [17, 17, 617, 17]),
];

#[test]
fn offsets_are_those_of_the_formula() {
    for (id, hash, [in_300, in_60, in_3600, in_30]) in GOLDEN {
        assert_eq!(workflow_hash(id), hash, "{id}");
        let offset = |window: &str, gap: u64| {
            let jitter = Jitter::new(id, window.parse().unwrap());
            jitter.offset(Some(Duration::from_secs(gap))).as_secs()
        };
        assert_eq!(offset("PT5M", 3600), in_300, "{id}");
        // The gap is shorter than the window.
        assert_eq!(offset("PT5M", 60), in_60, "{id}");
        assert_eq!(offset("P1D", 3600), in_3600, "{id}");
        assert_eq!(offset("100%", 3600), in_3600, "{id}");
        assert_eq!(offset("50%", 60), in_30, "{id}");
        // Nothing to move it in.
        assert_eq!(
            (offset("PT0S", 60), offset("0%", 60), offset("PT5M", 1)),
            (0, 0, 0)
        );
        let last = Jitter::new(id, DEFAULT_JITTER_WINDOW).offset(None);
        assert_eq!(last.as_secs(), in_300, "{id}");
        assert_eq!(
            Jitter::new(id, JitterWindow::Percent(10)).offset(None),
            Duration::ZERO
        );
    }
}

#[test]
fn the_effective_time_is_the_nominal_time_and_the_offset() {
    let schedule = cron("0 2 * * *", "Europe/Berlin", DstPolicy::Once);
    let jitter = Jitter::new("orders/nightly-report", DEFAULT_JITTER_WINDOW);
    let effective = jitter.effective(&schedule, at("2026-12-01T01:00:00Z"));
    assert_eq!(effective, at("2026-12-01T01:04:14Z"));
    let every_second = cron("* * * * * *", "UTC", DstPolicy::Once);
    assert_eq!(jitter.effective(&every_second, second(7)), second(7));
}

#[test]
fn ten_thousand_hourly_schedules_spread_over_their_window() {
    let schedule = cron("0 * * * *", "UTC", DstPolicy::Once);
    let nominal = at("2026-12-01T09:00:00Z");
    let mut load: BTreeMap<i64, u32> = BTreeMap::new();
    for n in 0..10_000 {
        let jitter = Jitter::new(&format!("wfl_{n:026}"), DEFAULT_JITTER_WINDOW);
        let effective = jitter.effective(&schedule, nominal);
        let since = effective.saturating_since(nominal);
        assert!(since < Duration::from_mins(5));
        *load.entry(effective.as_micros()).or_default() += 1;
    }
    let busiest = load.values().max().copied().unwrap();
    assert_eq!(load.values().sum::<u32>(), 10_000);
    assert!(
        f64::from(busiest) <= 2.0 * 10_000.0 / 300.0,
        "busiest second: {busiest}"
    );
}
