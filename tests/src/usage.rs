//! What a process uses: CPU time, which says more than the clock where agent, gateway and load share two cores, and memory.

use std::{fs, time::Duration};

/// User and system time of a process so far. Resolution 10 ms (`/proc/PID/stat`, proc(5): fields 14 and 15, in ticks
/// of 1/100 s).
pub fn time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name is in parentheses and may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// Resident memory of a process, bytes (`/proc/PID/statm`, field 2, in pages of 4 KiB).
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

/// The most that was resident since the process started, bytes (`/proc/PID/status`, `VmHWM`).
pub fn peak_resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("0")
        .parse()?;
    Ok(kib * 1024)
}
