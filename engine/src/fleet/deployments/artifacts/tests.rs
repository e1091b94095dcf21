use tar::{Builder, Header};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("foil-artifacts-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn artifacts(&self) -> Artifacts {
        Artifacts::open(&self.0).unwrap()
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.0.join("artifacts").join(STAGING)).unwrap().count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

const BYTES_MAX: u64 = 1 << 20;

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header
}

/// An entry whose path is written as it is given, whatever it says.
fn add(builder: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, text: &str) {
    let mut header = header(kind, text.len() as u64, 0o644);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    builder.append(&header, text.as_bytes()).unwrap();
}

fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    entries.iter().for_each(|(path, kind, text)| add(&mut builder, path, *kind, text));
    builder.into_inner().unwrap()
}

const MODEL: (&str, EntryType, &str) = ("./model.py", EntryType::Regular, "x = 1\n");

#[test]
fn a_version_lies_whole_in_its_place_and_nothing_beside_it() {
    let scratch = Scratch::new("place");
    let artifacts = scratch.artifacts();
    let tar = archive(&[
        ("./", EntryType::Directory, ""),
        MODEL,
        ("deep/er/weights", EntryType::Regular, "123"),
    ]);
    let staged = artifacts.stage(&tar[..], BYTES_MAX).unwrap();
    assert_eq!(staged.artifact.bytes, 9);
    let place = artifacts.keep(staged, "digits", 3).unwrap();
    assert_eq!(fs::read_to_string(place.join("model.py")).unwrap(), "x = 1\n");
    assert_eq!(fs::read_to_string(place.join("deep/er/weights")).unwrap(), "123");
    assert_eq!(scratch.staged(), 0);
    artifacts.remove("digits", 3).unwrap();
    artifacts.remove("digits", 3).unwrap();
    assert!(!scratch.0.join("artifacts/digits").exists());
}

#[test]
fn what_leads_out_or_is_no_file_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new("refused");
    let artifacts = scratch.artifacts();
    let refused = |entries: &[(&str, EntryType, &str)]| {
        artifacts.stage(&archive(entries)[..], BYTES_MAX).unwrap_err().to_string()
    };
    for path in ["../x", "a/../../x", "/etc/x"] {
        assert!(refused(&[(path, EntryType::Regular, "x")]).contains("leads out"), "{path}");
    }
    for kind in [EntryType::Symlink, EntryType::Link] {
        assert!(refused(&[MODEL, ("l", kind, "")]).contains("a link"));
    }
    for kind in [EntryType::Char, EntryType::Block] {
        assert!(refused(&[MODEL, ("d", kind, "")]).contains("a device"));
    }
    assert!(refused(&[MODEL, ("p", EntryType::Fifo, "")]).contains("a pipe"));
    assert!(refused(&[MODEL, ("model.py", EntryType::Regular, "y")]).contains("twice"));
    assert!(refused(&[]).contains("empty"));
    assert_eq!(scratch.staged(), 0);
    assert!(!scratch.0.join("x").exists());
}

#[test]
fn an_archive_that_is_too_large_or_breaks_off_leaves_nothing() {
    let scratch = Scratch::new("large");
    let artifacts = scratch.artifacts();
    let large = archive(&[("w", EntryType::Regular, &"x".repeat(5000))]);
    let error = artifacts.stage(&large[..], 4999).unwrap_err().to_string();
    assert!(error.contains("upload_bytes_max"), "{error}");
    for broken in [&large[..1000], b"no archive at all, but some text".as_slice()] {
        let error = artifacts.stage(broken, BYTES_MAX).unwrap_err();
        assert!(matches!(error, ArchiveError::Broken(_)), "{error}");
    }
    let names: Vec<_> = (0..=ENTRIES_MAX).map(|nth| format!("f{nth}")).collect();
    let many: Vec<_> = names.iter().map(|it| (it.as_str(), EntryType::Directory, "")).collect();
    let error = artifacts.stage(&archive(&many)[..], BYTES_MAX).unwrap_err();
    assert!(matches!(error, ArchiveError::TooMany), "{error}");
    assert_eq!(scratch.staged(), 0);
}

#[test]
fn equal_files_have_equal_digests() {
    let scratch = Scratch::new("digest");
    let artifacts = scratch.artifacts();
    let digest = |text: &str| {
        let tar = archive(&[("model.py", EntryType::Regular, text)]);
        artifacts.stage(&tar[..], BYTES_MAX).unwrap().artifact.digest.clone()
    };
    assert_eq!(digest("one"), digest("one"));
    assert_ne!(digest("one"), digest("two"));
}

#[test]
fn what_a_dead_engine_left_goes_at_the_next_start() {
    let scratch = Scratch::new("sweep");
    let artifacts = scratch.artifacts();
    for version in [1, 2] {
        let staged = artifacts.stage(&archive(&[MODEL])[..], BYTES_MAX).unwrap();
        artifacts.keep(staged, "digits", version).unwrap();
    }
    let staged = artifacts.stage(&archive(&[MODEL])[..], BYTES_MAX).unwrap();
    artifacts.keep(staged, "gone", 1).unwrap();
    std::mem::forget(artifacts.stage(&archive(&[MODEL])[..], BYTES_MAX).unwrap());
    let artifacts = scratch.artifacts();
    artifacts.sweep(|name, version| (name, version) == ("digits", 2)).unwrap();
    assert_eq!(scratch.staged(), 0);
    assert!(artifacts.of("digits", 2).exists());
    assert!(!artifacts.of("digits", 1).exists() && !scratch.0.join("artifacts/gone").exists());
}
