//! The CPUs of hosts with what is on them. A pinned replica gets whole physical cores of one NUMA node, the front end's
//! only where the others would never be enough; the node with the most left comes first, so that replicas share no memory
//! bandwidth while there is another. One that is not pinned goes where the CPUs are least busy.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::ask::Seat;
use super::no_seat::Why;
use crate::fleet::devices::inventory::{DeviceId, Host, Inventory, Node};

/// Shares of a host's time that differ by less than 1/BUSY_STEPS are alike.
const BUSY_STEPS: f64 = 1e4;

#[derive(Clone, Debug, Default)]
pub(super) struct Cpus {
    hosts: Vec<HostSpot>,
    nodes: Vec<NodeSpot>,
    by_id: HashMap<DeviceId, usize>,
    /// CPUs left, free memory, place: the order in which a pinned replica would like them.
    by_cores: BTreeSet<(Reverse<usize>, Reverse<u64>, usize)>,
    /// Busy share of its CPUs in steps, free memory, place: that of one that is not pinned.
    by_load: BTreeSet<(u32, Reverse<u64>, usize)>,
    /// Of any node, without the front end's.
    most_apart: usize,
}

#[derive(Clone, Debug)]
struct HostSpot {
    name: String,
    nodes: std::ops::Range<usize>,
    cpus: usize,
    front_end: usize,
    quota: Option<f64>,
    /// Given to pinned replicas.
    threads_taken: u32,
    memory_bytes: u64,
    taken_bytes: u64,
    busy: f64,
}

#[derive(Clone, Debug)]
struct NodeSpot {
    host: usize,
    id: u32,
    cores: Vec<Core>,
    memory_bytes: u64,
    /// By replicas that are pinned here.
    taken_bytes: u64,
}

#[derive(Clone, Debug)]
struct Core {
    cpus: Vec<usize>,
    front_end: bool,
    /// By seats; more than one where whoever runs the engine named it twice.
    taken: u32,
}

/// What is asked of CPUs.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuWish<'a> {
    pub(super) threads: u32,
    pub(super) exact: Option<&'a [usize]>,
    pub(super) memory_bytes: u64,
}

/// Where a replica may go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CpuSpot {
    pub(super) device: DeviceId,
    pub(super) cpus: Vec<usize>,
    pub(super) mems: Option<u32>,
    pub(super) busy: f64,
    pub(super) with_front_end: bool,
}

impl Cpus {
    pub(super) fn new(inventory: &Inventory) -> Cpus {
        let mut cpus = Cpus::default();
        for host in &inventory.hosts {
            cpus.add(host);
        }
        let apart = cpus.nodes.iter().map(|node| node.cpus_apart(|_| true));
        cpus.most_apart = apart.max().unwrap_or(0);
        (0..cpus.nodes.len()).for_each(|at| cpus.list_node(at));
        (0..cpus.hosts.len()).for_each(|at| cpus.list_host(at));
        cpus
    }

    fn add(&mut self, host: &Host) {
        let (at, first) = (self.hosts.len(), self.nodes.len());
        for node in host.cpus.nodes.iter().filter(|node| !node.cores.is_empty()) {
            let id = DeviceId::Cpu { host: host.name.clone(), node: node.id };
            self.by_id.insert(id, self.nodes.len());
            self.nodes.push(NodeSpot::new(at, node, &host.cpus.front_end));
        }
        self.hosts.push(HostSpot {
            name: host.name.clone(),
            nodes: first..self.nodes.len(),
            cpus: host.cpus.all().count(),
            front_end: host.cpus.front_end.len(),
            quota: host.cpus.quota,
            threads_taken: 0,
            memory_bytes: host.cpus.nodes.iter().map(|node| node.memory_bytes).sum(),
            taken_bytes: 0,
            busy: 0.0,
        });
    }

