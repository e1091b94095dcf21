//! Client shared memory by name: what is registered, and register and unregister. Of a device's memory none is taken.

use std::rc::Rc;

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
use crate::api::http2::Link;
use crate::api::oip_shared_memory::registry;
use crate::api::status::ApiError;
use crate::client_shm::region::{Origin, Region};
use crate::client_shm::registry::{RegisterFault, Registry};

pub(super) async fn system_status(
    link: Rc<Link>,
    asked: SystemSharedMemoryStatusRequest,
) -> Result<SystemSharedMemoryStatusResponse, Status> {
    let regions = system(&link)?.snapshot();
    let wanted = |region: &Region| asked.name.is_empty() || *region.name == *asked.name;
    let found = regions.named().into_iter().filter(|region| wanted(region)).filter_map(shown);
    let regions: std::collections::BTreeMap<_, _> = found.collect();
    if !asked.name.is_empty() && regions.is_empty() {
        return Err(refuse(&link, RegisterFault::Unknown));
    }
    Ok(SystemSharedMemoryStatusResponse { regions })
}

fn shown(region: &Region) -> Option<(String, RegionStatus)> {
    let Origin::Named { key, offset } = &region.origin else { return None };
    let name = region.name.to_string();
    let (key, offset, byte_size) = (key.clone(), *offset, region.byte_size);
    Some((name.clone(), RegionStatus { name, key, offset, byte_size }))
}

pub(super) async fn system_register(
    link: Rc<Link>,
    asked: SystemSharedMemoryRegisterRequest,
) -> Result<SystemSharedMemoryRegisterResponse, Status> {
    let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = asked;
    let registered = system(&link)?.register_named(&name, &key, offset, byte_size);
    registered.map_err(|fault| refuse(&link, fault))?;
    Ok(SystemSharedMemoryRegisterResponse {})
}

pub(super) async fn system_unregister(
    link: Rc<Link>,
    asked: SystemSharedMemoryUnregisterRequest,
) -> Result<SystemSharedMemoryUnregisterResponse, Status> {
    let registry = system(&link)?;
    match asked.name.as_str() {
        "" => registry.unregister_all_named(),
        name => registry.unregister_named(name),
    }
    Ok(SystemSharedMemoryUnregisterResponse {})
}

fn system(link: &Link) -> Result<&Registry, Status> {
    registry(&link.front).map_err(|fault| refuse(link, fault))
}

fn refuse(link: &Link, fault: RegisterFault) -> Status {
    refused(link, &ApiError::from(fault))
}

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

/// Clients unregister all of both families before they register, whatever they use.
pub(super) async fn cuda_unregister(
    _: Rc<Link>,
    _: CudaSharedMemoryUnregisterRequest,
) -> Result<CudaSharedMemoryUnregisterResponse, Status> {
    Ok(CudaSharedMemoryUnregisterResponse {})
}
