//! The report in a terminal: a line that moves while a round runs, and a table at the end.

use std::io::{IsTerminal, Write};

use super::{Contender, Report, Status, by_load, doubts, ratios};
use crate::load::Tick;
use crate::measure::{Percentiles, Spread, grouped, rounded};
use crate::target::BrokerSide;

/// Shows how a round goes; on one line where that can be.
pub fn progress(label: &str, tick: &Tick) {
    let latencies = if tick.acks.samples() > 0 { &tick.acks } else { &tick.ends };
    let shown = |quantile| latencies.quantile_us(quantile).map_or_else(|| "-".to_owned(), time);
    let volume = if tick.acked.records > 0 { tick.acked } else { tick.drained };
    let mut line = format!(
        "{label}  {:>4.0} s  {:>9} records/s  {:>7.1} MB/s  p50 {:>8}  p99 {:>8}",
        tick.at_seconds,
        grouped(volume.records),
        volume.bytes as f64 / 1e6,
        shown(0.5),
        shown(0.99)
    );
    if tick.read.records > 0 {
        line.push_str(&format!("  read {}/s", grouped(tick.read.records)));
    }
    if tick.acked.records > 0 && tick.drained.records > 0 {
        line.push_str(&format!("  drained {:.0} MB/s", tick.drained.bytes as f64 / 1e6));
    }
    let mut out = std::io::stderr().lock();
    let ending = if out.is_terminal() { "\x1b[K\r" } else { "\n" };
    // Nobody is hurt when progress can't be shown.
    let _ = write!(out, "{line}{ending}").and_then(|()| out.flush());
}

/// Takes the moving line away.
pub fn clear_progress() {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        let _ = write!(out, "\x1b[K").and_then(|()| out.flush());
    }
}

/// Prints reports; several of them side by side.
pub fn print(reports: &[Report]) {
    print!("{}", text(reports));
}

/// What is printed.
pub fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        head(report, &mut out);
        for contender in &report.contenders {
            table(contender, &mut out);
        }
        sweep(report, &mut out);
    }
    let loads = by_load(reports);
    for (load, contenders) in &loads {
        side_by_side(load, contenders, &mut out);
    }
    reports.iter().for_each(|report| own_maxima(report, &mut out));
    if reports.len() > 1 {
        for doubt in doubts(reports) {
            out.push_str(&format!("beware  {doubt}\n"));
        }
    }
    for report in reports {
        for note in &report.notes {
            out.push_str(&format!("note    {note}\n"));
        }
        verdict(report, &mut out);
    }
    out
}

fn head(report: &Report, out: &mut String) {
    let settings = &report.settings;
    out.push_str(&format!("\n{} {} ({})\n", report.tool, report.mode, report.commit));
    let machine = &report.machine;
    out.push_str(&format!("machine {}, {} cores, Linux {}", machine.cpu, machine.cores, machine.kernel));
    let rest = machine.virtual_machine.as_ref().map(|name| format!(", virtual ({name})"));
    out.push_str(&format!("{}\n", rest.unwrap_or_default()));
    if let Some(disk) = &report.disk {
        out.push_str(&format!("disk    {}\n", disk.told()));
    }
    if let Some(baseline) = &report.baseline {
        out.push_str(&format!("floor   {}\n", baseline.told()));
    }
    let cores = |cores: &Option<Vec<usize>>| {
        cores.as_ref().map_or_else(|| "any core".to_owned(), |cores| format!("cores {cores:?}"))
    };
    out.push_str(&format!(
        "run     {} x {:.1} s after {:.1} s of warm-up; broker on {}, load on {}\n",
        settings.rounds,
        settings.round_seconds,
        settings.warm_up_seconds,
        cores(&settings.broker_cores),
        cores(&settings.load_cores)
    ));
}

