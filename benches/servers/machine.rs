//! This computer: its description, and the CPU that the benchmark runs on.

use std::fs;
use std::io;
use std::process::Command;
use std::thread::available_parallelism;

use nix::sched::{sched_setaffinity, CpuSet};
use nix::unistd::Pid;

/// Pins this process and its child processes to one CPU. Returns the number of the CPU.
pub(crate) fn pin(cpu: Option<usize>) -> io::Result<usize> {
    let cpu = match cpu {
        Some(cpu) => cpu,
        None => available_parallelism()?.get() - 1,
    };
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(cpu)
}

/// Returns the model, the number of CPUs, the kernel and the compiler, each as a line.
pub(crate) fn describe() -> Vec<String> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let compiler = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    let compiler = String::from_utf8_lossy(&compiler.unwrap_or_default()).into_owned();
    vec![
        format!("CPU: {} × {cores}", model.map_or("unknown", |(_, model)| model)),
        format!("Kernel: Linux {}", kernel.trim()),
        format!("Compiler: {}", compiler.trim()),
    ]
}

/// Returns how many clients the limit of open files allows, 10,000 at most.
pub(crate) fn most_clients() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = files.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    files.unwrap_or(1_024_usize).saturating_sub(64).min(10_000)
}
