//! The benchmarks: the crate beside a hand-written `std::net` loop and beside tokio.
//!
//! `cargo bench --bench servers` runs every row, and writes `benches/RESULTS.md` and the plots.
//! `cargo bench --bench servers -- threads` runs the rows of `Threads::WhileBusy`, and writes
//! `benches/RESULTS-THREADS.md`. `cargo bench --bench servers -- --help` lists the options.
//!
//! The program starts itself again as the server, with the arguments `serve <peer> <kind>`. This way the
//! clock of the server's CPU time leaves the load generator out. Both processes are pinned to the same
//! CPU, because otherwise the results would depend on which CPU the kernel wakes. The figure is the
//! server's CPU time per unit of work, user and system. The contenders take turns, and each turn has a
//! fresh process. The table shows the median of the ratios of the rounds.
//!
//! Imports go down this list only:
//!
//! - `program` runs everything.
//! - `report` writes the table, and `plots` draws.
//! - `rows` defines the experiments, and `measure` runs one of them.
//! - `outcome` is the figures of one experiment, and `experiment` its definition.
//! - `syscalls` counts system calls with strace.
//! - `load` is the clients.
//! - `server` holds a server process, and `options` reads the command line.
//! - `rivals` builds the servers in other languages.
//! - `peers` is the servers under test.
//! - `machine` describes this computer.

#[cfg(target_os = "linux")]
mod experiment;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod outcome;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod plots;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod rivals;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod syscalls;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let outcome = match options::parse() {
        Ok(options::Command::Help) => {
            println!("{}", options::HELP);
            Ok(())
        }
        Ok(options::Command::Serve { peer, kind }) => peers::serve(peer, kind),
        Ok(options::Command::Measure(options)) => program::run(&options),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("servers: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the benchmarks read /proc, and so run on Linux alone");
}
