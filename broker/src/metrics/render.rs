//! The registry as Prometheus text (exposition format 0.0.4).
//!
//! Rates and gauges are shown for each shard up to [`METRICS_SHARDS_SHOWN_MAX`] shards and summed up beyond; histograms
//! and errors are summed over shards; an API is shown once it was asked, and the last of too many as `other`. So the
//! series stay below [`METRICS_SERIES_MAX`](crate::limits::METRICS_SERIES_MAX) whatever runs.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use protocol::api::ApiKey;
use protocol::error::KafkaError;

use super::histogram::{BOUNDS_MICROS, Merged};
use super::{Count, Gauge, Registry, ShardCells, Stage, error_index, process};
use crate::limits::{METRICS_ERROR_SERIES_MAX, METRICS_HISTOGRAMS_MAX, METRICS_SHARDS_SHOWN_MAX};

/// Everything, ready to be sent.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let version = env!("CARGO_PKG_VERSION");
    page.head("iolite_build_info", "gauge", "Which broker this is.");
    page.line(format_args!("iolite_build_info{{version=\"{version}\"}} 1"));
    let ready = u8::from(registry.unready_reasons().is_empty());
    page.head("iolite_ready", "gauge", "1 where /readyz says yes.");
    page.line(format_args!("iolite_ready {ready}"));
    render_shards(&mut page, registry);
    render_requests(&mut page, registry);
    render_stages(&mut page, registry);
    render_errors(&mut page, registry);
    render_process(&mut page);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String takes all");
    }
}

/// Shards as they are shown: each by itself, or all as one.
fn shown(registry: &Registry) -> Vec<(String, &[std::sync::Arc<ShardCells>])> {
    let shards = &registry.shards;
    if shards.len() > METRICS_SHARDS_SHOWN_MAX {
        return vec![("all".to_owned(), shards)];
    }
    shards.chunks(1).enumerate().map(|(index, shard)| (index.to_string(), shard)).collect()
}

fn render_shards(page: &mut Page, registry: &Registry) {
    let shown = shown(registry);
    for count in Count::ALL {
        let name = format!("iolite_{}", count.shown());
        page.head(&name, "counter", count.help());
        for (label, shards) in &shown {
            let sum: u64 = shards.iter().map(|cells| cells.counts[count.index()].get()).sum();
            page.line(format_args!("{name}{{shard=\"{label}\"}} {sum}"));
        }
    }
    page.head("iolite_stalls_total", "counter", "Times that a shard was busy with one thing for too long.");
    for (label, shards) in &shown {
        let sum: u64 = shards.iter().map(|cells| cells.stalls.get()).sum();
        page.line(format_args!("iolite_stalls_total{{shard=\"{label}\"}} {sum}"));
    }
    for gauge in Gauge::ALL {
        let name = format!("iolite_{}", gauge.shown());
        page.head(&name, "gauge", gauge.help());
        for (label, shards) in &shown {
            let value =
                |cells: &std::sync::Arc<ShardCells>| cells.gauges[gauge.index()].load(Ordering::Relaxed);
            let sum: u64 = shards.iter().map(value).sum();
            page.line(format_args!("{name}{{shard=\"{label}\"}} {sum}"));
        }
    }
}

fn render_requests(page: &mut Page, registry: &Registry) {
    page.head("iolite_requests_total", "counter", "Requests, by API.");
    for (label, shards) in shown(registry) {
        for (slot, api) in ApiKey::ALL.iter().enumerate() {
            let sum: u64 = shards.iter().map(|cells| cells.apis[slot].requests.get()).sum();
            if sum > 0 {
                let api = api.name();
                page.line(format_args!("iolite_requests_total{{shard=\"{label}\",api=\"{api}\"}} {sum}"));
            }
        }
    }
}

