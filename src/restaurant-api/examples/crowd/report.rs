//! What was seen, in words or as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scanner::{AGE_STEP, Scanner};

pub(crate) struct Report {
    seconds: f64,
    /// Events per second of each client, ascending.
    pub(crate) rates: Vec<f64>,
    bytes: u64,
    torn: u64,
    gaps: u64,
    /// Ages in milliseconds at 50, 90, 99 and 100 %; nothing if none were counted.
    pub(crate) ages: Option<[f64; 4]>,
    pub(crate) process: Option<Process>,
    /// Why clients ended before their stream did.
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        scanners: &[Scanner],
        ages: Option<&[u64]>,
        elapsed: Duration,
        process: Option<Process>,
        failures: Vec<String>,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let mut rates: Vec<_> = scanners.iter().map(|s| s.events as f64 / seconds).collect();
        rates.sort_by(f64::total_cmp);
        let sum = |count: fn(&Scanner) -> u64| scanners.iter().map(count).sum::<u64>();
        Self {
            seconds,
            rates,
            bytes: sum(|scanner| scanner.bytes),
            torn: sum(|scanner| scanner.torn),
            gaps: sum(|scanner| scanner.gaps),
            ages: ages.and_then(percentiles),
            process,
            failures,
        }
    }

    /// Whether every client got every event.
    pub(crate) fn is_sound(&self) -> bool {
        self.torn == 0 && self.gaps == 0 && self.failures.is_empty()
    }

    pub(crate) fn json(&self) -> String {
        let (min, median, max) = self.spread();
        let ages = self.ages.map(|[p50, p90, p99, max]| {
            json!({ "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": max })
        });
        json!({
            "seconds": self.seconds,
            "clients": self.rates.len(),
            "events_per_second": self.rates.iter().sum::<f64>(),
            "bytes_per_second": self.bytes as f64 / self.seconds,
            "per_client": { "min": min, "median": median, "max": max },
            "torn": self.torn,
            "gaps": self.gaps,
            "ages": ages,
            "server": self.process.as_ref().map_or(Value::Null, Process::json),
            "failures": self.failures,
        })
        .to_string()
    }

    fn spread(&self) -> (f64, f64, f64) {
        let at = |index: usize| self.rates.get(index).copied().unwrap_or_default();
        (at(0), at(self.rates.len() / 2), at(self.rates.len().saturating_sub(1)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, median, max) = self.spread();
        let total = self.rates.iter().sum::<f64>();
        let megabytes = self.bytes as f64 / self.seconds / 1e6;
        let (seconds, clients) = (self.seconds, self.rates.len());
        writeln!(f, "{clients} clients, {seconds:.2} s: {total:.0} events/s, {megabytes:.1} MB/s")?;
        writeln!(f, "per client: min {min:.0}, median {median:.0}, max {max:.0} events/s")?;
        write!(f, "offsets that do not follow: {}, gaps announced: {}", self.torn, self.gaps)?;
        if let Some([p50, p90, p99, max]) = self.ages {
            write!(f, "\nage in ms: p50 {p50:.2}, p90 {p90:.2}, p99 {p99:.2}, max {max:.2}")?;
        }
        if let Some(Process { cpu_seconds, peak_mib, .. }) = &self.process {
            let cores = cpu_seconds / seconds;
            write!(f, "\nserver: {cores:.2} cores busy, peak memory {peak_mib:.1} MiB")?;
        }
        if let Some(failure) = self.failures.first() {
            write!(f, "\n{} clients failed, the first: {failure}", self.failures.len())?;
        }
        Ok(())
    }
}

fn percentiles(tally: &[u64]) -> Option<[f64; 4]> {
    let total: u64 = tally.iter().sum();
    let at = |share: f64| {
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let line = tally.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        (line.unwrap_or_default() as u64 + 1) as f64 * AGE_STEP as f64 / 1000.0
    };
    (total > 0).then(|| [at(0.5), at(0.9), at(0.99), at(1.0)])
}

/// What the kernel says of the server.
pub(crate) struct Process {
    pid: u32,
    cpu_seconds: f64,
    pub(crate) peak_mib: f64,
}

impl Process {
    pub(crate) fn begin(pid: u32) -> Self {
        Self { pid, cpu_seconds: cpu_seconds(pid).unwrap_or_default(), peak_mib: 0.0 }
    }

    pub(crate) fn end(self) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
        let cpu_seconds = cpu_seconds(self.pid)? - self.cpu_seconds;
        Some(Self { cpu_seconds, peak_mib: kib / 1024.0, ..self })
    }

    fn json(&self) -> Value {
        json!({ "cpu_seconds": self.cpu_seconds, "peak_mib": self.peak_mib })
    }
}

/// User and system time; the kernel counts in hundredths.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
