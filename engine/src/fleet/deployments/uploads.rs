//! Archives on their way in: unpacked as they arrive, on threads that may wait for the disk.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use flate2::read::GzDecoder;
use tokio::sync::{Semaphore, mpsc};

use super::artifacts::{Artifacts, Staged};
use super::{FleetError, check_name, in_archive};
use crate::fleet::target;
use crate::ids::Version;

/// At a time: each takes a thread, and a disk gains nothing from more.
pub const UPLOADS_MAX: usize = 4;
/// Pieces of a body that wait for the disk; a client that sends faster waits.
const PIECES_MAX: usize = 16;

/// The way in for archives, from any thread.
#[derive(Clone, Debug)]
pub struct Uploads {
    artifacts: Artifacts,
    bytes_max: u64,
    room: Arc<Semaphore>,
}

/// One archive that is coming in.
pub struct Upload {
    pieces: mpsc::Sender<Bytes>,
    staged: tokio::task::JoinHandle<Result<Staged, FleetError>>,
}

impl Uploads {
    pub fn new(artifacts: Artifacts, bytes_max: u64) -> Uploads {
        Uploads { artifacts, bytes_max, room: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// A version of `name` is about to come.
    pub fn begin(&self, name: &str, gzip: bool) -> Result<Upload, FleetError> {
        check_name(name)?;
        let room = self.room.clone().try_acquire_owned().map_err(|_| FleetError::Uploads)?;
        let (pieces, arriving) = mpsc::channel(PIECES_MAX);
        let (uploads, name) = (self.clone(), name.to_owned());
        let staged = tokio::task::spawn_blocking(move || {
            let staged = uploads.stage(&name, Arriving { arriving, piece: Bytes::new() }, gzip);
            drop(room);
            staged
        });
        Ok(Upload { pieces, staged })
    }

    /// On the disk, and known to be something that could be served.
    fn stage(&self, name: &str, arriving: Arriving, gzip: bool) -> Result<Staged, FleetError> {
        let mut staged = match gzip {
            true => self.artifacts.stage(GzDecoder::new(arriving), self.bytes_max),
            false => self.artifacts.stage(arriving, self.bytes_max),
        }?;
        let read = target::deployed(name, Version(1), staged.path());
        let wrong = |error| FleetError::Files { why: in_archive(&error, staged.path()) };
        staged.place = read.map_err(wrong)?.place;
        Ok(staged)
    }
}

impl Upload {
    /// Waits while the disk is behind. False: nothing more of it is wanted.
    pub async fn take(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// All of it has come.
    pub async fn finish(self) -> Result<Staged, FleetError> {
        let Upload { pieces, staged } = self;
        drop(pieces);
        staged.await.unwrap_or(Err(FleetError::Stopping))
    }
}

/// A body as something to read from. Its end without a last piece is the archive's to notice.
struct Arriving {
    arriving: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.arriving.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
