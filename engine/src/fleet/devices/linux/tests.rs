use super::*;
use crate::fleet::devices::test_tree::Tree;

fn found(name: &str, files: &[(&str, &str)]) -> Cpus {
    cpus(&Tree::of(name, files).0)
}

/// Two sockets of two cores with two threads each, as Linux numbers them.
const TWO_NODES: [(&str, &str); 16] = [
    ("proc/sys/kernel/hostname", "big\n"),
    ("proc/self/status", "Name:\tfoil\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0-1\n"),
    ("sys/devices/system/cpu/online", "0-7\n"),
    ("sys/devices/system/node/online", "0-1\n"),
    ("sys/devices/system/node/node0/cpulist", "0-1,4-5\n"),
    (
        "sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal:       1024 kB\nNode 0 MemFree: 1 kB\n",
    ),
    ("sys/devices/system/node/node1/cpulist", "2-3,6-7\n"),
    ("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:       2048 kB\n"),
    ("sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0,4\n"),
    ("sys/devices/system/cpu/cpu1/topology/core_cpus_list", "1,5\n"),
    ("sys/devices/system/cpu/cpu2/topology/core_cpus_list", "2,6\n"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3,7\n"),
    ("sys/bus/pci/devices/0000:65:00.0/numa_node", "1\n"),
    ("sys/bus/pci/devices/0000:17:00.0/numa_node", "-1\n"),
    ("proc/self/cgroup", ""),
    ("proc/self/mountinfo", ""),
];

/// The same machine with other files in place of some.
fn but(files: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    TWO_NODES.iter().chain(files).copied().collect()
}

#[test]
fn cpus_lie_in_cores_and_nodes() {
    let tree = Tree::of("nodes", &TWO_NODES);
    let cpus = cpus(&tree.0);
    let node = |id, memory_bytes, cores: [[usize; 2]; 2]| Node {
        id,
        memory_bytes,
        cores: cores.map(Vec::from).to_vec(),
    };
    assert_eq!(
        cpus.nodes,
        [node(0, 1 << 20, [[0, 4], [1, 5]]), node(1, 2 << 20, [[2, 6], [3, 7]])]
    );
    assert_eq!(cpus.quota, None);
    assert_eq!(host_name(&tree.0), "big");
}

#[test]
fn what_this_process_may_not_use_is_left_out() {
    let may = "Cpus_allowed_list:\t1,3,7,9\nMems_allowed_list:\t0\n";
    let cpus = found("mask", &but(&[("proc/self/status", may)]));
    let cores: Vec<_> = cpus.nodes.iter().map(|node| node.cores.clone()).collect();
    assert_eq!(cores, [vec![vec![1]], vec![vec![3, 7]]], "CPU 9 is not online");
    assert_eq!(cpus.nodes[1].memory_bytes, 0, "its memory may not be used");
    let cpus = found("one", &but(&[("proc/self/status", "Cpus_allowed_list:\t2\n")]));
    assert_eq!(cpus.nodes.len(), 1);
    assert_eq!((cpus.nodes[0].id, cpus.nodes[0].memory_bytes), (1, 2 << 20));
}

#[test]
fn a_kernel_without_nodes_has_one() {
    let files = [
        ("proc/self/status", "Cpus_allowed_list:\t0-1\n"),
        ("proc/meminfo", "MemTotal:       4096 kB\n"),
    ];
    let cpus = found("plain", &files);
    assert_eq!(cpus.nodes, [Node { id: 0, memory_bytes: 4 << 20, cores: vec![vec![0], vec![1]] }]);
    let nothing = found("nothing", &[("proc/empty", "")]);
    assert_eq!(nothing.all().collect::<Vec<_>>(), [0], "there is one at least: it runs this");
}

#[test]
fn the_tightest_group_of_version_2_on_the_way_up_counts() {
    let files = but(&[
        ("proc/self/cgroup", "0::/kube/pod/foil\n"),
        ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"),
        ("sys/fs/cgroup/kube/pod/foil/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/kube/pod/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/kube/cpu.max", "600000 100000\n"),
        ("sys/fs/cgroup/kube/pod/foil/memory.max", "max\n"),
        ("sys/fs/cgroup/kube/memory.max", "524288\n"),
    ]);
    let cpus = found("v2", &files);
    assert_eq!(cpus.quota, Some(1.5));
    assert!(cpus.nodes.iter().all(|node| node.memory_bytes == 512 << 10));
}

#[test]
fn a_group_of_version_1_is_found_by_its_controller() {
    let files = but(&[
        ("proc/self/cgroup", "4:memory:/m\n1:cpu,cpuacct:/docker/abc\n0::/\n"),
        (
            "proc/self/mountinfo",
            "30 1 0:1 / / rw - ext4 /dev/vda rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n",
        ),
        ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(found("v1", &files).quota, Some(0.5));
}

#[test]
fn a_container_sees_its_own_group_as_the_root() {
    let quota = |cgroup, mountinfo: &'static str| {
        let files = but(&[
            ("proc/self/cgroup", cgroup),
            ("proc/self/mountinfo", mountinfo),
            ("sys/fs/cgroup/cpu.max", "300000 100000\n"),
        ]);
        found("inside", &files).quota
    };
    let own = quota("0::/\n", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
    let bind =
        quota("0::/docker/abc\n", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    let outside =
        quota("0::/../other\n", "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    assert_eq!([own, bind, outside], [Some(3.0); 3]);
}

#[test]
fn a_pci_device_hangs_at_a_node_unless_the_firmware_is_silent() {
    let tree = Tree::of("pci", &TWO_NODES);
    assert_eq!(node_of_pci(&tree.0, "00000000:65:00.0"), Some(1));
    assert_eq!(node_of_pci(&tree.0, "00000000:17:00.0"), None);
    assert_eq!(node_of_pci(&tree.0, "00000000:99:00.0"), None);
    assert_eq!(node_of_pci(&tree.0, "nonsense"), None);
}

#[test]
fn sets_are_read_as_the_kernel_writes_them() {
    let read = |list| set(list).into_iter().collect::<Vec<_>>();
    assert_eq!(read("0-2,5\n"), [0, 1, 2, 5]);
    assert_eq!(read("\t3"), [3]);
    assert_eq!(read(""), [0; 0]);
    assert_eq!(read("a,1-,0-99999999,4"), [4], "what is no set costs nothing");
}

#[test]
fn this_machine_has_a_cpu_for_this_test() {
    let cpus = cpus(Path::new(ROOT));
    assert!(cpus.all().count() > 0);
    assert!(cpus.nodes[0].memory_bytes > 1 << 20, "{cpus:?}");
}

#[test]
fn a_process_is_known_by_those_that_started_it() {
    let own = std::process::id();
    let found = lineage(Path::new(ROOT), own);
    assert_eq!(found[..2], [own, std::os::unix::process::parent_id()]);
    assert!(found.len() <= LINEAGE_MAX);
    let gone = u32::MAX;
    assert_eq!(lineage(Path::new(ROOT), gone), [gone], "one of another namespace, or gone");
}
