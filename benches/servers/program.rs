//! The whole program: it measures, and then it reports.

use std::fs;
use std::io;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::options::Options;
use crate::{machine, measure, plots, report, rivals, rows, syscalls};

/// Measures the rows that the options keep, prints the table, and writes it if the options say so.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let rows = if options.all_peers {
        rows::rivals::rows(options, &rivals::build())
    } else if options.threads {
        rows::threads::rows(options)
    } else {
        rows::all(options)
    };
    if options.list {
        for row in rows {
            println!("{}", row.name);
        }
        return Ok(());
    }
    let machine = machine::describe();
    let cpu = machine::pin(options.cpu)?;
    let steps = rows.iter().map(|row| row.rounds * row.contenders.len()).sum::<usize>();
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} {msg}");
    let bar = ProgressBar::new(steps as u64).with_style(style.map_err(io::Error::other)?);
    let outcomes: Vec<_> = rows.into_iter().map(|row| measure::run(row, &bar)).collect();
    bar.set_message("system calls");
    if options.all_peers {
        bar.finish_and_clear();
        rivals::remove();
        let text = report::rivals(&outcomes, &machine, cpu, options);
        println!("{text}");
        if options.writes() {
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS-PEERS.md"), &text)?;
        }
        return Ok(());
    }
    if options.threads {
        bar.finish_and_clear();
        let text = report::threads::text(&outcomes, &machine, cpu, options);
        println!("{text}");
        if options.writes() {
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS-THREADS.md"), &text)?;
        }
        return Ok(());
    }
    let calls = if options.keeps("syscalls") { syscalls::count(&bar) } else { Vec::new() };
    bar.finish_and_clear();
    let text = report::text(&outcomes, &calls, &machine, cpu, options);
    println!("{text}");
    if options.writes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::write(folder.join("RESULTS.md"), &text)?;
        plots::draw(&outcomes, &folder.join("plots"))?;
    }
    Ok(())
}
