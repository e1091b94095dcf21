use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::*;

const BOUNDS: Bounds = Bounds { regions_max: 3, bytes_max: 300 };

/// Sealed as a client's must be.
fn memory(bytes: u64) -> OwnedFd {
    let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    memory
}

fn registry() -> Registry {
    Registry::new(BOUNDS, Names::Allowed)
}

impl Registry {
    fn add_named(&self, name: &str, byte_size: u64) -> Result<(), RegisterFault> {
        let origin = Origin::Named { key: format!("/{name}"), offset: 0 };
        self.add(name, origin, byte_size, memory(byte_size))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.snapshot().by_name.keys().map(|name| name.to_string()).collect();
        names.sort();
        names
    }
}

#[test]
fn one_name_is_one_region_however_it_came() {
    let registry = registry();
    registry.add_named("a", 10).unwrap();
    assert_eq!(registry.add_named("a", 10), Err(RegisterFault::Taken));
    assert_eq!(registry.register_passed("a", memory(10), 1), Err(RegisterFault::Taken));
    assert_eq!(registry.register_passed("b", memory(10), 1), Ok(10));
    assert_eq!(registry.add_named("b", 10), Err(RegisterFault::Taken));
    assert_eq!(registry.add_named("", 10), Err(RegisterFault::Name));
    assert_eq!(registry.add_named(&"x".repeat(257), 10), Err(RegisterFault::Name));
}

#[test]
fn regions_are_bounded_in_number_and_bytes_and_leave_room_when_they_go() {
    let registry = registry();
    registry.add_named("a", 200).unwrap();
    assert_eq!(registry.add_named("b", 101), Err(RegisterFault::TooLarge { limit: 300 }));
    registry.add_named("b", 50).unwrap();
    registry.add_named("c", 50).unwrap();
    assert_eq!(registry.add_named("d", 0), Err(RegisterFault::TooMany { limit: 3 }));
    registry.unregister_named("a");
    registry.add_named("d", 200).unwrap();
    assert_eq!(registry.names(), ["b", "c", "d"]);
}

#[test]
fn a_request_under_way_keeps_what_it_began_with() {
    let registry = registry();
    registry.add_named("a", 10).unwrap();
    let request = registry.snapshot();
    registry.unregister_named("a");
    registry.add_named("a", 20).unwrap();
    let place = Place { region: "a".into(), offset: 0, size: 10 };
    let region = request.of(&place).unwrap();
    region.write(0, &[7; 10]).unwrap();
    assert_eq!(&region.read(0, 10).unwrap()[..], [7; 10]);
    let after = registry.snapshot();
    assert_eq!(&after.of(&place).unwrap().read(0, 10).unwrap()[..], [0; 10], "another memory");
}

#[test]
fn the_memory_of_a_region_is_let_go_with_its_last_request() {
    let registry = registry();
    registry.add_named("a", 10).unwrap();
    let request = registry.snapshot();
    let region = Arc::downgrade(&request.by_name["a"]);
    registry.unregister_named("a");
    assert!(region.upgrade().is_some());
    drop(request);
    assert!(region.upgrade().is_none());
}

#[test]
fn whoever_unregisters_by_name_leaves_passed_regions_alone() {
    let registry = registry();
    registry.add_named("a", 10).unwrap();
    registry.register_passed("b", memory(10), 1).unwrap();
    registry.register_passed("c", memory(10), 2).unwrap();
    registry.unregister_named("b");
    registry.unregister_named("nothing");
    registry.unregister_all_named();
    assert_eq!(registry.names(), ["b", "c"]);
    assert_eq!(registry.unregister_passed("c", 1), Err(RegisterFault::Unknown));
    registry.disconnected(1);
    assert_eq!(registry.names(), ["c"]);
    registry.unregister_passed("c", 2).unwrap();
    assert!(registry.names().is_empty());
}

#[test]
fn regions_may_overlap() {
    let registry = registry();
    let shared = memory(10);
    registry.register_passed("a", shared.try_clone().unwrap(), 1).unwrap();
    registry.register_passed("b", shared, 1).unwrap();
    let regions = registry.snapshot();
    regions.find("a").unwrap().write(0, b"x").unwrap();
    assert_eq!(&regions.find("b").unwrap().read(0, 1).unwrap()[..], b"x");
}

#[test]
fn only_memory_that_is_sealed_for_good_is_passed() {
    let registry = registry();
    let sealed = |seals| {
        let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 10).unwrap();
        fcntl_add_seals(&memory, seals).unwrap();
        registry.register_passed("a", memory, 1)
    };
    for seals in [
        SealFlags::empty(),
        SealFlags::SHRINK | SealFlags::GROW,
        SealFlags::SHRINK | SealFlags::SEAL,
        SealFlags::GROW | SealFlags::SEAL,
    ] {
        assert_eq!(sealed(seals), Err(RegisterFault::Unsealed), "{seals:?}");
    }
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(registry.register_passed("a", file.into(), 1), Err(RegisterFault::Unsealed));
    let empty = RegisterFault::Size { offset: 0, byte_size: 1, object: 0 };
    assert_eq!(registry.register_passed("a", memory(0), 1), Err(empty));
    assert!(registry.names().is_empty());
}
