//! The benchmarks: the crate beside a hand-written `std::net` loop and beside tokio.
//!
//! `cargo bench --bench servers` runs every row and writes `benches/RESULTS.md` and the plots.
//! `cargo bench --bench servers -- --help` tells what else it does.
//!
//! The program is its own server: for each measurement it starts itself again as `serve <peer>
//! <kind>`, so that the clock of the server's CPU time is not the load generator's. Both are pinned
//! to one and the same CPU, or luck in waking the other one would decide. What counts is the
//! server's CPU time per unit of work, user and system; the contenders take turns, each with a
//! fresh process, and what is told is the median of the rounds' ratios.

#[cfg(target_os = "linux")]
mod experiment;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod plots;
#[cfg(target_os = "linux")]
mod report;
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
        Ok(options::Command::Measure(options)) => measure::all(&options),
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
