//! Regions whose memory comes as a descriptor, over a Unix socket: `--client-shm-socket`.
//!
//! A client sends lines of JSON and gets one back for each. `{"register": "NAME"}`, sent together with the descriptor of
//! a sealed memfd, makes all of its memory a region for as long as the connection lives and is answered `{"registered":
//! "NAME", "byte_size": N}`; `{"unregister": "NAME"}` ends it earlier; a refusal is `{"error": "<sentence>"}`, after
//! which the connection goes on. The seals are what a name can't give: nobody can cut the memory off under a request,
//! neither the client nor whom it shares it with.
//!
//! Bounds: connections, bytes of a line, one descriptor a line; the rest are the registry's.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{SealFlags, fcntl_get_seals};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::named;
use super::registry::{RegisterFault, Registry};

/// One per client process; each costs a descriptor.
const CONNECTIONS_MAX: usize = 256;
/// A name at its longest, every byte of it escaped, and the rest of a line.
const LINE_BYTES_MAX: usize = 2048;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The seals that fix a memory's size for good.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The size of a memfd that can't change it any more.
pub(super) fn check(memory: &OwnedFd) -> Result<u64, RegisterFault> {
    let seals = fcntl_get_seals(memory).map_err(|_| RegisterFault::Unsealed)?;
    if !seals.contains(SEALS) {
        return Err(RegisterFault::Unsealed);
    }
    let found = named::status(memory)?;
    named::check_size(&found, 0, 1)?;
    named::check_not_own(&found)?;
    Ok(found.st_size.cast_unsigned())
}

/// Takes clients until the runtime ends.
pub async fn serve(listener: StdUnixListener, registry: Arc<Registry>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let guests = Rc::new(());
    let mut connection = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if Rc::strong_count(&guests) > CONNECTIONS_MAX {
            continue;
        }
        connection += 1;
        let guest = Guest { registry: registry.clone(), connection, _counted: guests.clone() };
        tokio::task::spawn_local(async move {
            // How a client goes is its own affair; what it registered goes with it.
            let _gone = guest.converse(stream).await;
        });
    }
}

struct Guest {
    registry: Arc<Registry>,
    connection: u64,
    _counted: Rc<()>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.registry.disconnected(self.connection);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Register(String),
    Unregister(String),
}

impl Guest {
    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut inbox = Inbox::default();
        while let Some(line) = inbox.line(&stream).await? {
            let mut reply = self.answer(&line, inbox.memory.take()).to_string();
            reply.push('\n');
            stream.write_all(reply.as_bytes()).await?;
        }
        Ok(())
    }

    fn answer(&self, line: &[u8], memory: Option<OwnedFd>) -> serde_json::Value {
        let done = match (serde_json::from_slice(line), memory) {
            (Ok(Ask::Register(name)), Some(memory)) => self
                .registry
                .register_passed(&name, memory, self.connection)
                .map(|byte_size| json!({ "registered": name, "byte_size": byte_size })),
            (Ok(Ask::Register(_)), None) => Err(RegisterFault::NoDescriptor),
            (Ok(Ask::Unregister(name)), _) => self
                .registry
                .unregister_passed(&name, self.connection)
                .map(|()| json!({ "unregistered": name })),
            (Err(_), _) => Err(RegisterFault::Line),
        };
        done.unwrap_or_else(|fault| json!({ "error": fault.to_string() }))
    }
}

/// What has arrived of the next line, and the descriptor that came with it.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
    memory: Option<OwnedFd>,
}

impl Inbox {
    /// The next whole line; None at the end. A client that breaks the form is one that we can't answer: an error.
    async fn line(&mut self, stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line = self.bytes.drain(..=end).collect();
                return Ok(Some(line));
            }
            if self.bytes.len() >= LINE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if stream.async_io(Interest::READABLE, || self.receive(stream)).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn receive(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut piece = [0; LINE_BYTES_MAX];
        // Room to see that there are too many; the kernel closes what has none.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut piece)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        )?;
        for message in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = message else { continue };
            for memory in descriptors {
                if self.memory.replace(memory).is_some() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        self.bytes.extend_from_slice(&piece[..received.bytes]);
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests;
