//! Streams, the events between them, and graphs captured from one.

use std::ffi::c_uint;
use std::rc::Rc;

use cudarc::driver::sys::{
    CUevent, CUevent_flags, CUgraph, CUgraphExec, CUstream, CUstream_flags, CUstreamCaptureMode,
    cuEventCreate, cuEventDestroy_v2, cuEventQuery, cuEventRecord, cuEventSynchronize,
    cuGraphDestroy, cuGraphExecDestroy, cuGraphInstantiateWithFlags, cuGraphLaunch,
    cuStreamBeginCapture_v2, cuStreamCreate, cuStreamDestroy_v2, cuStreamEndCapture,
    cuStreamSynchronize, cuStreamWaitEvent,
};

use super::call::{driver, is_done};
use super::{Context, CudaError};

/// Work in order. Streams do not wait for one another, nor for CUDA's default one, but by events.
#[derive(Debug)]
pub struct Stream {
    raw: CUstream,
    context: Rc<Context>,
}

impl Stream {
    pub fn new(context: &Rc<Context>) -> Result<Stream, CudaError> {
        let mut raw: CUstream = std::ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: it writes one handle; the context is current.
        driver("cuStreamCreate", || unsafe { cuStreamCreate(&mut raw, flags) })?;
        Ok(Stream { raw, context: context.clone() })
    }

    pub(super) fn raw(&self) -> CUstream {
        self.raw
    }

    pub(super) fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// What follows on this stream starts after what the event recorded.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        driver("cuStreamWaitEvent", || unsafe { cuStreamWaitEvent(self.raw, event.raw, 0) })
    }

    /// Until all of it is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives.
        driver("cuStreamSynchronize", || unsafe { cuStreamSynchronize(self.raw) })
    }

    /// What `enqueue` puts on this stream, as one graph instead of running it. The rest of the program may go on calling
    /// CUDA meanwhile: cuBLAS does.
    pub fn capture(
        &self,
        enqueue: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<Graph, CudaError> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the handle lives, and nothing else captures.
        driver("cuStreamBeginCapture_v2", || unsafe { cuStreamBeginCapture_v2(self.raw, mode) })?;
        let enqueued = enqueue();
        let mut captured = Captured(std::ptr::null_mut());
        // SAFETY: it writes one handle, null after a failed capture; the capture was begun above.
        let ended = driver("cuStreamEndCapture", || unsafe {
            cuStreamEndCapture(self.raw, &mut captured.0)
        });
        enqueued.and(ended)?;
        let mut raw: CUgraphExec = std::ptr::null_mut();
        // SAFETY: it writes one handle; the graph was just captured.
        driver("cuGraphInstantiateWithFlags", || unsafe {
            cuGraphInstantiateWithFlags(&mut raw, captured.0, 0)
        })?;
        Ok(Graph { raw, _context: self.context.clone() })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once; the driver finishes what is on it.
        let _destroyed = driver("cuStreamDestroy_v2", || unsafe { cuStreamDestroy_v2(self.raw) });
    }
}

/// A graph that is only needed until it is instantiated.
struct Captured(CUgraph);

impl Drop for Captured {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it came from a capture and is destroyed once.
            let _destroyed = driver("cuGraphDestroy", || unsafe { cuGraphDestroy(self.0) });
        }
    }
}

/// Work that was captured once and is launched whole. The memory it works on belongs to whoever captured it.
#[derive(Debug)]
pub struct Graph {
    raw: CUgraphExec,
    _context: Rc<Context>,
}

impl Graph {
    pub fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        driver("cuGraphLaunch", || unsafe { cuGraphLaunch(self.raw, stream.raw) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once, destroyed once.
        let _destroyed = driver("cuGraphExecDestroy", || unsafe { cuGraphExecDestroy(self.raw) });
    }
}

/// A point on a stream that others and the host can wait for.
#[derive(Debug)]
pub struct Event {
    raw: CUevent,
    _context: Rc<Context>,
}

impl Event {
    pub fn new(context: &Rc<Context>) -> Result<Event, CudaError> {
        let mut raw: CUevent = std::ptr::null_mut();
        let mut flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint;
        if context.blocks() {
            flags |= CUevent_flags::CU_EVENT_BLOCKING_SYNC as c_uint;
        }
        // SAFETY: it writes one handle; the context is current.
        driver("cuEventCreate", || unsafe { cuEventCreate(&mut raw, flags) })?;
        Ok(Event { raw, _context: context.clone() })
    }

    /// Marks what is on the stream so far.
    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live.
        driver("cuEventRecord", || unsafe { cuEventRecord(self.raw, stream.raw) })
    }

    /// Whether what was last recorded is done. Doesn't wait.
    pub fn is_done(&self) -> Result<bool, CudaError> {
        // SAFETY: the handle lives.
        is_done("cuEventQuery", || unsafe { cuEventQuery(self.raw) })
    }

    /// Until what was last recorded is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: the handle lives.
        driver("cuEventSynchronize", || unsafe { cuEventSynchronize(self.raw) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        let _destroyed = driver("cuEventDestroy_v2", || unsafe { cuEventDestroy_v2(self.raw) });
    }
}
