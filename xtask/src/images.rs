//! The Docker images that models run in: a Python runtime, the same with more libraries, and a native program from
//! scratch. Each is made from what lies in the repository and in `target/`, without a network, and only when that changed.

mod base;
mod build;
mod native;
mod python;
mod wheelhouse;

use std::time::{Duration, Instant};

use crate::docker;
use crate::shell::Done;
use base::Base;
use build::image_bytes;
use native::Native;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What Python images stand on: any image with Python 3.11 or newer and glibc, such as python:3.11-slim; pulled when
    /// it isn't here. Without it a small Debian is made by debootstrap, which needs root.
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// Which images; all when none is named.
    names: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Python with the SDK and NumPy.
    Python,
    /// The same with scikit-learn.
    Sklearn,
    /// The same with ONNX Runtime.
    Onnx,
    /// The native models, from scratch.
    Native,
    /// What the tests attack the engine with, from scratch.
    #[value(hide = true)]
    Hostile,
}

/// What users get.
const ALL: [Name; 4] = [Name::Python, Name::Sklearn, Name::Onnx, Name::Native];

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Python => "python",
            Name::Sklearn => "sklearn",
            Name::Onnx => "onnx",
            Name::Native => "native",
            Name::Hostile => "hostile",
        }
    }

    /// Stands on a base, with a wheelhouse.
    fn is_python(self) -> bool {
        matches!(self, Name::Python | Name::Sklearn | Name::Onnx)
    }

    /// As `foil serve --launcher docker` looks for it.
    fn image(self) -> String {
        format!("hydrofoil/{}:{}", self.text(), env!("CARGO_PKG_VERSION"))
    }
}

/// What became of an image.
enum Made {
    New,
    Unchanged,
}

/// A line of the table.
struct Line {
    image: String,
    bytes: u64,
    took: Duration,
    made: Made,
}

pub(crate) fn images(arguments: &Arguments) -> Done {
    docker::ready()?;
    let names = if arguments.names.is_empty() { &ALL[..] } else { &arguments.names };
    make(names, arguments.base.as_deref())
}

/// Makes what is missing or has changed of them, and tells it in a table.
pub(crate) fn make(names: &[Name], base: Option<&str>) -> Done {
    let mut lines = Vec::new();
    for &name in names.iter().filter(|name| !name.is_python()) {
        let native = if name == Name::Native { Native::models() } else { Native::hostile() };
        let image = name.image();
        lines.push(line(&image, || native.make(&image))?);
    }
    if names.iter().any(|name| name.is_python()) {
        let name = base.unwrap_or(base::OWN);
        lines.push(line(name, || base::have(base))?);
        let base = Base::look(name)?;
        for name in names.iter().filter(|name| name.is_python()) {
            let image = name.image();
            lines.push(line(&image, || python::make(name.text(), &image, &base))?);
        }
    }
    print(&lines);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long an image takes is told")]
fn line(image: &str, make: impl FnOnce() -> Done<Made>) -> Done<Line> {
    let began = Instant::now();
    let made = make()?;
    Ok(Line { image: image.to_owned(), bytes: image_bytes(image)?, took: began.elapsed(), made })
}

fn print(lines: &[Line]) {
    println!("{:<36} {:>10}  {:>7}", "image", "size", "seconds");
    for Line { image, bytes, took, made } in lines {
        let note = match made {
            Made::New => "",
            Made::Unchanged => "  unchanged",
        };
        let size = format!("{:.1} MB", *bytes as f64 / 1e6);
        println!("{image:<36} {size:>10}  {:>7.1}{note}", took.as_secs_f64());
    }
}
