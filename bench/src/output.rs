//! Everything a run shows: a line while it goes on, a table and a verdict after it, files, and a report to pass on.
//!
//! All renderings are pure and take an [`Outcome`](crate::outcome::Outcome), so that no two of them can disagree; only
//! [`progress`], [`hdr`] and [`files`] touch a terminal or a disk, and none of them the driver's thread. The HTML needs
//! no network and no script. What came from outside is escaped where it enters a page. [`chart`] draws for every report.

pub mod chart;
#[cfg(test)]
pub(crate) mod examples;
pub mod figures;
pub mod files;
pub mod hdr;
pub mod html;
pub(crate) mod markup;
pub mod progress;
pub mod terminal;
