//! The figures of this process that the system counts.

use std::fmt;
use std::fs;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
}

impl Figures {
    pub(crate) fn now() -> io::Result<Figures> {
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok(Figures {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            threads: fs::read_dir("/proc/self/task")?.count(),
            resident: resident.ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status"))?,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { descriptors, threads, resident } = self;
        write!(f, "{resident} KiB resident, {threads} threads, {descriptors} descriptors")
    }
}
