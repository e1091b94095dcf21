//! A batch as a model sees it: inputs copied out of the slot into aligned memory that is used again for each batch.

use schemas::predict::{BatchHeader, HEADER_BYTES_MAX};
use schemas::tensor::{self, DType, Layout, Placement, Shape, TensorSpec};
use shm_rpc::LaneError;
use shm_rpc::container_side::{ContainerSide, Request};

/// Bytes at an 8-byte alignment, enough for every dtype.
#[derive(Debug, Default)]
struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    fn resize(&mut self, len: usize) -> &mut [u8] {
        self.words.resize(len.div_ceil(8), 0);
        self.len = len;
        &mut bytemuck::cast_slice_mut(&mut self.words)[..len]
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// One input of a batch, row-major.
#[derive(Debug)]
pub struct Input {
    pub dtype: DType,
    pub shape: Shape,
    data: Aligned,
    /// `Bytes` and `Str`: where each element starts in the data, and the end.
    pub offsets: Vec<u32>,
}

impl Default for Input {
    fn default() -> Input {
        let (shape, data, offsets) = (Shape::new(), Aligned::default(), Vec::new());
        Input { dtype: DType::U8, shape, data, offsets }
    }
}

impl Input {
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The elements, of the dtype the model declared.
    pub fn f32(&self) -> &[f32] {
        assert_eq!(self.dtype, DType::F32, "a model reads the dtype it declares");
        bytemuck::cast_slice(self.bytes())
    }

    /// The elements, of the dtype the model declared.
    pub fn f64(&self) -> &[f64] {
        assert_eq!(self.dtype, DType::F64, "a model reads the dtype it declares");
        bytemuck::cast_slice(self.bytes())
    }
}

#[derive(Debug, Default)]
pub struct Batch {
    pub rows: u32,
    pub inputs: Vec<Input>,
    table: Vec<u8>,
}

/// What can be wrong with a batch in a slot: only a bug of the engine's.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the slot could not be read: {0}")]
    Lane(#[from] LaneError),
    #[error("the header is invalid: {0}")]
    Header(#[from] schemas::SchemaError),
}

impl Batch {
    /// Copies every tensor of a request.
    pub fn fill(
        &mut self,
        side: &ContainerSide,
        request: &Request,
        header: &BatchHeader,
    ) -> Result<(), BatchError> {
        self.rows = header.rows;
        self.inputs.resize_with(header.tensors.len(), Input::default);
        for (input, placement) in self.inputs.iter_mut().zip(&header.tensors) {
            placement.check(request.total_bytes)?;
            input.dtype = placement.dtype;
            input.shape.clone_from(&placement.shape);
            let data = input.data.resize(placement.len as usize);
            side.read(request, placement.offset, data)?;
            input.offsets.clear();
            if placement.dtype.size_bytes().is_none() {
                let elements = tensor::elements(&placement.shape).unwrap_or(0);
                self.table.resize((elements as usize + 1) * 4, 0);
                side.read(request, placement.offsets_at, &mut self.table)?;
                input.offsets = tensor::check_offsets(&self.table, elements, placement.len)?;
            }
        }
        Ok(())
    }
}

/// One output of a batch, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub shape: Shape,
    pub data: Vec<u8>,
    /// `Bytes` and `Str` only.
    pub offsets: Vec<u32>,
}

/// What a model answers, in declared order.
#[derive(Debug, Default)]
pub struct Outputs {
    all: Vec<Output>,
}

impl Outputs {
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// The next output, of numbers.
    pub fn numbers<T: bytemuck::NoUninit>(&mut self, shape: &[u64], elements: &[T]) {
        let data = bytemuck::cast_slice(elements).to_vec();
        self.all.push(Output { shape: Shape::from_slice(shape), data, offsets: Vec::new() });
    }

    /// The next output, as bytes of its dtype; with offsets for variable-length ones.
    pub fn raw(&mut self, shape: &[u64], data: &[u8], offsets: &[u32]) {
        let (shape, data) = (Shape::from_slice(shape), data.to_vec());
        self.all.push(Output { shape, data, offsets: offsets.to_vec() });
    }

    /// Why these are not what `specs` declare for `rows`; `None` when they are.
    pub fn mismatch(&self, specs: &[TensorSpec], rows: u32) -> Option<String> {
        if self.all.len() != specs.len() {
            return Some(format!("{} outputs, {} are declared", self.all.len(), specs.len()));
        }
        self.all.iter().zip(specs).find_map(|(output, spec)| mismatch(output, spec, rows))
    }

    /// Places every output behind the header of a reply slot.
    pub fn place(
        &self,
        specs: &[TensorSpec],
    ) -> Result<(Vec<Placement>, u32), schemas::SchemaError> {
        let mut layout = Layout::new();
        let mut placements = Vec::with_capacity(specs.len());
        for (output, spec) in self.all.iter().zip(specs) {
            let shape = output.shape.clone();
            placements.push(match spec.dtype.size_bytes() {
                Some(_) => layout.fixed(spec.dtype, shape)?,
                None => layout.variable(spec.dtype, shape, output.data.len() as u32)?,
            });
        }
        Ok((placements, layout.total_bytes().max(HEADER_BYTES_MAX as u32)))
    }

    /// Writes the outputs where they were placed.
    pub fn write(
        &self,
        side: &mut ContainerSide,
        request: &Request,
        placements: &[Placement],
    ) -> Result<(), LaneError> {
        for (output, placement) in self.all.iter().zip(placements) {
            side.write_reply(request, placement.offset, &output.data)?;
            if !output.offsets.is_empty() {
                let table: Vec<u8> =
                    output.offsets.iter().flat_map(|it| it.to_le_bytes()).collect();
                side.write_reply(request, placement.offsets_at, &table)?;
            }
        }
        Ok(())
    }
}

fn mismatch(output: &Output, spec: &TensorSpec, rows: u32) -> Option<String> {
    let agrees = spec.dims.len() == output.shape.len()
        && spec.dims.iter().zip(&output.shape).all(|(dim, &size)| match dim {
            tensor::Dim::Batch => size == u64::from(rows),
            tensor::Dim::Fixed(fixed) => size == *fixed,
            tensor::Dim::Variable => true,
        });
    let elements = tensor::elements(&output.shape).unwrap_or(u64::MAX);
    let complete = match spec.dtype.size_bytes() {
        Some(size) => output.data.len() as u64 == elements.saturating_mul(size as u64),
        None => output.offsets.len() as u64 == elements.saturating_add(1),
    };
    if agrees && complete {
        return None;
    }
    let (name, shape) = (&spec.name, &output.shape);
    Some(format!(
        "output '{name}' has shape {shape:?} for {rows} rows, {:?} is declared",
        spec.dims
    ))
}
