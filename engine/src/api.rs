//! What clients reach over the network. One file per protocol, the same floor plan each: bytes → typed value → call
//! → bytes. hyper is named here and nowhere else in the engine.

pub mod admin;
pub mod body;
pub mod clipper;
pub mod connections;
pub mod encoding;
pub mod event_stream;
pub mod first_bytes;
pub mod fleet;
pub mod front_end;
pub mod generate;
pub mod http2;
pub mod inference;
pub mod listener;
pub mod model_config;
pub mod oip_grpc;
pub mod oip_http;
pub mod oip_metadata;
pub mod oip_shared_memory;
pub mod repository;
pub mod repository_http;
pub mod router;
pub mod settings;
pub mod shared_memory;
pub mod statistics;
pub mod status;
pub mod streaming;
pub mod trail;

#[cfg(test)]
mod test_server;
