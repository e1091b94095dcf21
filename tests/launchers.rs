//! One suite of cases for every launcher: what a model, and whoever runs it, may rely on wherever it runs.

mod cases;
mod docker;
mod place;
