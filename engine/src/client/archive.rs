//! The tar archive of a bundle, written as it is sent: its files are never in memory as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use tar::{Builder, Header};
use tokio::sync::mpsc;

use super::bundle::{Bundle, Content};

/// Bytes of one piece of the upload: large enough that a piece costs little, small enough for a bar that moves.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait to be sent, so that disk and socket work at the same time.
pub(super) const PIECES_MAX: usize = 4;

pub(super) type Piece = Result<Bytes, io::Error>;

/// Packs the bundle into `pieces`; ends early when nobody takes them any more. Blocks: to be called off the runtime.
pub(super) fn send(bundle: &Bundle, pieces: &mpsc::Sender<Piece>) -> io::Result<()> {
    let out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces));
    let mut builder = Builder::new(out);
    for file in &bundle.files {
        append(&mut builder, &file.path, &file.content)?;
    }
    builder.into_inner()?.flush()
}

/// Dated nowhere and owned by nobody, so that the same files make the same archive.
fn append(builder: &mut Builder<impl Write>, name: &Path, content: &Content) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.bytes());
    match content {
        Content::Text(text) => {
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes())
        }
        Content::File { path, bytes } => {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let file = File::open(path).map_err(named)?;
            let executable = file.metadata()?.permissions().mode() & 0o111 != 0;
            header.set_mode(if executable { 0o755 } else { 0o644 });
            // As many bytes as the header says, whatever happens to the file meanwhile.
            let mut data = file.take(*bytes);
            builder.append_data(&mut header, name, &mut data).map_err(named)?;
            if data.limit() > 0 {
                let shorter = "it became shorter while it was read";
                return Err(named(io::Error::new(io::ErrorKind::UnexpectedEof, shorter)));
            }
            Ok(())
        }
    }
}

struct Pieces<'s>(&'s mpsc::Sender<Piece>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine takes no more");
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bundle::Packed;
    use super::*;

    fn archived(bundle: &Bundle) -> io::Result<Vec<u8>> {
        let (sender, mut pieces) = mpsc::channel(64);
        send(bundle, &sender)?;
        drop(sender);
        let mut all = Vec::new();
        while let Ok(piece) = pieces.try_recv() {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    fn text(path: &str, text: &str) -> Packed {
        Packed { path: path.into(), content: Content::Text(text.into()) }
    }

    #[test]
    fn the_archive_holds_every_file_even_under_a_long_name() {
        let long = format!("{}/w.bin", "weights".repeat(30));
        let bundle = Bundle {
            name: "m".into(),
            files: vec![text("model.toml", "x = 1"), text(&long, "12")],
        };
        let archive = archived(&bundle).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        assert_eq!(found, [("model.toml".into(), "x = 1".into()), (long, "12".into())]);
        assert_eq!(archived(&bundle).unwrap(), archive, "the same files make the same archive");
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_and_no_broken_archive() {
        let path = std::env::temp_dir().join(format!("foil-shorter-{}", std::process::id()));
        std::fs::write(&path, "123").unwrap();
        let content = Content::File { path: path.clone(), bytes: 10 };
        let bundle =
            Bundle { name: "m".into(), files: vec![Packed { path: "w.bin".into(), content }] };
        let error = archived(&bundle).unwrap_err().to_string();
        std::fs::remove_file(path).unwrap();
        assert!(error.contains("shorter"), "{error}");
    }
}