    pub(super) fn find(&self, wish: CpuWish<'_>) -> Result<CpuSpot, Why> {
        let found = self.find_some(wish, 1).pop();
        found.ok_or_else(|| self.why_none(wish))
    }

    /// The first few that fit, the best first.
    pub(super) fn find_some(&self, wish: CpuWish<'_>, count_max: usize) -> Vec<CpuSpot> {
        match (wish.exact, wish.threads) {
            (Some(exact), _) => {
                let hosts = self.hosts.iter().filter(|host| wish.memory_bytes <= host.free_bytes());
                hosts.filter_map(|host| self.exact(host, exact)).take(count_max).collect()
            }
            (None, 0) => {
                let liked = self.by_load.iter().map(|(_, _, at)| &self.hosts[*at]);
                let roomy = liked.filter(|host| wish.memory_bytes <= host.free_bytes());
                roomy.filter_map(|host| self.roaming(host)).take(count_max).collect()
            }
            (None, threads) => self.find_pinned(threads, wish.memory_bytes, count_max),
        }
    }

    fn roaming(&self, host: &HostSpot) -> Option<CpuSpot> {
        let at = host.nodes.clone().min_by_key(|&at| Reverse(self.free_bytes(at)))?;
        let (cpus, busy) = (Vec::new(), host.busy_share());
        Some(CpuSpot { device: self.id(at), cpus, mems: None, busy, with_front_end: false })
    }

    fn find_pinned(&self, threads: u32, memory_bytes: u64, count_max: usize) -> Vec<CpuSpot> {
        let wanted = threads as usize;
        let fits =
            |at: usize| memory_bytes <= self.free_bytes(at) && self.host(at).quota_allows(threads);
        if self.most_apart < wanted {
            let whole = |at: &usize| self.nodes[*at].cpus_left() >= wanted && fits(*at);
            let found = (0..self.nodes.len()).filter(whole).take(count_max);
            return found.map(|at| self.pinned(at, wanted, true)).collect();
        }
        // In order of what is left: past the first that has too little, all do.
        let liked = self.by_cores.iter().take_while(|(left, _, _)| left.0 >= wanted);
        let found = liked.map(|(_, _, at)| *at).filter(|at| fits(*at)).take(count_max);
        found.map(|at| self.pinned(at, wanted, false)).collect()
    }

    fn pinned(&self, at: usize, wanted: usize, with_front_end: bool) -> CpuSpot {
        let mut cpus = Vec::with_capacity(wanted);
        let mut free: Vec<&Core> =
            self.nodes[at].cores.iter().filter(|core| core.taken == 0).collect();
        free.sort_by_key(|core| core.front_end);
        for core in free.into_iter().filter(|core| with_front_end || !core.front_end) {
            if cpus.len() >= wanted {
                break;
            }
            cpus.extend(&core.cpus);
        }
        cpus.sort_unstable();
        let mems = self.mems(at);
        CpuSpot { device: self.id(at), cpus, mems, busy: 0.0, with_front_end }
    }

    /// None where this host lacks one.
    fn exact(&self, host: &HostSpot, exact: &[usize]) -> Option<CpuSpot> {
        let nodes = exact.iter().map(|&cpu| self.node_of(host, cpu));
        let nodes: BTreeSet<usize> = nodes.collect::<Option<_>>()?;
        let at = *nodes.first()?;
        let mems = self.mems(at).filter(|_| nodes.len() == 1);
        let (device, cpus) = (self.id(at), exact.to_vec());
        Some(CpuSpot { device, cpus, mems, busy: 0.0, with_front_end: false })
    }

    fn node_of(&self, host: &HostSpot, cpu: usize) -> Option<usize> {
        host.nodes.clone().find(|&at| self.nodes[at].all().any(|own| own == cpu))
    }

