//! The model on a GPU: weights in its memory, a slot for each batch under way, and one graph for each slot and batch size.
//!
//! A batch is padded up to its bucket in the device's memory: what an earlier batch left there, or zeros, is computed and
//! not read. Where graphs can't be captured the same calls are made for each batch, which costs time and nothing else. All
//! calls are made on the thread that loads and serves.

use std::ffi::c_int;
use std::rc::Rc;

use super::embedding_mlp::buckets::{bucket_of, buckets};
use super::embedding_mlp::weights::{Layer, Shape, Weights};
use crate::device::{
    Blas, Context, CudaError, DeviceMemory, Graph, Kernels, Linear, Pool, Registered, Stream,
    Wanted, visible,
};
use crate::model::{DeviceLost, Lane, LoadError, Refusal};
use crate::staging::{Pulse, Slot, Streams, Work};

/// In the order they are dropped in: what uses something before what it uses.
#[derive(Debug)]
pub struct CudaMlp {
    slots: Vec<Prepared>,
    buckets: Vec<u32>,
    registered: Vec<Registered>,
    pulse: Pulse,
    net: Net,
    streams: Streams,
    context: Rc<Context>,
}

/// What every batch shares.
#[derive(Debug)]
struct Net {
    blas: Blas,
    kernels: Kernels,
    table: DeviceMemory,
    layers: Vec<DeviceLayer>,
    shape: Shape,
}

#[derive(Debug)]
struct DeviceLayer {
    inputs: usize,
    outputs: usize,
    weights: DeviceMemory,
    bias: DeviceMemory,
}

/// A slot with what its graphs work in.
#[derive(Debug)]
struct Prepared {
    /// One for each bucket; none where they can't be captured.
    graphs: Vec<Graph>,
    slot: Slot,
    /// What layers read and write in turn.
    buffers: [DeviceMemory; 2],
}

impl CudaMlp {
    pub fn load(weights: &Weights, wanted: &Wanted) -> Result<CudaMlp, LoadError> {
        let device = wanted.among(&visible()?)?;
        fits(weights)?;
        let context = Context::open(&device)?;
        let streams = Streams::new(&context)?;
        let net = Net::upload(weights, &context, &streams)?;
        let (slots, buckets, registered) = (Vec::new(), Vec::new(), Vec::new());
        let pulse = Pulse::new(&context)?;
        Ok(CudaMlp { slots, buckets, registered, pulse, net, streams, context })
    }

    /// Captures the graphs, and pins the memory that requests arrive in; without that, batches are staged.
    pub fn join(&mut self, lane: &Lane<'_>) -> Result<(), LoadError> {
        self.buckets = buckets(lane.max_batch);
        let prepare = |_| self.net.prepare(&self.buckets, &self.context, &self.streams);
        self.slots = (0..lane.depth).map(prepare).collect::<Result<_, _>>()?;
        let device = &self.context.info().name;
        match lane.requests.register(&self.context) {
            Ok(registered) if registered.is_empty() => {}
            Ok(registered) => {
                eprintln!("{device}: batches are copied from the lane, which is pinned");
                self.registered = registered;
            }
            Err(error) => {
                eprintln!("{device}: batches are staged, as the lane can't be pinned: {error}");
            }
        }
        Ok(())
    }

    /// The scores of a whole batch.
    pub fn run(&mut self, ids: &[u8], rows: u32) -> Result<&[u8], Refusal> {
        let bucket = self.bucket(rows)?;
        let (registered, compute) = (&self.registered, &self.streams.compute);
        let run = |slot: &'_ mut Slot, work: &Work<'_>| slot.run(ids, work, registered, compute);
        self.slots[0].work(&self.net, bucket, rows, run).map_err(lost)?;
        Ok(self.slots[0].slot.answer())
    }

    /// Starts a batch in a slot that has none.
    pub fn submit(&mut self, slot: usize, ids: &[u8], rows: u32) -> Result<(), Refusal> {
        let bucket = self.bucket(rows)?;
        let streams = &self.streams;
        let submit = |slot: &'_ mut Slot, work: &Work<'_>| slot.submit(ids, work, streams);
        self.slots[slot].work(&self.net, bucket, rows, submit).map_err(lost)
    }

    /// Waits for the batch in a slot. Its scores.
    pub fn collect(&mut self, slot: usize) -> Result<&[u8], Refusal> {
        let slot = &mut self.slots[slot].slot;
        slot.collect().map_err(lost)?;
        Ok(slot.answer())
    }

    /// Of the device.
    pub fn name(&self) -> &str {
        &self.context.info().name
    }

    /// Whether the device still answers: a few bytes there and back.
    pub fn check(&mut self) -> Result<(), DeviceLost> {
        self.pulse.ask(&self.net.table, &self.streams.compute).map_err(DeviceLost)
    }

    fn bucket(&self, rows: u32) -> Result<Bucket, Refusal> {
        let found = bucket_of(&self.buckets, rows);
        found.map(|at| Bucket { at, rows: self.buckets[at] as usize }).ok_or_else(|| {
            let largest = self.buckets.last().copied().unwrap_or(0);
            Refusal::Raised(format!("{rows} rows came, at most {largest} were announced"))
        })
    }
}

