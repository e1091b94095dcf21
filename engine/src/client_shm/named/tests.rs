use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use shm_rpc::engine_side::EngineSide;
use shm_rpc::{LaneConfig, Memory};

use super::*;

/// In place of `/dev/shm`, and on the same kind of file system, so that nobody's objects are touched.
struct Objects(PathBuf);

impl Objects {
    fn new(name: &str) -> Objects {
        let name = format!("test-{}-{name}", std::process::id());
        let path = Path::new(DIRECTORY).join(name);
        fs::create_dir_all(&path).unwrap();
        Objects(path)
    }

    fn with(self, name: &str, bytes: usize) -> Objects {
        fs::write(self.0.join(name), vec![1; bytes]).unwrap();
        self
    }

    fn open(&self, key: &str) -> Result<OwnedFd, RegisterFault> {
        open_object(&self.0, key, 0, 1)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn an_object_is_opened_by_its_key_with_or_without_the_slash() {
    let objects = Objects::new("open").with("a.b-c", 10);
    assert!(objects.open("/a.b-c").is_ok());
    assert!(objects.open("a.b-c").is_ok());
    assert_eq!(objects.open("/other").unwrap_err(), RegisterFault::NoObject);
}

#[test]
fn a_key_leads_nowhere_else() {
    let objects = Objects::new("keys").with("a", 10);
    let long = format!("/{}", "x".repeat(256));
    for key in [
        "",
        "/",
        "//a",
        "///a",
        "/./a",
        "/a/",
        "/../etc/passwd",
        "..",
        ".",
        "/proc/self/mem",
        "/a\0b",
        &long,
    ] {
        assert_eq!(objects.open(key).unwrap_err(), RegisterFault::Key, "{key}");
    }
}

#[test]
fn the_name_of_a_lane_is_refused_however_it_is_written() {
    let name = format!("{}1234-00ff", shm_rpc::NAME_PREFIX);
    let objects = Objects::new("lanes").with(&name, 10);
    let reserved = RegisterFault::Reserved { prefix: shm_rpc::NAME_PREFIX };
    assert_eq!(objects.open(&format!("/{name}")).unwrap_err(), reserved);
    assert_eq!(objects.open(&name).unwrap_err(), reserved);
    assert_eq!(objects.open(&format!("//{name}")).unwrap_err(), RegisterFault::Key);
}

#[test]
fn what_is_a_lane_of_this_engine_is_known_whatever_it_is_called() {
    for memory in [Memory::Memfd, Memory::Posix] {
        let config = LaneConfig { memory, ..LaneConfig::new(2, 1, 4096, 4096) };
        let (_side, descriptors) = EngineSide::create(config, 1).unwrap();
        let [engine_out, container_out, request_data, _bell] = descriptors.as_fds();
        for segment in [engine_out, container_out, request_data] {
            let found = fstat(segment).unwrap();
            assert_eq!(check_not_own(&found), Err(RegisterFault::Own), "{memory:?}");
        }
    }
    let objects = Objects::new("own").with("a", 10);
    assert_eq!(check_not_own(&fstat(objects.open("/a").unwrap()).unwrap()), Ok(()));
}

#[test]
fn only_plain_objects_are_taken() {
    let objects = Objects::new("kinds").with("plain", 10);
    symlink(objects.0.join("plain"), objects.0.join("link")).unwrap();
    symlink("/etc/passwd", objects.0.join("out")).unwrap();
    fs::create_dir(objects.0.join("directory")).unwrap();
    let _socket = UnixListener::bind(objects.0.join("socket")).unwrap();
    let pipe = objects.0.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for name in ["link", "out", "directory", "socket", "pipe"] {
        assert_eq!(objects.open(name).unwrap_err(), RegisterFault::Kind, "{name}");
    }
}

#[test]
fn what_belongs_to_another_is_refused_unless_it_is_open_to_all() {
    let objects = Objects::new("owner").with("a", 10);
    let mut found = fstat(fs::File::open(objects.0.join("a")).unwrap()).unwrap();
    let mode = |mode| fs::Permissions::from_mode(mode).mode();
    assert_eq!(check_owner(&found), Ok(()));
    found.st_uid += 1;
    for closed in [0o600, 0o660, 0o664, 0o602] {
        found.st_mode = mode(closed);
        assert_eq!(check_owner(&found), Err(RegisterFault::NotOurs), "{closed:o}");
    }
    found.st_mode = mode(0o666);
    assert_eq!(check_owner(&found), Ok(()));
}

#[test]
fn a_region_lies_inside_of_its_object() {
    let objects = Objects::new("size").with("a", 100);
    let open = |offset, bytes| open_object(&objects.0, "/a", offset, bytes);
    assert!(open(0, 100).is_ok());
    assert!(open(99, 1).is_ok());
    for (offset, byte_size) in [(0, 101), (100, 1), (1, 100), (0, 0), (u64::MAX, 2), (2, u64::MAX)]
    {
        let size = RegisterFault::Size { offset, byte_size, object: 100 };
        assert_eq!(open(offset, byte_size).unwrap_err(), size);
    }
}
