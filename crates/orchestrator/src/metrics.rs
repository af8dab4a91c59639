//! What Prometheus is shown of workloads. It is looked at when somebody asks:
//! a thousand idle services cost nothing meanwhile, and those that are gone
//! are not shown. Labels are a project's key and a service's name; there are
//! as many as there are folders with services.

use std::fmt::Write as _;

use millrace_types::{Timestamp, WorkloadStage};

use crate::orchestrator::Shared;
use crate::process::{Usage, usage};
use crate::workload::View;

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Sample) -> Option<f64>,
}

const METRICS: [Metric; 7] = [
    Metric {
        name: "millrace_workload_up",
        kind: "gauge",
        help: "1 while the service runs.",
        of: |sample| Some(f64::from(u8::from(sample.is_up))),
    },
    Metric {
        name: "millrace_workload_restarts_total",
        kind: "counter",
        help: "Restarts that nobody asked for, since somebody asked for a start.",
        of: |sample| Some(f64::from(sample.restarts)),
    },
    Metric {
        name: "millrace_workload_instances",
        kind: "gauge",
        help: "Instances that live: two during a replacement.",
        of: |sample| Some(f64::from(sample.instances)),
    },
    Metric {
        name: "millrace_workload_uptime_seconds",
        kind: "gauge",
        help: "Time since the start of the instance that serves.",
        of: |sample| sample.uptime,
    },
    Metric {
        name: "millrace_workload_memory_bytes",
        kind: "gauge",
        help: "Memory of its own that the tree of processes has.",
        of: |sample| sample.usage.map(|usage| float(usage.memory_bytes)),
    },
    Metric {
        name: "millrace_workload_cpu_seconds_total",
        kind: "counter",
        help: "Processor time of the tree of processes that lives.",
        of: |sample| sample.usage.map(|usage| float(usage.cpu_ms) / 1000.0),
    },
    Metric {
        name: "millrace_workload_processes",
        kind: "gauge",
        help: "Processes in the tree.",
        of: |sample| sample.usage.map(|usage| f64::from(usage.processes)),
    },
];

#[expect(clippy::cast_precision_loss, reason = "figures stay far below 2^52")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// A workload at one moment.
struct Sample {
    labels: String,
    is_up: bool,
    restarts: u32,
    instances: u32,
    uptime: Option<f64>,
    /// Of all its instances together.
    usage: Option<Usage>,
}

/// All of them in the text format. Looks into `/proc`: to be called where
/// that may take its time.
pub(crate) fn text(shared: &Shared) -> String {
    let views: Vec<View> = shared
        .handles()
        .values()
        .map(|handle| handle.view.borrow().clone())
        .filter(|view| !view.deleted)
        .collect();
    let mut samples: Vec<Sample> = views.iter().map(sample).collect();
    samples.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    let mut text = String::new();
    for metric in METRICS {
        let Metric {
            name, kind, help, ..
        } = metric;
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for sample in &samples {
            if let Some(value) = (metric.of)(sample) {
                let _ = writeln!(text, "{name}{{{}}} {value}", sample.labels);
            }
        }
        text.push('\n');
    }
    text
}

fn sample(view: &View) -> Sample {
    let state = &view.record.state;
    let living = || view.instances.iter().filter(|i| i.ended_at.is_none());
    let serving = living().find(|instance| instance.pid == state.pid && state.pid.is_some());
    let uptime = serving.map(|instance| {
        let since = Timestamp::now().saturating_since(instance.started_at);
        since.as_secs_f64()
    });
    let mut sum: Option<Usage> = None;
    for used in living().filter_map(|instance| usage(instance.pid?)) {
        let sum = sum.get_or_insert(Usage {
            memory_bytes: 0,
            cpu_ms: 0,
            processes: 0,
        });
        sum.memory_bytes += used.memory_bytes;
        sum.cpu_ms += used.cpu_ms;
        sum.processes += used.processes;
    }
    Sample {
        // Neither may hold what would have to be escaped.
        labels: format!(
            "project=\"{}\",service=\"{}\"",
            view.project_key, view.record.service
        ),
        is_up: state.stage == WorkloadStage::Running,
        restarts: state.restarts,
        instances: u32::try_from(living().count()).unwrap_or(u32::MAX),
        uptime,
        usage: sum,
    }
}
