//! Images of Python models: one Dockerfile, the libraries by name.

use std::fs;
use std::path::Path;

use super::Made;
use super::base::Base;
use super::build::{Content, Recipe, source};
use super::wheelhouse::{place, wheelhouse};
use crate::setup::wheel;
use crate::shell::Done;

pub(super) fn make(name: &str, image: &str, base: &Base) -> Done<Made> {
    let own = wheel()?;
    let requirements = source(name).join("requirements.txt");
    let content = Content::default().text(&base.id).read(&requirements)?.read(&own)?;
    let dockerfile = source("python/Dockerfile");
    let recipe = Recipe { name, image, dockerfile, base: Some(&base.image), content };
    recipe.make(|context| fill(context, name, &requirements, &own, base))
}

fn fill(context: &Path, name: &str, requirements: &Path, own: &Path, base: &Base) -> Done {
    let wheels = context.join("wheels");
    place(&wheelhouse(name, requirements, base)?, &wheels)?;
    let cannot = |error: std::io::Error| format!("cannot fill {}: {error}", context.display());
    fs::copy(own, wheels.join(own.file_name().unwrap_or_default())).map_err(cannot)?;
    let wanted = fs::read_to_string(requirements).map_err(cannot)?;
    let wanted = format!("{wanted}pip\nhydrofoil=={}\n", env!("CARGO_PKG_VERSION"));
    fs::write(context.join("requirements.txt"), wanted).map_err(cannot)
}
