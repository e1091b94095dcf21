//! One image from its context, made again only when what it is made of has changed.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Made;
use crate::shell::{Done, command, output, root, target_dir};
use crate::steps::Step;

/// On every image of ours, and on the stages they leave behind.
const LABEL: &str = "hydrofoil.images";
/// What an image was made of.
const CONTENT_LABEL: &str = "hydrofoil.images.content";

/// The largest copies 300 MB of wheels and compiles them.
const BUILD_WAIT: Duration = Duration::from_secs(15 * 60);

/// What is made.
pub(super) struct Recipe<'a> {
    pub(super) name: &'a str,
    pub(super) image: &'a str,
    pub(super) dockerfile: PathBuf,
    pub(super) base: Option<&'a str>,
    pub(super) content: Content,
}

impl Recipe<'_> {
    /// `fill` puts into the context what stands beside the Dockerfile.
    pub(super) fn make(self, fill: impl FnOnce(&Path) -> Done) -> Done<Made> {
        let content = self.content.clone().read(&self.dockerfile)?.finish();
        if label(self.image).as_deref() == Some(&content) {
            return Ok(Made::Unchanged);
        }
        let context = target_dir().join("images").join(self.name);
        remove_directory(&context)?;
        fs::create_dir_all(&context)
            .map_err(|error| format!("cannot make {}: {error}", context.display()))?;
        fs::copy(&self.dockerfile, context.join("Dockerfile"))
            .map_err(|error| format!("cannot copy {}: {error}", self.dockerfile.display()))?;
        fill(&context)?;
        self.build(&context, &content)?;
        remove_directory(&context)?;
        forget_stages()?;
        Ok(Made::New)
    }

    fn build(&self, context: &Path, content: &str) -> Done {
        let mut build = command("docker", &["build", "--network", "none", "--force-rm", "--tag"]);
        build.arg(self.image);
        build.args(["--label", &format!("{LABEL}={}", self.name)]);
        build.args(["--label", &format!("{CONTENT_LABEL}={content}")]);
        if let Some(base) = self.base {
            build.args(["--build-arg", &format!("BASE={base}")]);
        }
        let step = Step { of: self.image, doing: "building in Docker", wait: BUILD_WAIT };
        step.run(build.arg(context))
    }
}

/// Stages that became part of no image, and images that a newer one took the name of.
fn forget_stages() -> Done {
    let prune = ["image", "prune", "--force", "--filter"];
    output(command("docker", &prune).args([&format!("label={LABEL}")])).map(drop)
}

/// A hash of all that an image is made of. It only has to tell a change: not stable between compilers, not cryptographic.
#[derive(Clone, Default)]
pub(super) struct Content(DefaultHasher);

impl Content {
    pub(super) fn text(mut self, text: &str) -> Content {
        self.0.write(text.as_bytes());
        self.0.write_u8(0xff);
        self
    }

    pub(super) fn read(mut self, file: &Path) -> Done<Content> {
        let bytes =
            fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        self.0.write(&bytes);
        self.0.write_u8(0xff);
        Ok(self)
    }

    fn finish(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// A file of `gpu-containers/images`.
pub(super) fn source(path: &str) -> PathBuf {
    root().join("gpu-containers/images").join(path)
}

pub(super) fn image_id(image: &str) -> Option<String> {
    inspect(image, "{{.Id}}")
}

/// Of all its layers.
pub(super) fn image_bytes(image: &str) -> Done<u64> {
    let told = inspect(image, "{{.Size}}").ok_or(format!("the image {image} has gone"))?;
    told.parse().map_err(|_| format!("Docker says that {image} has '{told}' bytes"))
}

fn label(image: &str) -> Option<String> {
    inspect(image, &format!("{{{{index .Config.Labels \"{CONTENT_LABEL}\"}}}}"))
}

/// None when there is no such image.
fn inspect(image: &str, format: &str) -> Option<String> {
    let mut inspect = command("docker", &["image", "inspect", "--format", format, image]);
    let told = inspect.output().ok().filter(|told| told.status.success())?;
    Some(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

pub(super) fn remove_directory(directory: &Path) -> Done {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_every_change_and_nothing_else() {
        let of = |texts: &[&str]| {
            texts.iter().fold(Content::default(), |content, text| content.text(text)).finish()
        };
        assert_eq!(of(&["base", "wheel"]), of(&["base", "wheel"]));
        assert_ne!(of(&["base", "wheel"]), of(&["base", "wheel2"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
