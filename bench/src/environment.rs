//! Where and with what a result was measured: kept in every result, since figures without it compare nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// Seconds since 1970.
    pub at_unix_s: u64,
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// None where the kernel offers no choice, as in most virtual machines.
    pub governor: Option<String>,
    /// Cores' worth of run time that the control group may use; None: no limit.
    pub cpu_quota: Option<f64>,
    /// Of all cores' time during the run, what the host gave to others.
    pub steal_share: Option<f64>,
    pub version: &'static str,
    /// Of the folder the command ran in, with `+` where files had changed.
    pub git_revision: Option<String>,
    /// What the server calls itself.
    pub server: Option<String>,
    pub command_line: Vec<String>,
}

/// To be taken before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    steal: u64,
    all: u64,
}

impl CpuTimes {
    pub fn now() -> Option<CpuTimes> {
        cpu_times(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn steal_share(self, later: CpuTimes) -> Option<f64> {
        let all = later.all.checked_sub(self.all).filter(|&all| all > 0)?;
        Some(later.steal.saturating_sub(self.steal) as f64 / all as f64)
    }
}

impl Environment {
    /// `before`: taken when the run began.
    pub fn capture(before: Option<CpuTimes>, server: Option<String>) -> Environment {
        let steal_share = before.zip(CpuTimes::now()).and_then(|(from, to)| from.steal_share(to));
        Environment {
            at_unix_s: unix_s(),
            cpu: first_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: first_value("/proc/meminfo", "MemTotal")
                .and_then(|kib| mib(&kib))
                .unwrap_or(0),
            kernel: read_trimmed("/proc/sys/kernel/osrelease").unwrap_or_default(),
            governor: read_trimmed("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            cpu_quota: read_trimmed("/sys/fs/cgroup/cpu.max").and_then(|text| quota(&text)),
            steal_share,
            version: env!("CARGO_PKG_VERSION"),
            git_revision: git_revision(),
            server,
            command_line: std::env::args().collect(),
        }
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a date for people; nothing is decided by it")]
pub fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn git_revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { revision } else { revision + "+" })
}

fn read_trimmed(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn first_value(path: &str, name: &str) -> Option<String> {
    value_of(&fs::read_to_string(path).ok()?, name)
}

/// Of lines like `model name : AMD EPYC`.
fn value_of(text: &str, name: &str) -> Option<String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = fields.filter(|(field, _)| field.trim() == name);
    Some(values.next()?.1.trim().to_owned())
}

/// Of `24567890 kB`.
fn mib(text: &str) -> Option<u64> {
    Some(text.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Of `max 100000` or `150000 100000`: run time a period, both in µs.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.trim().parse::<f64>().ok()?)
}

/// The first line adds up all cores: user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user's.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    const STEAL: usize = 7;
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(STEAL + 1).map_while(|field| field.parse().ok()).collect();
    Some(CpuTimes { steal: *ticks.get(STEAL)?, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_share_of_all_time() {
        let at = |idle: u64, steal: u64| {
            cpu_times(&format!("cpu  100 0 50 {idle} 0 0 0 {steal} 7 0\ncpu0 1 2 3"))
                .expect("a line")
        };
        assert_eq!(at(800, 50).steal_share(at(890, 60)), Some(0.1));
        assert_eq!(at(800, 50).steal_share(at(800, 50)), None, "no time went by");
        assert_eq!(cpu_times("intr 5"), None);
    }

    #[test]
    fn a_quota_is_in_cores() {
        assert_eq!(quota("150000 100000"), Some(1.5));
        assert_eq!(quota("max 100000"), None);
    }

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "model\t: 17\nmodel name\t: AMD EPYC: Zen\nmodel name\t: second";
        assert_eq!(value_of(text, "model name").as_deref(), Some("AMD EPYC: Zen"));
        assert_eq!(value_of(text, "stepping"), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let environment = Environment::capture(CpuTimes::now(), None);
        assert!(environment.cores > 0 && environment.memory_mib > 0, "{environment:?}");
        assert!(!environment.kernel.is_empty() && !environment.command_line.is_empty());
    }
}