fn table(contender: &Contender, out: &mut String) {
    let workload = contender.workload.as_ref();
    let named =
        workload.map(|workload| format!("{} v{}", workload.name, workload.version)).unwrap_or_default();
    out.push_str(&format!("\n{}: {named} against {}\n", contender.name, contender.facts.version));
    for stream in &contender.summary.streams {
        let rows = [
            ("produced", rate(stream.acked_per_second.as_ref(), stream.acked_mb_per_second.as_ref())),
            ("read along", rate(stream.read_per_second.as_ref(), stream.read_mb_per_second.as_ref())),
            ("drained", rate(stream.drained_per_second.as_ref(), stream.drained_mb_per_second.as_ref())),
            ("acknowledged after", latency(&stream.acks)),
            ("read after", latency(&stream.ends)),
            ("fetch answered after", latency(&stream.fetches)),
            ("sent late by", latency(&stream.lateness)),
        ];
        for (name, row) in rows.into_iter().filter_map(|(name, row)| Some((name, row?))) {
            out.push_str(&format!("  {:<10} {name:<20} {row}\n", stream.name));
        }
        let mut left_out: Vec<&String> = stream.acks.left_out.iter().chain(&stream.ends.left_out).collect();
        left_out.dedup();
        left_out.truncate(1);
        left_out.iter().for_each(|reason| {
            out.push_str(&format!("  {:<10} {:<20} {reason}: run longer, or more rounds\n", stream.name, ""));
        });
    }
    costs(contender, out);
    out.push_str(&format!("  checked    {}\n", contender.checked));
    let disclosed = &contender.facts.disclosed;
    if !disclosed.is_empty() {
        let told: Vec<String> = disclosed.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        out.push_str(&format!("  given      {}\n", told.join("; ")));
    }
    contender.facts.notes.iter().for_each(|note| out.push_str(&format!("  broker     {note}\n")));
}

fn costs(contender: &Contender, out: &mut String) {
    let mut costs = Vec::new();
    if let Some(spread) = &contender.summary.cpu_seconds_per_gb {
        costs.push(format!("{} CPU s/GB", spread_text(spread, 2)));
    }
    if let Some(spread) = &contender.summary.cpu_seconds_per_million_records {
        costs.push(format!("{} CPU s/million records", spread_text(spread, 2)));
    }
    if let Some(bytes) = contender.summary.resident_bytes {
        costs.push(format!("{} MiB resident", bytes >> 20));
    }
    let last = contender.rounds.last();
    if let Some(batches) = last.and_then(|round| round.broker.batches_per_frame) {
        costs.push(format!("{batches:.1} batches a journal frame"));
    }
    if let Some(fill) = last.and_then(|round| round.broker.journal_fill) {
        costs.push(format!("journal {:.0} % full", fill * 100.0));
    }
    if let Some(bytes) = last.and_then(|round| round.broker.device_bytes) {
        let seconds = last.map_or(1.0, |round| round.seconds.max(1e-9));
        costs.push(format!("{:.1} MB/s to the device", bytes as f64 / 1e6 / seconds));
    }
    let sum = |figure: fn(&BrokerSide) -> Option<u64>| -> u64 {
        contender.rounds.iter().filter_map(|round| figure(&round.broker)).sum()
    };
    let (compacted, deleted) = (sum(|side| side.compacted_bytes), sum(|side| side.deleted_segments));
    if compacted > 0 || deleted > 0 {
        costs
            .push(format!("{} MB compacted and {deleted} segments deleted meanwhile", compacted / 1_000_000));
    }
    if !costs.is_empty() {
        out.push_str(&format!("  broker     {}\n", costs.join(", ")));
    }
    if let Some(seconds) = contender.facts.start_seconds {
        let idle = contender.facts.idle_memory_bytes.map_or(0, |bytes| bytes >> 20);
        out.push_str(&format!("  start      {seconds:.2} s, {idle} MiB resident then\n"));
    }
}

