//! A soak: servers under badly behaved clients for as long as you like. In the end it checks that no
//! memory, no thread and no descriptor is left over. It needs Linux, because it reads /proc.
//!
//! Run it:   cargo run --release -p soak -- --seconds 60      (--help lists the other options)
//! Stop it:  it ends by itself, with status 0 if nothing is wrong; to stop it sooner, press Ctrl-C
//!
//! The servers are in this process. The clients are in a process that it starts, so the figures are those
//! of the servers alone. A short load comes first. The figures after it are compared with those at the end.

#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod random;
#[cfg(target_os = "linux")]
mod servers;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod tally;
#[cfg(target_os = "linux")]
mod visits;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let outcome = match options::parse() {
        Ok(options::Command::Help) => {
            println!("{}", options::HELP);
            Ok(Vec::new())
        }
        Ok(options::Command::Load { addresses, options }) => load::run(addresses, &options),
        Ok(options::Command::Soak(options)) => soak::run(&options),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(faults) if faults.is_empty() => return std::process::ExitCode::SUCCESS,
        Ok(faults) => faults.iter().for_each(|fault| eprintln!("soak: FAILED: {fault}")),
        Err(error) => eprintln!("soak: {error}"),
    }
    std::process::ExitCode::FAILURE
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the soak reads /proc, and so runs on Linux alone");
}
