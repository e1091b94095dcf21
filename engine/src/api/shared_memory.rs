//! Tensors that lie in client shared memory, for every protocol: inputs fetched from it, outputs put into it.
//!
//! A request that names a region takes one snapshot of all of them, at its first, and keeps it to its answer; one that
//! names none takes nothing.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;

use crate::api::front_end::FrontEnd;
use crate::client_shm::region::{Place, Region, RegionFault};
use crate::client_shm::registry::{Regions, RegisterFault, Registry};
use crate::codec::answer::Chosen;
use crate::codec::binary_tensor;
use crate::codec::fault::{InputFault, excerpt};
use crate::codec::json_tensor::{InputData, RequestInput};
use crate::query::types::{Tensor, TensorData, Tensors};

/// The regions as one request sees them.
pub struct SharedMemory<'f> {
    front: &'f FrontEnd,
    regions: OnceCell<Arc<Regions>>,
    /// Bytes that may still be fetched: they take the place of a body, and have its bound.
    left_bytes: Cell<u64>,
}

/// Where clients register by name, if they may.
pub fn registry(front: &FrontEnd) -> Result<&Registry, RegisterFault> {
    let registry = front.shared_memory.as_deref();
    registry.filter(|registry| registry.allows_names()).ok_or(RegisterFault::Off)
}

impl<'f> SharedMemory<'f> {
    pub fn of(front: &'f FrontEnd) -> SharedMemory<'f> {
        let left_bytes = Cell::new(front.limits.body_bytes_max);
        SharedMemory { front, regions: OnceCell::new(), left_bytes }
    }

    /// Gives every input that lies in a region its bytes.
    pub fn attach(&self, inputs: &mut [RequestInput<'_>]) -> Result<(), InputFault> {
        for input in inputs {
            let InputData::Shared(place) = &input.data else { continue };
            let blob = self.fetch(&input.name, place)?;
            input.data = InputData::Here(binary_tensor::read(input, blob)?);
        }
        Ok(())
    }

    /// A copy of what lies in a place now, for this tensor.
    pub fn fetch(&self, tensor: &str, place: &Place) -> Result<Bytes, InputFault> {
        self.copied(place).map_err(|fault| of_tensor(tensor, fault))
    }

    fn copied(&self, place: &Place) -> Result<Bytes, RegionFault> {
        let region = self.region(place)?;
        region.check(place.offset, place.size)?;
        let left_bytes = self.left_bytes.get().checked_sub(place.size);
        let limit = self.front.limits.body_bytes_max;
        self.left_bytes.set(left_bytes.ok_or(RegionFault::TooMuch { limit })?);
        region.read(place.offset, place.size)
    }

    /// Before the model runs: whether the outputs can go where they are wanted.
    pub fn expect(&self, spec: &ModelSpec, chosen: &[Chosen]) -> Result<(), InputFault> {
        for choice in chosen {
            let Some(place) = &choice.place else { continue };
            let fits = self.region(place).and_then(|region| region.check(place.offset, place.size));
            fits.map_err(|fault| of_tensor(&spec.outputs[choice.index].name, fault))?;
        }
        Ok(())
    }

    /// Puts the outputs where they are wanted.
    pub fn deliver(
        &self,
        spec: &ModelSpec,
        chosen: &[Chosen],
        outputs: &Tensors,
    ) -> Result<(), InputFault> {
        for choice in chosen {
            let Some(place) = &choice.place else { continue };
            let put = self.put(place, &outputs[choice.index]);
            put.map_err(|fault| of_tensor(&spec.outputs[choice.index].name, fault))?;
        }
        Ok(())
    }

    fn put(&self, place: &Place, tensor: &Tensor) -> Result<(), RegionFault> {
        let region = self.region(place)?;
        let needed = binary_tensor::size_bytes(&tensor.data) as u64;
        if needed > place.size {
            return Err(RegionFault::TooSmall { needed, size: place.size });
        }
        match &tensor.data {
            TensorData::Fixed(bytes) => region.write(place.offset, bytes),
            data @ TensorData::Variable { .. } => {
                let mut bytes = Vec::with_capacity(needed as usize);
                binary_tensor::write(&mut bytes, data);
                region.write(place.offset, &bytes)
            }
        }
    }

    fn region(&self, place: &Place) -> Result<&Region, RegionFault> {
        let registry = self.front.shared_memory.as_ref().ok_or(RegionFault::Off)?;
        self.regions.get_or_init(|| registry.snapshot()).of(place)
    }
}

fn of_tensor(name: &str, fault: RegionFault) -> InputFault {
    InputFault::Region { tensor: excerpt(name), fault }
}

#[cfg(test)]
mod tests;