fn lost(error: CudaError) -> Refusal {
    Refusal::Device(DeviceLost(error))
}

/// The rows that a batch is padded to.
#[derive(Clone, Copy)]
struct Bucket {
    at: usize,
    rows: usize,
}

impl Prepared {
    /// Does something with this slot and what a batch of so many rows takes.
    fn work(
        &mut self,
        net: &Net,
        bucket: Bucket,
        rows: u32,
        run: impl FnOnce(&mut Slot, &Work<'_>) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let Prepared { graphs, slot, buffers } = self;
        let enqueue = |input: &DeviceMemory, compute: &Stream| match graphs.get(bucket.at) {
            Some(graph) => graph.launch(compute),
            None => net.enqueue(input, buffers, bucket.rows, compute),
        };
        let answer_bytes = rows as usize * net.outputs() * size_of::<f32>();
        run(slot, &Work { enqueue: &enqueue, output: net.output(buffers), answer_bytes })
    }
}

/// cuBLAS and the kernels take sizes of 32 bits.
fn fits(weights: &Weights) -> Result<(), LoadError> {
    let sizes = weights.layers.iter().flat_map(|layer| [layer.inputs, layer.outputs]);
    match sizes.max() {
        Some(size) if size > c_int::MAX as usize => Err(LoadError::Setting {
            name: "layers",
            message: format!("have {size} outputs, a GPU takes at most {}", c_int::MAX),
        }),
        _ => Ok(()),
    }
}

impl Net {
    fn upload(
        weights: &Weights,
        context: &Rc<Context>,
        streams: &Streams,
    ) -> Result<Net, CudaError> {
        let put = |numbers: &[f32]| {
            let bytes = bytemuck::cast_slice(numbers);
            let memory = DeviceMemory::zeroed(&streams.copy, bytes.len())?;
            memory.write(bytes, &streams.copy)?;
            Ok(memory)
        };
        let layer = |layer: &Layer| {
            let Layer { inputs, outputs, .. } = *layer;
            let (weights, bias) = (put(&layer.weights)?, put(&layer.bias)?);
            Ok(DeviceLayer { inputs, outputs, weights, bias })
        };
        Ok(Net {
            blas: Blas::new(&streams.compute)?,
            kernels: Kernels::compile(context)?,
            table: put(&weights.table)?,
            layers: weights.layers.iter().map(layer).collect::<Result<_, CudaError>>()?,
            shape: weights.shape,
        })
    }

    fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// Layers write into the two in turn, the first into the second.
    fn output<'a>(&self, buffers: &'a [DeviceMemory; 2]) -> &'a DeviceMemory {
        &buffers[self.layers.len() % 2]
    }

    fn prepare(
        &self,
        buckets: &[u32],
        context: &Rc<Context>,
        streams: &Streams,
    ) -> Result<Prepared, CudaError> {
        let compute = &streams.compute;
        let rows = buckets.last().copied().unwrap_or(1) as usize;
        let widths = self.layers.iter().map(|layer| layer.outputs).chain([self.shape.width]);
        let widest_bytes = rows * widths.max().unwrap_or(1) * size_of::<f32>();
        let bytes = [rows * self.shape.row_bytes(), rows * self.outputs() * size_of::<f32>()];
        let slot = Slot::new(context, compute, bytes)?;
        let buffer = || DeviceMemory::zeroed(compute, widest_bytes);
        let buffers = [buffer()?, buffer()?];
        let enqueue = |&rows: &u32| self.enqueue(slot.input(), &buffers, rows as usize, compute);
        // Once without capturing: what is loaded or chosen at the first use of a size is not part of a graph.
        buckets.iter().try_for_each(enqueue)?;
        compute.synchronize()?;
        let graph = |rows| compute.capture(|| enqueue(rows));
        let graphs = buckets.iter().map(graph).collect::<Result<_, CudaError>>();
        let graphs = graphs.unwrap_or_else(|error| {
            let device = &context.info().name;
            eprintln!("{device}: batches run call by call, as they can't be captured: {error}");
            Vec::new()
        });
        Ok(Prepared { graphs, slot, buffers })
    }

    /// The whole model for so many rows, on the stream that computes, which is cuBLAS's.
    fn enqueue(
        &self,
        ids: &DeviceMemory,
        buffers: &[DeviceMemory; 2],
        rows: usize,
        compute: &Stream,
    ) -> Result<(), CudaError> {
        let Shape { vocabulary, width, per_row, .. } = self.shape;
        let (id_bytes, table, out) = (self.shape.id_bytes(), &self.table, &buffers[0]);
        let pool = Pool { ids, id_bytes, table, out, rows, per_row, width, vocabulary };
        self.kernels.pool(&pool, compute)?;
        for (at, layer) in self.layers.iter().enumerate() {
            let (inputs, outputs) = (&buffers[at % 2], &buffers[(at + 1) % 2]);
            self.blas.linear(&Linear {
                weights: &layer.weights,
                inputs,
                outputs,
                rows,
                input_width: layer.inputs,
                output_width: layer.outputs,
            })?;
            let relu = at + 1 < self.layers.len();
            let sizes = [rows, layer.outputs];
            self.kernels.bias_relu(outputs, &layer.bias, sizes, relu, compute)?;
        }
        Ok(())
    }
}