fn render_stages(page: &mut Page, registry: &Registry) {
    let name = "iolite_request_seconds";
    let stages: Vec<_> =
        Stage::ALL.iter().map(|stage| format!("{}: {}", stage.shown(), stage.help())).collect();
    page.head(name, "histogram", &format!("How long stages of requests take. {}", stages.join(" ")));
    let mut shown = 0;
    let mut rest = [Merged::default(); Stage::ALL.len()];
    for (slot, api) in ApiKey::ALL.iter().enumerate() {
        for stage in Stage::ALL {
            let mut merged = Merged::default();
            for cells in &registry.shards {
                merged.add(&cells.apis[slot].stages[stage.index()]);
            }
            if merged.count() == 0 {
                continue;
            }
            if shown == METRICS_HISTOGRAMS_MAX {
                rest[stage.index()].merge(&merged);
                continue;
            }
            shown += 1;
            render_histogram(page, name, api.name(), *stage, &merged);
        }
    }
    for (stage, merged) in Stage::ALL.iter().zip(&rest).filter(|(_, merged)| merged.count() > 0) {
        render_histogram(page, name, "other", *stage, merged);
    }
}

fn render_histogram(page: &mut Page, name: &str, api: &str, stage: Stage, merged: &Merged) {
    let labels = format!("api=\"{api}\",stage=\"{}\"", stage.shown());
    let mut below = 0;
    for (bound, count) in BOUNDS_MICROS.iter().zip(merged.buckets) {
        below += count;
        let bound = Seconds(*bound);
        page.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {below}"));
    }
    let count = merged.count();
    let sum = Seconds(merged.sum_micros);
    page.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
    page.line(format_args!("{name}_sum{{{labels}}} {sum}"));
    page.line(format_args!("{name}_count{{{labels}}} {count}"));
}

/// Microseconds, shown as seconds without trailing zeros.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        formatter.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn render_errors(page: &mut Page, registry: &Registry) {
    page.head(
        "iolite_errors_total",
        "counter",
        "Errors that requests were answered with, by API and Kafka's name.",
    );
    let mut series = 0;
    let mut rest = 0;
    for (slot, api) in ApiKey::ALL.iter().enumerate() {
        for error in KafkaError::ALL {
            let errors =
                |cells: &std::sync::Arc<ShardCells>| cells.apis[slot].errors[error_index(*error)].get();
            let sum: u64 = registry.shards.iter().map(errors).sum();
            if sum == 0 {
                continue;
            }
            if series == METRICS_ERROR_SERIES_MAX {
                rest += sum;
                continue;
            }
            series += 1;
            let (api, error) = (api.name(), error.name());
            page.line(format_args!("iolite_errors_total{{api=\"{api}\",error=\"{error}\"}} {sum}"));
        }
    }
    if rest > 0 {
        page.line(format_args!("iolite_errors_total{{api=\"other\",error=\"other\"}} {rest}"));
    }
}

fn render_process(page: &mut Page) {
    let process = process::read();
    let mut figure = |name: &str, kind: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            page.head(name, kind, help);
            page.line(format_args!("{name} {value}"));
        }
    };
    let whole = |value: Option<u64>| value.map(|value| value.to_string());
    let cpu = process.cpu_seconds.map(|seconds| format!("{seconds:.2}"));
    figure(
        "process_resident_memory_bytes",
        "gauge",
        "Memory that the process has.",
        whole(process.resident_bytes),
    );
    figure("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu);
    figure("process_threads", "gauge", "Threads of the process.", whole(process.threads));
    figure(
        "process_context_switches_total",
        "counter",
        "Context switches of its threads.",
        whole(process.context_switches),
    );
    figure(
        "process_written_bytes_total",
        "counter",
        "Bytes that it has had written to devices.",
        whole(process.written_bytes),
    );
    figure("process_open_fds", "gauge", "Files open.", whole(process.open_files));
    figure("process_max_fds", "gauge", "Files that may be open.", whole(process.open_files_max));
}
