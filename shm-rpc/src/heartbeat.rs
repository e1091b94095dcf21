//! The container's heartbeat: a thread that does nothing but raise a word of its segment.
//!
//! It shows that the process runs, whatever its model does: the thread takes no lock of anybody, above all not an
//! interpreter's. A process that is stopped, swapped out for good or dead in its kernel does not beat; one whose model
//! hangs does, and is told from an honest slow one by its batch's timeout. The engine compares the word with what it
//! saw before, and nothing else is read on its strength: a lie gains its container nothing.

use crate::control::Control;
use crate::error::LaneError;
use crate::layout::HEARTBEAT_AT;
use crate::segment::Mapping;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Between two beats: ten of them may be lost, to a busy machine, before a silence of a second is reached.
pub const BEAT_EVERY: Duration = Duration::from_millis(100);

/// The thread calls nothing that needs more.
const STACK_BYTES: usize = 64 * 1024;

/// Beats until it is dropped.
pub(crate) struct Heartbeat {
    /// Nothing is ever sent: that it is gone ends the thread.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// `control` is a mapping of its own of the container's control head.
    pub(crate) fn start(control: Mapping) -> Result<Heartbeat, LaneError> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("foil-heartbeat".into()).stack_size(STACK_BYTES);
        let thread = thread
            .spawn(move || beat(&control, &stopped))
            .map_err(|source| LaneError::System { doing: "start the thread that beats", source })?;
        Ok(Heartbeat { stop: Some(stop), thread: Some(thread) })
    }
}

fn beat(control: &Mapping, stopped: &Receiver<()>) {
    let mut beats = 0_u32;
    loop {
        beats = beats.wrapping_add(1);
        // Over mapped memory no store fails.
        let _stored = control.store(HEARTBEAT_AT, beats);
        if stopped.recv_timeout(BEAT_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop = None;
        // It never panics, and ends at once.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