fn rate(records: Option<&Spread>, megabytes: Option<&Spread>) -> Option<String> {
    let records = records.map(|spread| format!("{} records/s", spread_text(spread, 0)));
    let megabytes = megabytes.map(|spread| format!("{} MB/s", spread_text(spread, 1)));
    let all: Vec<String> = records.into_iter().chain(megabytes).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Mean, and half the width of its 95 % confidence interval.
fn spread_text(spread: &Spread, digits: usize) -> String {
    let number = |value: f64| {
        if digits == 0 { rounded(value) } else { format!("{value:.digits$}") }
    };
    match spread.plus_minus {
        Some(plus_minus) => format!("{} ±{}", number(spread.mean), number(plus_minus)),
        None => number(spread.mean),
    }
}

fn latency(percentiles: &Percentiles) -> Option<String> {
    if percentiles.samples == 0 {
        return None;
    }
    let shown = ["p50", "p90", "p99", "p99.9", "p99.99"];
    let told = shown.iter().filter_map(|name| Some(format!("{name} {}", time(percentiles.get(name)?))));
    let mut all: Vec<String> = told.collect();
    all.push(format!("max {}", time(percentiles.max_us)));
    Some(format!("{}  ({} samples)", all.join("  "), grouped(percentiles.samples)))
}

/// 1234.5 us as "1.23 ms".
pub fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn sweep(report: &Report, out: &mut String) {
    if report.sweep.is_empty() {
        return;
    }
    out.push_str(&format!(
        "\n  {:<22} {:>12} {:>12} {:>9} {:>9} {:>9}  generator\n",
        "sweep", "asked/s", "acked/s", "p50", "p99", "max"
    ));
    for step in &report.sweep {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), time);
        out.push_str(&format!(
            "  {:<22} {:>12} {:>12} {:>9} {:>9} {:>9}  {:>4.0} %  {}\n",
            step.contender,
            rounded(step.asked_per_second),
            rounded(step.acked_per_second),
            shown(step.p50_us),
            shown(step.p99_us),
            time(step.max_us),
            step.generator_busy * 100.0,
            if step.is_kept { "kept" } else { "missed" }
        ));
    }
    let mut names: Vec<&String> = report.sweep.iter().map(|step| &step.contender).collect();
    names.dedup();
    let objective = report.objective_p99_us.map(time).unwrap_or_default();
    for name in names {
        let steps = report.sweep.iter().filter(|step| &step.contender == name && step.is_kept);
        let best = steps
            .map(|step| step.asked_per_second)
            .fold(None, |most: Option<f64>, rate| Some(most.map_or(rate, |most| most.max(rate))));
        let told = best.map_or_else(
            || format!("no rate tried keeps p99 within {objective}"),
            |rate| format!("{} records/s with p99 within {objective}", rounded(rate)),
        );
        out.push_str(&format!("  {name}: {told}\n"));
    }
}

fn side_by_side(load: &str, contenders: &[&Contender], out: &mut String) {
    let ratios = ratios(contenders);
    let Some(first) = contenders.first().filter(|_| !ratios.is_empty()) else { return };
    out.push_str(&format!(
        "\nbeside {}: {load} (medians of rounds; in brackets what the rounds allow)\n",
        first.name
    ));
    let mut last = String::new();
    for ratio in &ratios {
        let what = format!("{} {}", ratio.stream, ratio.figure);
        if what != last {
            out.push_str(&format!("  {what:<32} {:>12.2}\n", ratio.base));
            last = what;
        }
        out.push_str(&format!(
            "    {:<30} {:>12.2}  x{:.2} [{:.2} to {:.2}]\n",
            ratio.contender, ratio.value, ratio.ratio, ratio.between.0, ratio.between.1
        ));
    }
}

/// What each was loaded with as a part of what it can carry itself.
fn own_maxima(report: &Report, out: &mut String) {
    let own = report.contenders.iter().filter_map(|one| Some((one, one.own_maximum?)));
    let mut is_first = true;
    for (contender, own) in own {
        let streams = &contender.summary.streams;
        if std::mem::take(&mut is_first) {
            out.push_str(&format!(
                "\n  {:<32} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9}\n",
                "at a part of the own maximum", "most/s", "acked/s", "p50", "p99", "p99.9", "max"
            ));
        }
        for stream in streams {
            let shown = |name: &str| stream.acks.get(name).map_or_else(|| "-".to_owned(), time);
            let name = if streams.len() > 1 {
                format!("{}, {}", contender.name, stream.name)
            } else {
                contender.name.clone()
            };
            let acked = stream.acked_per_second.as_ref().map_or(0.0, |spread| spread.median);
            out.push_str(&format!(
                "  {name:<32} {:>12} {:>12} {:>9} {:>9} {:>9} {:>9}\n",
                rounded(own.most_per_second),
                rounded(acked),
                shown("p50"),
                shown("p99"),
                shown("p99.9"),
                time(stream.acks.max_us)
            ));
        }
    }
}

fn verdict(report: &Report, out: &mut String) {
    let word = match report.status {
        Status::Complete => return,
        Status::RateMissed => "RATE NOT REACHED",
        Status::Partial => "PARTIAL: the run ended before its time; what was measured until then is above",
        Status::Void => "VOID: records were lost, came twice or out of order; no figure of this run counts",
    };
    out.push_str(&format!("\n{word}\n"));
    report.problems.iter().for_each(|problem| out.push_str(&format!("  {problem}\n")));
}
