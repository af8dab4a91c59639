//! The outcome, one figure a line: ours, theirs, and how many times theirs is.

use std::time::Duration;

use super::{Figures, Options};

struct Row {
    what: String,
    ours: Option<f64>,
    unit: &'static str,
    /// The most that it may be, where that is promised in numbers.
    aim: Option<f64>,
    /// Whether nobody else is to be better.
    best: bool,
    theirs: Vec<(&'static str, Option<f64>)>,
}

/// Rows from the first on in which nobody else is to be better.
const BEST: usize = 3;

pub struct Table {
    ours: &'static str,
    rows: Vec<Row>,
    skipped: Vec<String>,
}

/// All figures as numbers, in the order of the rows.
fn values(figures: &Figures) -> [Option<f64>; 8] {
    let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
    let mib = |kib: u64| kib as f64 / 1024.0;
    [
        ms(figures.start),
        ms(figures.respawn),
        ms(figures.lines),
        figures.daemon.map(|memory| mib(memory.private_dirty)),
        figures.daemon.map(|memory| mib(memory.proportional)),
        figures.each.map(|memory| mib(memory.private_dirty)),
        figures.each.map(|memory| mib(memory.proportional)),
        figures.idle,
    ]
}

impl Table {
    pub fn new(options: &Options, ours: &'static str, figures: &Figures) -> Self {
        let what = [
            (
                format!("{} starts, until all run", options.starts),
                "ms",
                None,
            ),
            ("crash to respawn".to_owned(), "ms", None),
            (
                format!("{} lines, until all are in the log", options.lines),
                "ms",
                None,
            ),
            ("supervisor, Private_Dirty".to_owned(), "MiB", None),
            ("supervisor, Pss".to_owned(), "MiB", None),
            (
                "per workload on top, Private_Dirty".to_owned(),
                "MiB",
                Some(1.0),
            ),
            ("per workload on top, Pss".to_owned(), "MiB", None),
            (format!("{} idle, of a core", options.idle), "%", Some(2.0)),
        ];
        let rows = what.into_iter().zip(values(figures));
        Self {
            ours,
            rows: rows
                .enumerate()
                .map(|(at, ((what, unit, aim), ours))| Row {
                    what,
                    ours,
                    unit,
                    aim,
                    best: at < BEST,
                    theirs: Vec::new(),
                })
                .collect(),
            skipped: Vec::new(),
        }
    }

    pub fn compare(&mut self, name: &'static str, figures: &Figures) {
        for (row, value) in self.rows.iter_mut().zip(values(figures)) {
            row.theirs.push((name, value));
        }
    }

    pub fn skip(&mut self, name: &str, why: &str) {
        println!("SKIPPED: no comparison with {name}: {why}");
        self.skipped
            .push(format!("SKIPPED: no comparison with {name}: {why}"));
    }

    /// Prints all of it; answers how many aims were missed.
    pub fn print(&self) -> usize {
        println!();
        let mut missed = 0;
        for row in &self.rows {
            let Some(ours) = row.ours else {
                continue;
            };
            print!("{:<42} {} {ours:.2} {}", row.what, self.ours, row.unit);
            let mut judge = |is_met: bool| {
                missed += usize::from(!is_met);
                if is_met { "met" } else { "MISSED" }
            };
            if let Some(aim) = row.aim {
                print!(" (aim {aim} {}: {})", row.unit, judge(ours <= aim));
            }
            for (name, value) in &row.theirs {
                if let Some(value) = value {
                    let ratio = value / ours;
                    print!("; {name} {value:.2} {}, ratio {ratio:.2}", row.unit);
                    if row.best {
                        print!(" (aim at least 1: {})", judge(ratio >= 1.0));
                    }
                }
            }
            println!();
        }
        for skipped in &self.skipped {
            println!("{skipped}");
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_than_others_or_more_than_promised_is_missed() {
        let time = |ms| Some(Duration::from_millis(ms));
        let figures = |start, respawn, lines, idle| Figures {
            start: time(start),
            respawn: time(respawn),
            lines: time(lines),
            idle,
            ..Figures::default()
        };
        let options = Options {
            pm2: String::new(),
            supervisord: "supervisord".into(),
            starts: 1,
            rounds: 1,
            lines: 1,
            idle: 1,
            seconds: 1,
            idle_peers: false,
        };
        let missed = |ours, theirs| {
            let mut table = Table::new(&options, "Millrace", &ours);
            table.compare("PM2", &theirs);
            table.print()
        };
        let theirs = || figures(10, 10, 10, Some(0.1));
        // Others may be idler, as long as what is promised is kept.
        assert_eq!(missed(figures(9, 10, 1, Some(1.9)), theirs()), 0);
        assert_eq!(missed(figures(11, 10, 12, Some(2.1)), theirs()), 3);
    }
}
