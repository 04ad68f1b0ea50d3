//! The modes: each sets a session up, runs its rounds, and hands back a report.

mod cleanup;
mod compare;
mod judge;
mod options;
mod plain;
mod scenario;
mod session;
mod settle;
mod sweep;
mod tradeoff;
mod turns;
mod written;

use std::process::ExitCode;

use anyhow::{Context, bail};
pub use scenario::Scenario;

use crate::cli::{Cli, Mode, OutputArgs, ReportArgs};
use crate::report::{self, Report};
use crate::{exit, target, workload};

/// Does what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.mode {
        Mode::Produce(arguments) => finish(plain::run(Scenario::Produce, &arguments)?, &arguments.output),
        Mode::Consume(arguments) => finish(plain::consume(&arguments)?, &arguments.load.output),
        Mode::EndToEnd(arguments) => finish(plain::run(Scenario::EndToEnd, &arguments)?, &arguments.output),
        Mode::Mixed(arguments) => finish(plain::run(Scenario::Mixed, &arguments)?, &arguments.output),
        Mode::Sweep(arguments) => finish(sweep::run(&arguments)?, &arguments.load.output),
        Mode::Tradeoff(arguments) => finish(tradeoff::run(&arguments)?, &arguments.load.output),
        Mode::Cleanup(arguments) => finish(cleanup::run(&arguments)?, &arguments.output),
        Mode::Compare(arguments) => finish(compare::run(&arguments)?, &arguments.load.output),
        Mode::Report(arguments) => show(&arguments),
        Mode::KafkaJars { kafka_jars } => {
            println!("{}", target::kafka_jars(kafka_jars.as_deref())?.display());
            Ok(ExitCode::SUCCESS)
        }
        Mode::Workloads { name } => list(name.as_deref()),
    }
}

/// Prints a report, saves it, and says how the run ended.
fn finish(report: Report, output: &OutputArgs) -> anyhow::Result<ExitCode> {
    report::print(std::slice::from_ref(&report));
    let stem = output.out.clone().unwrap_or_else(|| {
        format!("iolite-bench-{}-{}", report.mode, report::time_in_a_name(report.started_at)).into()
    });
    let [json, html] = report::write(&report, &stem)?;
    println!("\nsaved   {}\nplots   {}", json.display(), html.display());
    Ok(exit::of(report.status))
}

fn show(arguments: &ReportArgs) -> anyhow::Result<ExitCode> {
    let reports = arguments.files.iter().map(|file| report::read(file)).collect::<Result<Vec<_>, _>>()?;
    report::print(&reports);
    if let Some(out) = &arguments.out {
        let html = out.with_extension("html");
        std::fs::write(&html, report::page(&reports)).with_context(|| html.display().to_string())?;
        println!("\nplots   {}", html.display());
    }
    let tool = |report: &Report| format!("{} ({})", report.tool, report.commit);
    let tools: Vec<String> = reports.iter().map(tool).collect();
    if tools.windows(2).any(|pair| pair[0] != pair[1]) {
        bail!(
            "the reports come from different versions of the tool: {tools:?}; their figures may mean different things"
        );
    }
    Ok(exit::of(reports.iter().map(|report| report.status).max().unwrap_or_default()))
}

fn list(name: Option<&str>) -> anyhow::Result<ExitCode> {
    match name {
        Some(name) => print!("{}", workload::text(name)?),
        None => {
            for workload in workload::all() {
                println!(
                    "{:<38} {}",
                    format!("{} (v{})", workload.name, workload.version),
                    workload.description
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
