//! A batch as a model sees it: its inputs where they lie in the slot, which is not written again before the reply.

use schemas::predict::{BatchHeader, HEADER_BYTES_MAX};
use schemas::tensor::{self, DType, Layout, Placement, Shape, TensorSpec};
use shm_rpc::LaneError;
use shm_rpc::container_side::{ContainerSide, Request};
use smallvec::SmallVec;

/// Inputs of a batch that are known without an allocation.
const INPUTS_INLINE: usize = 2;

/// One input of a batch, row-major.
#[derive(Debug)]
pub struct Input<'a> {
    pub dtype: DType,
    pub shape: Shape,
    data: &'a [u8],
    /// `Bytes` and `Str`: where each element starts in the data, and the end.
    pub offsets: Vec<u32>,
}

impl<'a> Input<'a> {
    /// Numbers that lie elsewhere than in a slot.
    pub fn of(dtype: DType, shape: &[u64], data: &'a [u8]) -> Input<'a> {
        Input { dtype, shape: Shape::from_slice(shape), data, offsets: Vec::new() }
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The elements, of the dtype the model declared. Tensors start on 64 bytes.
    pub fn numbers<T: bytemuck::AnyBitPattern>(&self, dtype: DType) -> &'a [T] {
        assert_eq!(self.dtype, dtype, "a model reads the dtype it declares");
        bytemuck::cast_slice(self.data)
    }

    pub fn f32(&self) -> &'a [f32] {
        self.numbers(DType::F32)
    }

    pub fn f64(&self) -> &'a [f64] {
        self.numbers(DType::F64)
    }
}

#[derive(Debug)]
pub struct Batch<'a> {
    pub rows: u32,
    pub inputs: SmallVec<[Input<'a>; INPUTS_INLINE]>,
}

/// What can be wrong with a batch in a slot: only a bug of the engine's.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the slot could not be read: {0}")]
    Lane(#[from] LaneError),
    #[error("the header is invalid: {0}")]
    Header(#[from] schemas::SchemaError),
}

impl<'a> Batch<'a> {
    /// Every tensor of a request, seen where it lies.
    pub fn of(
        side: &'a ContainerSide,
        request: &'a Request,
        header: &BatchHeader,
    ) -> Result<Batch<'a>, BatchError> {
        let mut inputs = SmallVec::with_capacity(header.tensors.len());
        for placement in &header.tensors {
            placement.check(request.total_bytes)?;
            let data = side.view(request, placement.offset, placement.len)?;
            let offsets = offsets(side, request, placement)?;
            let (dtype, shape) = (placement.dtype, placement.shape.clone());
            inputs.push(Input { dtype, shape, data, offsets });
        }
        Ok(Batch { rows: header.rows, inputs })
    }
}

/// Of elements that have a length of their own.
fn offsets(
    side: &ContainerSide,
    request: &Request,
    placement: &Placement,
) -> Result<Vec<u32>, BatchError> {
    if placement.dtype.size_bytes().is_some() {
        return Ok(Vec::new());
    }
    let elements = tensor::elements(&placement.shape).unwrap_or(0);
    let table_bytes = (elements as u32 + 1) * size_of::<u32>() as u32;
    let table = side.view(request, placement.offsets_at, table_bytes)?;
    Ok(tensor::check_offsets(table, elements, placement.len)?)
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