    fn why_none(&self, wish: CpuWish<'_>) -> Why {
        match (wish.exact, wish.threads) {
            _ if self.nodes.is_empty() => Why::NoCpu,
            (Some(exact), _) => self.why_not_exact(exact, wish.memory_bytes),
            (None, 0) => self.no_memory(wish.memory_bytes),
            (None, threads) => self.why_not_pinned(threads, wish.memory_bytes),
        }
    }

    fn why_not_exact(&self, exact: &[usize], memory_bytes: u64) -> Why {
        let missing =
            |host: &HostSpot| exact.iter().copied().find(|&cpu| self.node_of(host, cpu).is_none());
        if exact.is_empty() || self.hosts.iter().any(|host| missing(host).is_none()) {
            return self.no_memory(memory_bytes);
        }
        self.hosts.first().and_then(missing).map_or(Why::NoCpu, |cpu| Why::NotThere { cpu })
    }

    fn why_not_pinned(&self, threads: u32, memory_bytes: u64) -> Why {
        let wanted = threads as usize;
        let most = self.nodes.iter().map(|node| node.all().count()).max().unwrap_or(0);
        if most < wanted {
            return Why::NodeTooSmall { threads, most };
        }
        let counted: fn(&NodeSpot) -> usize =
            if self.most_apart < wanted { NodeSpot::cpus_left } else { NodeSpot::cpus_free };
        let roomy: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| counted(&self.nodes[at]) >= wanted).collect();
        if roomy.is_empty() {
            let left = self.nodes.iter().map(counted).max().unwrap_or(0);
            return Why::CpusTaken { threads, left };
        }
        let allowed = |at: &&usize| self.host(**at).quota_allows(threads);
        match roomy.iter().filter(allowed).map(|&at| self.free_bytes(at)).max() {
            Some(free_bytes) => Why::Memory { needed_bytes: memory_bytes, free_bytes },
            None => {
                let left = roomy.iter().map(|&at| self.host(at).quota_left(threads));
                Why::Quota { threads, left: left.fold(0.0, f64::max) }
            }
        }
    }

    fn no_memory(&self, needed_bytes: u64) -> Why {
        let free_bytes = self.hosts.iter().map(HostSpot::free_bytes).max().unwrap_or(0);
        Why::Memory { needed_bytes, free_bytes }
    }

    pub(super) fn take(&mut self, seat: &Seat) {
        let Some(&at) = self.by_id.get(&seat.device) else { return };
        self.unlist(at);
        let (is_pinned, host) = (!seat.cpus.is_empty(), self.nodes[at].host);
        if is_pinned {
            self.nodes[at].taken_bytes += seat.memory_bytes;
            self.hosts[host].threads_taken += seat.cpu_time();
        }
        self.hosts[host].taken_bytes += seat.memory_bytes;
        self.hosts[host].busy += seat.busy;
        for at in self.hosts[host].nodes.clone() {
            let held = |core: &&mut Core| core.cpus.iter().any(|cpu| seat.cpus.contains(cpu));
            self.nodes[at].cores.iter_mut().filter(held).for_each(|core| core.taken += 1);
        }
        self.list(at);
    }

    pub(super) fn leave(&mut self, seat: &Seat) {
        let Some(&at) = self.by_id.get(&seat.device) else { return };
        self.unlist(at);
        let (is_pinned, host) = (!seat.cpus.is_empty(), self.nodes[at].host);
        if is_pinned {
            self.nodes[at].taken_bytes -= seat.memory_bytes;
            self.hosts[host].threads_taken -= seat.cpu_time();
        }
        self.hosts[host].taken_bytes -= seat.memory_bytes;
        self.hosts[host].busy = (self.hosts[host].busy - seat.busy).max(0.0);
        for at in self.hosts[host].nodes.clone() {
            let held = |core: &&mut Core| core.cpus.iter().any(|cpu| seat.cpus.contains(cpu));
            self.nodes[at].cores.iter_mut().filter(held).for_each(|core| core.taken -= 1);
        }
        self.list(at);
    }

    fn list(&mut self, at: usize) {
        let host = self.nodes[at].host;
        self.hosts[host].nodes.clone().for_each(|at| self.list_node(at));
        self.list_host(host);
    }

    fn unlist(&mut self, at: usize) {
        let host = self.nodes[at].host;
        for at in self.hosts[host].nodes.clone() {
            let rank = self.node_rank(at);
            self.by_cores.remove(&rank);
        }
        let rank = self.host_rank(host);
        self.by_load.remove(&rank);
    }

    fn list_node(&mut self, at: usize) {
        self.by_cores.insert(self.node_rank(at));
    }

    fn list_host(&mut self, at: usize) {
        self.by_load.insert(self.host_rank(at));
    }

    fn node_rank(&self, at: usize) -> (Reverse<usize>, Reverse<u64>, usize) {
        (Reverse(self.nodes[at].cpus_free()), Reverse(self.free_bytes(at)), at)
    }

    fn host_rank(&self, at: usize) -> (u32, Reverse<u64>, usize) {
        let host = &self.hosts[at];
        ((host.busy_share() * BUSY_STEPS) as u32, Reverse(host.free_bytes()), at)
    }

    fn host(&self, node: usize) -> &HostSpot {
        &self.hosts[self.nodes[node].host]
    }

    fn id(&self, at: usize) -> DeviceId {
        DeviceId::Cpu { host: self.host(at).name.clone(), node: self.nodes[at].id }
    }

    fn mems(&self, at: usize) -> Option<u32> {
        (self.host(at).nodes.len() > 1).then_some(self.nodes[at].id)
    }

    /// What is left of a node to one that is pinned there: those that roam may lie on any.
    fn free_bytes(&self, at: usize) -> u64 {
        let node = &self.nodes[at];
        node.memory_bytes.saturating_sub(node.taken_bytes).min(self.host(at).free_bytes())
    }
}

