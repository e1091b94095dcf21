//! The calls about regions of client shared memory, as [`oip_shared_memory`](crate::api::oip_shared_memory) has them as
//! pages.

use std::rc::Rc;

use hyper::HeaderMap;
use schemas::inference::system_shared_memory_status_response::RegionStatus;
use schemas::inference::{
    CudaSharedMemoryRegisterRequest, CudaSharedMemoryRegisterResponse,
    CudaSharedMemoryStatusRequest, CudaSharedMemoryStatusResponse,
    CudaSharedMemoryUnregisterRequest, CudaSharedMemoryUnregisterResponse,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryRegisterResponse,
    SystemSharedMemoryStatusRequest, SystemSharedMemoryStatusResponse,
    SystemSharedMemoryUnregisterRequest, SystemSharedMemoryUnregisterResponse,
};
use tonic::Status;

use super::refused;
use crate::api::admin::{Operation, may};
use crate::api::http2::Link;
use crate::api::shared_memory::registry;
use crate::client_shm::region::{Origin, Region};
use crate::client_shm::registry::RegisterFault;

pub(super) async fn status(
    link: Rc<Link>,
    asked: SystemSharedMemoryStatusRequest,
) -> Result<SystemSharedMemoryStatusResponse, Status> {
    let regions = registry(&link.front).map_err(|fault| refuse(&link, fault))?.snapshot();
    let wanted = |name: &str| asked.name.is_empty() || asked.name == name;
    let shown = regions.named().into_iter().filter(|region| wanted(&region.name)).filter_map(shown);
    let regions = shown.map(|region| (region.name.clone(), region)).collect();
    let found = SystemSharedMemoryStatusResponse { regions };
    if !asked.name.is_empty() && found.regions.is_empty() {
        return Err(refuse(&link, RegisterFault::Unknown));
    }
    Ok(found)
}

fn shown(region: &Region) -> Option<RegionStatus> {
    let Origin::Named { key, offset } = &region.origin else { return None };
    let (name, key) = (region.name.to_string(), key.clone());
    Some(RegionStatus { name, key, offset: *offset, byte_size: region.byte_size })
}

pub(super) async fn register(
    link: Rc<Link>,
    asked: SystemSharedMemoryRegisterRequest,
) -> Result<SystemSharedMemoryRegisterResponse, Status> {
    let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = asked;
    share(&link)?;
    let registered = registry(&link.front)
        .and_then(|registry| registry.register_named(&name, &key, offset, byte_size));
    registered.map_err(|fault| refuse(&link, fault))?;
    Ok(SystemSharedMemoryRegisterResponse {})
}

pub(super) async fn unregister(
    link: Rc<Link>,
    asked: SystemSharedMemoryUnregisterRequest,
) -> Result<SystemSharedMemoryUnregisterResponse, Status> {
    share(&link)?;
    let registry = registry(&link.front).map_err(|fault| refuse(&link, fault))?;
    match asked.name.as_str() {
        "" => registry.unregister_all_named(),
        name => registry.unregister_named(name),
    }
    Ok(SystemSharedMemoryUnregisterResponse {})
}

/// There are none, and so none of a name.
pub(super) async fn cuda_status(
    link: Rc<Link>,
    asked: CudaSharedMemoryStatusRequest,
) -> Result<CudaSharedMemoryStatusResponse, Status> {
    if asked.name.is_empty() {
        return Ok(CudaSharedMemoryStatusResponse::default());
    }
    Err(refuse(&link, RegisterFault::Unknown))
}

pub(super) async fn cuda_register(
    link: Rc<Link>,
    _: CudaSharedMemoryRegisterRequest,
) -> Result<CudaSharedMemoryRegisterResponse, Status> {
    Err(refuse(&link, RegisterFault::Cuda))
}

pub(super) async fn cuda_unregister(
    _: Rc<Link>,
    _: CudaSharedMemoryUnregisterRequest,
) -> Result<CudaSharedMemoryUnregisterResponse, Status> {
    Ok(CudaSharedMemoryUnregisterResponse {})
}

/// Browsers don't speak gRPC, and administrators' addresses are HTTP's: nothing that metadata could say matters.
fn share(link: &Link) -> Result<(), Status> {
    let allowed = may(Operation::ShareMemory, &link.front.door, &HeaderMap::new());
    allowed.map_err(|error| refused(link, &error))
}

fn refuse(link: &Link, fault: RegisterFault) -> Status {
    refused(link, &fault.into())
}

#[cfg(test)]
mod tests;
