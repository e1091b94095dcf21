//! The parameters that say where in client shared memory a tensor lies.

use super::{Scanner, set, text, whole};
use crate::client_shm::region::Place;
use crate::codec::fault::InputFault;

/// While they arrive in any order. Few requests have them, so they cost the others one word.
#[derive(Default)]
pub(super) struct PlaceParameters(Option<Box<Given>>);

#[derive(Default)]
struct Given {
    region: Option<String>,
    offset: Option<u64>,
    size: Option<u64>,
}

impl PlaceParameters {
    /// One member of a tensor's parameters; passes over those that are none of these.
    pub(super) fn member(&mut self, scan: &mut Scanner<'_>, key: &str) -> Result<(), InputFault> {
        const REGION: &str = "shared_memory_region";
        const OFFSET: &str = "shared_memory_offset";
        const SIZE: &str = "shared_memory_byte_size";
        match key {
            REGION => set(&mut self.given().region, REGION, scan, |scan| {
                text(scan, REGION).map(|name| name.into_owned())
            }),
            OFFSET => set(&mut self.given().offset, OFFSET, scan, |scan| whole(scan, OFFSET)),
            SIZE => set(&mut self.given().size, SIZE, scan, |scan| whole(scan, SIZE)),
            _ => scan.skip(),
        }
    }

    fn given(&mut self) -> &mut Given {
        self.0.get_or_insert_default()
    }

    pub(super) fn finish(&mut self) -> Result<Option<Box<Place>>, InputFault> {
        match self.0.take().map(|given| *given) {
            None => Ok(None),
            Some(Given { region: Some(region), offset, size: Some(size) }) => {
                Ok(Some(Box::new(Place { region, offset: offset.unwrap_or(0), size })))
            }
            Some(_) => Err(InputFault::HalfAPlace),
        }
    }
}