impl NodeSpot {
    fn new(host: usize, node: &Node, front_end: &[usize]) -> NodeSpot {
        let core = |cpus: &Vec<usize>| Core {
            cpus: cpus.clone(),
            front_end: cpus.iter().any(|cpu| front_end.contains(cpu)),
            taken: 0,
        };
        let cores = node.cores.iter().map(core).collect();
        NodeSpot { host, id: node.id, cores, memory_bytes: node.memory_bytes, taken_bytes: 0 }
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.cores.iter().flat_map(|core| core.cpus.iter().copied())
    }

    /// Of cores that are free, without the front end's.
    fn cpus_free(&self) -> usize {
        self.cpus_apart(|core| core.taken == 0)
    }

    /// Of cores that are free, the front end's too.
    fn cpus_left(&self) -> usize {
        self.cores.iter().filter(|core| core.taken == 0).map(|core| core.cpus.len()).sum()
    }

    fn cpus_apart(&self, counts: impl Fn(&Core) -> bool) -> usize {
        let apart = self.cores.iter().filter(|core| !core.front_end && counts(core));
        apart.map(|core| core.cpus.len()).sum()
    }
}

impl HostSpot {
    fn free_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.taken_bytes)
    }

    fn busy_share(&self) -> f64 {
        self.busy / self.cpus.max(1) as f64
    }

    fn quota_allows(&self, threads: u32) -> bool {
        self.quota_left(threads) >= f64::from(threads)
    }

    /// For pinned replicas, beside the front end where the quota is enough for both.
    fn quota_left(&self, threads: u32) -> f64 {
        let Some(quota) = self.quota else { return f64::INFINITY };
        let beside = quota - self.front_end as f64;
        let budget = if beside >= f64::from(threads) { beside } else { quota };
        (budget - f64::from(self.threads_taken)).max(0.0)
    }
}

impl Seat {
    /// CPUs' worth of time that a pinned replica may use.
    fn cpu_time(&self) -> u32 {
        if self.threads > 0 { self.threads } else { self.cpus.len() as u32 }
    }
}
