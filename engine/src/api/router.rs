//! Path and method to what is asked for. All pages are on this screen.

use std::borrow::Cow;

use hyper::Method;

use self::fleet::FleetPage;
use crate::api::oip_shared_memory::{Act, Family};
use crate::api::status::ApiError;
use crate::codec::fault::excerpt;
use crate::ids::Version;

pub mod fleet;

const READ: &str = "GET, HEAD";
const ASK: &str = "POST";
const SET: &str = "GET, HEAD, POST";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'p> {
    Server,
    /// Of these pages, for programs.
    Description,
    /// All models, by name.
    Models,
    Live,
    Ready,
    Model {
        name: Cow<'p, str>,
        version: Option<Version>,
        page: ModelPage,
    },
    /// Of all models.
    Statistics,
    Logging,
    /// How requests are traced: those of all models, or of one.
    Trace {
        name: Option<Cow<'p, str>>,
    },
    SharedMemory {
        family: Family,
        act: Act<'p>,
    },
    Repository(RepositoryPage<'p>),
    Fleet(FleetPage<'p>),
}

/// Of the model repository extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryPage<'p> {
    Index,
    Load(Cow<'p, str>),
    Unload(Cow<'p, str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPage {
    Metadata,
    Ready,
    Infer,
    /// The same in one flat object.
    Generate,
    GenerateStream,
    Config,
    /// Without a version: of all there are.
    Statistics,
    /// What its batching learned and does: ours, not the protocol's.
    Batching,
}

pub fn route<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, ApiError> {
    let mut segments = [""; SEGMENTS_MAX];
    let found = match split(path, &mut segments)? {
        ["fleet", rest @ ..] => return fleet::fleet(method, rest).map(Route::Fleet),
        ["v2"] | ["v2", ""] => Route::Server,
        ["openapi.json"] => Route::Description,
        ["v2", "models"] => Route::Models,
        ["v2", "health", "live"] => Route::Live,
        ["v2", "health", "ready"] => Route::Ready,
        ["v2", "models", "stats"] => Route::Statistics,
        ["v2", "logging"] => Route::Logging,
        ["v2", "trace", "setting"] => Route::Trace { name: None },
        ["v2", "models", name, "trace", "setting"] => Route::Trace { name: Some(named(name)?) },
        ["v2", "models", name] => model(name, None, ModelPage::Metadata)?,
        ["v2", "models", name, "ready"] => model(name, None, ModelPage::Ready)?,
        ["v2", "models", name, "batching"] => model(name, None, ModelPage::Batching)?,
        ["v2", "models", name, "stats"] => model(name, None, ModelPage::Statistics)?,
        ["v2", "models", name, "config"] => model(name, None, ModelPage::Config)?,
        ["v2", "models", name, "infer"] => model(name, None, ModelPage::Infer)?,
        ["v2", "models", name, "generate"] => model(name, None, ModelPage::Generate)?,
        ["v2", "models", name, "generate_stream"] => model(name, None, ModelPage::GenerateStream)?,
        ["v2", "models", name, "versions", of] => model(name, Some(of), ModelPage::Metadata)?,
        ["v2", "models", name, "versions", of, "ready"] => model(name, Some(of), ModelPage::Ready)?,
        ["v2", "models", name, "versions", of, "batching"] => {
            model(name, Some(of), ModelPage::Batching)?
        }
        ["v2", "models", name, "versions", of, "stats"] => {
            model(name, Some(of), ModelPage::Statistics)?
        }
        ["v2", "models", name, "versions", of, "config"] => {
            model(name, Some(of), ModelPage::Config)?
        }
        ["v2", "models", name, "versions", of, "infer"] => model(name, Some(of), ModelPage::Infer)?,
        ["v2", "models", name, "versions", of, "generate"] => {
            model(name, Some(of), ModelPage::Generate)?
        }
        ["v2", "models", name, "versions", of, "generate_stream"] => {
            model(name, Some(of), ModelPage::GenerateStream)?
        }
        ["v2", "repository", "index"] => Route::Repository(RepositoryPage::Index),
        ["v2", "repository", "models", name, "load"] => {
            Route::Repository(RepositoryPage::Load(named(name)?))
        }
        ["v2", "repository", "models", name, "unload"] => {
            Route::Repository(RepositoryPage::Unload(named(name)?))
        }
        ["v2", "systemsharedmemory", rest @ ..] => shared_memory(Family::System, rest)?,
        ["v2", "cudasharedmemory", rest @ ..] => shared_memory(Family::Cuda, rest)?,
        _ => return Err(ApiError::UnknownPath),
    };
    let allow = match &found {
        Route::Model {
            page: ModelPage::Infer | ModelPage::Generate | ModelPage::GenerateStream,
            ..
        }
        | Route::Repository(_) => ASK,
        Route::SharedMemory { act, .. } if !matches!(act, Act::Status { .. }) => ASK,
        Route::Logging | Route::Trace { .. } => SET,
        _ => READ,
    };
    match *method {
        Method::POST if allow != READ => Ok(found),
        Method::GET | Method::HEAD if allow != ASK => Ok(found),
        _ => Err(ApiError::Method { allow }),
    }
}

/// `v2/models/NAME/versions/N/infer`.
const SEGMENTS_MAX: usize = 6;

fn split<'s, 'p>(
    path: &'p str,
    segments: &'s mut [&'p str; SEGMENTS_MAX],
) -> Result<&'s [&'p str], ApiError> {
    let Some(path) = path.strip_prefix('/') else { return Err(ApiError::UnknownPath) };
    let mut count = 0;
    for segment in path.split('/') {
        let Some(slot) = segments.get_mut(count) else { return Err(ApiError::UnknownPath) };
        *slot = segment;
        count += 1;
    }
    Ok(&segments[..count])
}

fn model<'p>(name: &'p str, version: Option<&str>, page: ModelPage) -> Result<Route<'p>, ApiError> {
    let (name, version) = (named(name)?, version.map(parse_version).transpose()?);
    Ok(Route::Model { name, version, page })
}

/// A version as gRPC asks for it: nothing means the newest.
pub fn version(text: &str) -> Result<Option<Version>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_version(text).map(Some) }
}

fn shared_memory<'p>(family: Family, rest: &[&'p str]) -> Result<Route<'p>, ApiError> {
    let named = |name| percent_decoded(name).ok_or(ApiError::UnknownPath);
    let act = match *rest {
        ["status"] => Act::Status { region: None },
        ["unregister"] => Act::Unregister { region: None },
        ["region", name, "status"] => Act::Status { region: Some(named(name)?) },
        ["region", name, "register"] => Act::Register { region: named(name)? },
        ["region", name, "unregister"] => Act::Unregister { region: Some(named(name)?) },
        _ => return Err(ApiError::UnknownPath),
    };
    Ok(Route::SharedMemory { family, act })
}

fn named(name: &str) -> Result<Cow<'_, str>, ApiError> {
    percent_decoded(name).filter(|name| !name.is_empty()).ok_or(ApiError::UnknownPath)
}

fn parse_version(text: &str) -> Result<Version, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let version = digits.then(|| text.parse().ok()).flatten();
    version.map(Version).ok_or_else(|| ApiError::BadVersion { found: excerpt(text) })
}

/// `None` when an escape is broken or the result is not UTF-8.
pub(super) fn percent_decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (pair, after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
        rest = after;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
