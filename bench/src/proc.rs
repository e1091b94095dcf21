//! What a process tree costs, as the kernel counts it: run time of every thread, and memory with shared pages divided.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The process and all its descendants that live now.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (process, parent) in parents() {
        children.entry(parent).or_default().push(process);
    }
    let mut found = vec![root];
    let mut seen = HashSet::from([root]);
    let mut next = 0;
    while next < found.len() {
        let of_this = children.get(&found[next]).into_iter().flatten();
        found.extend(of_this.filter(|&&process| seen.insert(process)).collect::<Vec<_>>());
        next += 1;
    }
    found
}

/// Whether it runs, or has ended and nobody has taken note yet.
pub fn is_alive(process: u32) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap_or(false)
}

/// Run time of every thread of the processes. A thread that ended takes its share along; servers under test keep theirs.
pub fn cpu_ns(processes: &[u32]) -> u64 {
    processes.iter().flat_map(|process| threads_of(*process)).filter_map(|path| run_ns(&path)).sum()
}

/// Run time of the threads that a process has now, for whoever asks often: the files stay open.
pub struct RunTimes(Vec<File>);

impl RunTimes {
    pub fn of(process: u32) -> RunTimes {
        RunTimes(threads_of(process).iter().filter_map(|path| File::open(path).ok()).collect())
    }

    /// A thread that ended counts nothing any more.
    pub fn ns(&self) -> u64 {
        self.0.iter().filter_map(run_ns_in).sum()
    }
}

fn run_ns_in(file: &File) -> Option<u64> {
    // Three numbers of at most 20 digits.
    let mut text = [0; 64];
    let count = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..count]).ok()?.split_whitespace().next()?.parse().ok()
}

/// Run time of the calling thread.
pub fn own_thread_cpu_ns() -> Option<u64> {
    run_ns("/proc/thread-self/schedstat")
}

/// Proportional set size: pages that several processes share are counted once, in parts.
pub fn pss_kib(processes: &[u32]) -> u64 {
    processes.iter().filter_map(|process| pss_of(*process)).sum()
}

fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter_map(|process: u32| Some((process, parent_of(process)?))).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    parent_in(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// The name, in parentheses, may itself hold spaces and parentheses: the last one ends it.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn threads_of(process: u32) -> Vec<String> {
    let folder = format!("/proc/{process}/task");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    entries.map(|entry| format!("{folder}/{}/schedstat", entry.file_name().display())).collect()
}

fn run_ns(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

fn pss_of(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (a) (b c) S 7 12 12 0"), Some(7));
    }

    #[test]
    fn a_child_belongs_to_the_tree_and_costs_memory() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat exists everywhere");
        let tree = tree(std::process::id());
        assert!(tree.contains(&child.id()));
        assert!(pss_kib(&[std::process::id()]) > 0);
        drop(child.stdin.take());
        child.wait().expect("cat ends with its input");
    }

    #[test]
    fn work_shows_in_the_run_time() {
        let before = own_thread_cpu_ns().expect("schedstat");
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        let own = own_thread_cpu_ns().expect("schedstat");
        assert!(own > before);
        // Other threads come and go with their tests; this one is among them.
        assert!(cpu_ns(&[std::process::id()]) >= own);
        assert!(RunTimes::of(std::process::id()).ns() >= own);
    }
}
