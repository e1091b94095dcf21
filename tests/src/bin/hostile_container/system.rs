//! Attacks on the machine instead of the lane: what a container tries when it wants out, or everything for itself.
#![expect(
    unsafe_code,
    reason = "most of these system calls have no safe wrapper, because nobody should make them"
)]

use std::fs::{File, OpenOptions, metadata, remove_file};
use std::io::{Error, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::attack::Attack;
use crate::socket::Socket;
use crate::target;

/// No packet gets out of a machine to this address: it is for documentation.
const OUTSIDE: &str = "203.0.113.1:80";
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// What a bomb's child is started with.
pub(crate) const BOMB: &str = "--bomb";
/// Long enough for the test, short enough to be gone when nothing else ends it.
const BOMB_LIFE: Duration = Duration::from_secs(60);
/// More than any limit of ours lets in.
const CHILDREN_MAX: u32 = 5_000;
/// More than any limit of ours, and less than the machine has.
const HOG_BYTES_MAX: usize = 6 << 30;
const CHUNK_BYTES: usize = 16 << 20;

/// Where the image has this program. What follows must not be tried outside of a container: it might work there.
const IN_THE_IMAGE: &str = "/hostile-container";

pub(crate) fn attack(attack: Attack) {
    assert!(Path::new(IN_THE_IMAGE).exists(), "only from inside its image");
    match attack {
        Attack::Attempts => {
            let model = target();
            let model = model.parent().expect("a file in a directory");
            attempt_all(&Prey::read(model), model);
        }
        // Beside the answer, which would come too late behind them.
        Attack::ForkBomb => aside(fork_bomb),
        Attack::MemoryHog => aside(memory_hog),
        Attack::FillTemporary => aside(|| fill_disk("/tmp")),
        Attack::FillShared => aside(|| fill_disk("/dev/shm")),
        Attack::KillAll => kill_all(),
        other => panic!("{other:?} is none of the machine"),
    }
}

/// No thread more is an answer too.
fn aside(attack: fn()) {
    if let Err(error) = std::thread::Builder::new().spawn(attack) {
        println!("aside: {}", errno(&error));
    }
}

/// Who is attacked, as the test wrote it beside the model.
struct Prey {
    pid: i32,
    port: u16,
}

impl Prey {
    fn read(directory: &Path) -> Prey {
        let text = std::fs::read_to_string(directory.join("prey")).expect("the test wrote it");
        let (pid, port) = text.trim().split_once(' ').expect("a process id and a port");
        Prey { pid: pid.parse().expect("a number"), port: port.parse().expect("a number") }
    }
}

/// Tries everything that only says no, and tells what was said.
fn attempt_all(prey: &Prey, model: &Path) {
    let network = network(prey);
    let files = files(model);
    let tries = network.into_iter().chain(files).chain(processes(prey)).chain(privileges());
    for (name, outcome) in tries {
        let said = outcome.map_or_else(|error| errno(&error), |()| "SUCCEEDED".to_owned());
        println!("attempt {name}: {said}");
    }
    println!("attempts are over");
}

type Try = (&'static str, Result<()>);

fn network(prey: &Prey) -> Vec<Try> {
    let connect = |at: &str| {
        let at: SocketAddr = at.parse().expect("an address");
        TcpStream::connect_timeout(&at, CONNECT_WAIT).map(drop)
    };
    let socket = std::env::var_os("FOIL_SOCKET").expect("FOIL_SOCKET");
    vec![
        ("connect_out", connect(OUTSIDE)),
        ("connect_engine", connect(&format!("127.0.0.1:{}", prey.port))),
        ("connect_docker", UnixStream::connect("/var/run/docker.sock").map(drop)),
        ("bind", TcpListener::bind("0.0.0.0:80").map(drop)),
        ("raw_socket", call(libc::SYS_socket, [2, 3, 1, 0, 0])),
        ("packet_socket", call(libc::SYS_socket, [17, 3, 0x300, 0, 0])),
        ("remove_socket", remove_file(&socket)),
        ("second_connection", Socket::try_connect().map(drop).map_err(Error::from)),
    ]
}

fn files(model: &Path) -> Vec<Try> {
    let write = |path: &str| OpenOptions::new().write(true).open(path).map(drop);
    let beside_socket = std::env::var("FOIL_SOCKET").expect("FOIL_SOCKET");
    let beside_socket = Path::new(&beside_socket).with_file_name("x");
    let score = OpenOptions::new().write(true).open("/proc/self/oom_score_adj");
    vec![
        ("write_root", File::create("/x").map(drop)),
        ("write_model", File::create(model.join("x")).map(drop)),
        ("write_socket_directory", File::create(beside_socket).map(drop)),
        ("core_pattern", write("/proc/sys/kernel/core_pattern")),
        ("sysrq", write("/proc/sysrq-trigger")),
        (
            "cgroup",
            write("/sys/fs/cgroup/cgroup.procs")
                .or_else(|_| write("/sys/fs/cgroup/memory/cgroup.procs")),
        ),
        ("memory_device", write("/dev/mem")),
        ("kernel_log", write("/dev/kmsg")),
        ("kernel_memory", File::open("/proc/kcore").map(drop)),
        ("spare_me", score.and_then(|mut file| file.write_all(b"-1000"))),
    ]
}

fn processes(prey: &Prey) -> Vec<Try> {
    const SEIZE: usize = 0x4206;
    let pid = prey.pid as usize;
    let mut byte = 0_u8;
    let here = [&raw mut byte as usize, 1];
    let there = [0x1000_usize, 1];
    let (here, there) = (here.as_ptr() as usize, there.as_ptr() as usize);
    let of_engine = |file: &str| File::open(format!("/proc/{pid}/{file}")).map(drop);
    vec![
        ("signal_engine", call(libc::SYS_kill, [pid, 0, 0, 0, 0])),
        ("ptrace_engine", call(libc::SYS_ptrace, [SEIZE, pid, 0, 0, 0])),
        ("read_engine", call(libc::SYS_process_vm_readv, [pid, here, 1, there, 1])),
        ("engine_memory", of_engine("mem")),
        ("engine_environment", of_engine("environ")),
        ("engine_handle", call(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0])),
        ("host_files", metadata("/proc/1/root/usr").map(drop)),
    ]
}

fn privileges() -> Vec<Try> {
    let text = |text: &'static std::ffi::CStr| text.as_ptr() as usize;
    let (none, tmp, tmpfs) = (text(c"none"), text(c"/tmp"), text(c"tmpfs"));
    let priority = 50_i32;
    let fifo = &raw const priority as usize;
    let limit = [u64::MAX - 1; 2];
    let limit = limit.as_ptr() as usize;
    const BLOCK_DEVICE: usize = 0o060_600;
    const NEW_USER: usize = 0x1000_0000;
    vec![
        ("mount", call(libc::SYS_mount, [none, tmp, tmpfs, 0, 0])),
        ("unmount", call(libc::SYS_umount2, [tmp, 0, 0, 0, 0])),
        ("mknod", call(libc::SYS_mknod, [text(c"/tmp/disk"), BLOCK_DEVICE, 0x800, 0, 0])),
        ("chroot", call(libc::SYS_chroot, [tmp, 0, 0, 0, 0])),
        ("pivot_root", call(libc::SYS_pivot_root, [tmp, tmp, 0, 0, 0])),
        ("unshare", call(libc::SYS_unshare, [NEW_USER, 0, 0, 0, 0])),
        ("setuid", call(libc::SYS_setuid, [0; 5])),
        ("setgid", call(libc::SYS_setgid, [0; 5])),
        ("reboot", call(libc::SYS_reboot, [0xfee1_dead, 672_274_793, 0, 0, 0])),
        ("load_module", call(libc::SYS_init_module, [0, 0, none, 0, 0])),
        ("load_kernel", call(libc::SYS_kexec_load, [0; 5])),
        ("swap", call(libc::SYS_swapon, [tmp, 0, 0, 0, 0])),
        ("account", call(libc::SYS_acct, [0; 5])),
        ("bpf", call(libc::SYS_bpf, [0; 5])),
        ("perf", call(libc::SYS_perf_event_open, [0; 5])),
        ("keys", call(libc::SYS_keyctl, [0; 5])),
        ("file_handles", call(libc::SYS_open_by_handle_at, [0; 5])),
        ("host_name", call(libc::SYS_sethostname, [none, 4, 0, 0, 0])),
        ("priority", call(libc::SYS_setpriority, [0, 0, -20_isize as usize, 0, 0])),
        ("real_time", call(libc::SYS_sched_setscheduler, [0, 1, fifo, 0, 0])),
        ("limits", call(libc::SYS_setrlimit, [7, limit, 0, 0, 0])),
        ("ports", call(libc::SYS_iopl, [3, 0, 0, 0, 0])),
    ]
}

/// Kills whatever it may, itself spared by the kernel.
fn kill_all() {
    let killed = call(libc::SYS_kill, [-1_isize as usize, 9, 0, 0, 0]);
    println!("kill_all: {:?}", killed.map_err(|error| errno(&error)));
}

fn call(number: libc::c_long, [a, b, c, d, e]: [usize; 5]) -> Result<()> {
    // SAFETY: addresses among the arguments are of values that outlive the call, of the size that the call reads or
    // writes; 0 where the call takes none. A call that succeeds changes this process, which is to be thrown away.
    let done = unsafe { libc::syscall(number, a, b, c, d, e, 0) };
    if done < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// The usual names; a number otherwise.
fn errno(error: &Error) -> String {
    let code = error.raw_os_error().unwrap_or_default();
    let name = match code {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EROFS => "EROFS",
        libc::ENOSPC => "ENOSPC",
        libc::ENOSYS => "ENOSYS",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNREFUSED => "ECONNREFUSED",
        _ => return format!("errno {code}"),
    };
    name.to_owned()
}

/// A child of the bomb: two more of itself, then sleep.
pub(crate) fn explode() {
    let children: Vec<_> = (0..2).map_while(|_| bomb().ok()).collect();
    std::thread::park_timeout(BOMB_LIFE);
    drop(children);
}

fn bomb() -> Result<std::process::Child> {
    Command::new("/proc/self/exe").arg(BOMB).spawn()
}

/// Starts processes that start processes, until no more may be.
fn fork_bomb() {
    for started in 0..CHILDREN_MAX {
        if let Err(error) = bomb() {
            return println!("fork_bomb: {} after {started} of its own", errno(&error));
        }
    }
    println!("fork_bomb: SUCCEEDED");
}

/// Takes memory until it is killed for it.
fn memory_hog() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while taken.len() * CHUNK_BYTES < HOG_BYTES_MAX {
        taken.push(std::hint::black_box(vec![1; CHUNK_BYTES]));
    }
    println!("memory_hog: SUCCEEDED");
}

/// Fills the one directory that may be written, and leaves it full.
fn fill_disk(directory: &str) {
    let chunk = vec![1_u8; 1 << 20];
    let filled = File::create(Path::new(directory).join("fill")).and_then(|mut file| {
        (0..HOG_BYTES_MAX / chunk.len()).try_for_each(|_| file.write_all(&chunk))
    });
    println!(
        "fill {directory}: {}",
        filled.map_or_else(|error| errno(&error), |()| "SUCCEEDED".into())
    );
}
