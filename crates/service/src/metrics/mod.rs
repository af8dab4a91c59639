//! What a process counts of itself, in the text format of Prometheus.
//!
//! Crates record through the `metrics` facade, each in a `metrics.rs` of its
//! own that holds every name and label it has; here is where they arrive and
//! are shown. Names end in what they count (`_total`, `_seconds`, `_bytes`).
//! Labels are few by construction: route templates, methods of contracts,
//! outcomes; never an id, a path with an id in it, or a text from outside.
//!
//! Until [`install`] everything recorded is dropped, at next to no cost.

mod connections;
mod grpc;
mod http;
mod process;
mod telemetry;
mod tls;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use connections::{
    accept_failed, connection_closed, connection_cut, connection_opened, listener_full,
};
pub use grpc::{CalledService, CallsLayer, Side};
pub use http::record_request;
pub(crate) use telemetry::{exported, log_file_failed};
pub(crate) use tls::{certificate_ends, certificate_read};

/// What the process is, and where its figures are.
struct Exporter {
    handle: PrometheusHandle,
    started: Instant,
}

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// Makes a part of the page.
type Section = Box<dyn Fn() -> Option<String> + Send>;

/// Figures of what comes and goes, which the recorder would show for ever.
static SECTIONS: Mutex<Vec<Section>> = Mutex::new(Vec::new());

/// Upper bounds of durations in seconds: from a commit in memory to a wait
/// that a caller gives up on.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Upper bounds of sizes in bytes.
const BYTES: [f64; 7] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];
/// Upper bounds of how many things are handled together.
const BATCH: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often what was recorded is folded into the histograms. Until then each
/// observation takes a few bytes.
const UPKEEP: Duration = Duration::from_secs(5);

/// From now on what this process records is kept, to be shown by [`text`]. To
/// be called once, at its start; the first call counts.
pub fn install(role: &'static str, version: &'static str) {
    EXPORTER.get_or_init(|| {
        let buckets = |builder: PrometheusBuilder, suffix: &str, bounds: &[f64]| {
            builder
                .set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), bounds)
                .expect("there are bounds")
        };
        let builder = PrometheusBuilder::new();
        let builder = buckets(builder, "_seconds", &SECONDS);
        let builder = buckets(builder, "_bytes", &BYTES);
        let builder = buckets(builder, "_writes", &BATCH);
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Someone who embeds this may have a recorder of their own, which
        // then gets everything; this page stays empty.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed already");
        }
        describe_gauge!("millrace_build_info", "Version and role of this process.");
        gauge!("millrace_build_info", "version" => version, "role" => role).set(1.0);
        process::describe();
        http::describe();
        grpc::describe();
        connections::describe();
        telemetry::describe();
        tls::describe();
        Exporter {
            handle,
            started: Instant::now(),
        }
    });
}

/// From now on the page has what `section` makes each time, in Prometheus'
/// format, under names that nothing else has. `None` ends it.
pub fn add_section(section: impl Fn() -> Option<String> + Send + 'static) {
    let mut sections = SECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    sections.push(Box::new(section));
}

/// Everything that this process has recorded; empty before [`install`]. May
/// look at a good part of `/proc`.
pub fn text() -> String {
    let Some(exporter) = EXPORTER.get() else {
        return String::new();
    };
    process::record(exporter.started.elapsed());
    let mut text = exporter.handle.render();
    text.extend(process::cpu_text());
    let mut sections = SECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    sections.retain(|section| match section() {
        Some(more) => {
            text += &more;
            true
        }
        None => false,
    });
    text
}

/// `GET /metrics`.
pub async fn page() -> Response {
    match tokio::task::spawn_blocking(text).await {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(::http::header::CONTENT_TYPE, kind)], text).into_response()
        }
        // A panic of a section, which was said already. A page without
        // figures would be taken for figures that are gone.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Keeps the figures small until `stop`, and calls `sample` each time, for
/// what has to be looked at to be known.
pub async fn keep(stop: CancellationToken, sample: impl Fn() + Send) {
    loop {
        sample();
        if let Some(exporter) = EXPORTER.get() {
            exporter.handle.run_upkeep();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
    }
}
