//! What is there becomes tables, pictures and one line of JSON.

use std::fs;
use std::path::Path;

use super::cell;
use super::plot::{Bar, Bars, Group, Scale};
use super::ratios::{OfCell, as_json, figures};
use super::record::{CROWD, HYPER, Pair, Record, over};
use super::settings::SETTINGS;
use super::stage::Run;
use super::{Args, PeersError, table};

/// Of every cell that has results, whether measured now or before.
pub(super) fn report(args: &Args, run: &Run<'_>) -> Result<(), PeersError> {
    let records = all_records(run);
    let cells: Vec<OfCell<'_>> =
        cell::all().into_iter().map(|cell| OfCell::of(cell, &records)).collect();
    let figures = figures(&cells);
    let section = table::section(&cells, &figures, &run.skipped);
    print!("{section}");
    if let Some(path) = &args.report {
        let text = fs::read_to_string(path).unwrap_or_default();
        write(path, &table::replaced(&text, &section))?;
    }
    if let Some(folder) = &args.plots {
        draw(folder, &cells)?;
    }
    if args.json {
        println!("{}", as_json(&figures, failures(&records), &run.skipped));
    }
    Ok(())
}

fn all_records(run: &Run<'_>) -> Vec<Record> {
    let names = [HYPER, CROWD].into_iter().chain(SETTINGS.iter().map(|setting| setting.name));
    let names: Vec<&str> = names.collect();
    let of_cell =
        |cell| names.iter().filter_map(move |name| run.store.found(cell, name, &run.wanted));
    cell::all().into_iter().flat_map(of_cell).collect()
}

fn failures(records: &[Record]) -> [u64; 2] {
    let all =
        records.iter().map(|record| record.failures().map(|kinds| kinds.values().sum::<u64>()));
    all.fold([0, 0], |[ours, theirs], [more, of_theirs]| [ours + more, theirs + of_theirs])
}

fn draw(folder: &Path, cells: &[OfCell<'_>]) -> Result<(), PeersError> {
    let throughput = Bars {
        title: "Throughput of one core, 64 connections",
        unit: "requests/s",
        scale: Scale::Linear,
        groups: groups(cells, |record| &record.saturated, |sample| sample.requests_per_second),
    };
    let latency = Bars {
        title: "Median latency at one connection",
        unit: "µs, logarithmic",
        scale: Scale::Logarithmic,
        groups: groups(cells, |record| &record.single, |sample| sample.p50_us),
    };
    let cpu = Bars {
        title: "CPU time of a request, 64 connections",
        unit: "µs, logarithmic",
        scale: Scale::Logarithmic,
        groups: groups(cells, |record| &record.saturated, |sample| sample.cpu_us),
    };
    write(&folder.join("peers_throughput.svg"), &throughput.to_svg())?;
    write(&folder.join("peers_latency.svg"), &latency.to_svg())?;
    write(&folder.join("peers_cpu.svg"), &cpu.to_svg())
}

/// A group for each cell: ours as in the first record that has it, then everybody else.
fn groups(
    cells: &[OfCell<'_>],
    pairs: impl Fn(&Record) -> &Vec<Pair> + Copy,
    figure: impl Fn(&super::record::Sample) -> f64 + Copy,
) -> Vec<Group> {
    let measured = cells.iter().filter(|cell| cell.settings().next().is_some());
    measured
        .map(|cell| {
            let others = cell.records.iter().filter(|record| record.against != CROWD);
            let all = || others.clone().flat_map(|record| pairs(record));
            let ours: Vec<Pair> = all().cloned().collect();
            let median = |found: Option<crate::compare::Spread>| found.map_or(0.0, |it| it.median);
            let mut bars = vec![Bar {
                name: "Hydrofoil".to_owned(),
                value: median(over(&ours, |pair| figure(&pair.ours))),
                ours: true,
            }];
            bars.extend(others.map(|record| Bar {
                name: record.against.clone(),
                value: median(over(pairs(record), |pair| figure(&pair.theirs))),
                ours: false,
            }));
            Group { name: cell.cell.to_string(), bars }
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), PeersError> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(path, text));
    written.map_err(|source| PeersError::Write { path: path.to_owned(), source })
}
