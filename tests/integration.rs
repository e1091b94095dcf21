//! Whole engines over real HTTP and real processes, and the repository's own rules.
#![forbid(unsafe_code)]

mod failure;
mod functional;
mod launchers;
mod repo;
