//! Path and method to what is asked for. All pages are on this screen.

use std::borrow::Cow;

use hyper::Method;

use crate::api::status::ApiError;
use crate::codec::fault::excerpt;
use crate::ids::Version;

const READ: &str = "GET, HEAD";
const ASK: &str = "POST";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'p> {
    Server,
    Live,
    Ready,
    Model { name: Cow<'p, str>, version: Option<Version>, page: ModelPage },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPage {
    Metadata,
    Ready,
    Infer,
    /// What its batching learned and does: ours, not the protocol's.
    Batching,
}

pub fn route<'p>(method: &Method, path: &'p str) -> Result<Route<'p>, ApiError> {
    let mut segments = [""; SEGMENTS_MAX];
    let found = match split(path, &mut segments)? {
        ["v2"] | ["v2", ""] => Route::Server,
        ["v2", "health", "live"] => Route::Live,
        ["v2", "health", "ready"] => Route::Ready,
        ["v2", "models", name] => model(name, None, ModelPage::Metadata)?,
        ["v2", "models", name, "ready"] => model(name, None, ModelPage::Ready)?,
        ["v2", "models", name, "batching"] => model(name, None, ModelPage::Batching)?,
        ["v2", "models", name, "infer"] => model(name, None, ModelPage::Infer)?,
        ["v2", "models", name, "versions", of] => model(name, Some(of), ModelPage::Metadata)?,
        ["v2", "models", name, "versions", of, "ready"] => model(name, Some(of), ModelPage::Ready)?,
        ["v2", "models", name, "versions", of, "batching"] => {
            model(name, Some(of), ModelPage::Batching)?
        }
        ["v2", "models", name, "versions", of, "infer"] => model(name, Some(of), ModelPage::Infer)?,
        _ => return Err(ApiError::UnknownPath),
    };
    let asks = matches!(found, Route::Model { page: ModelPage::Infer, .. });
    match (asks, method) {
        (true, &Method::POST) | (false, &Method::GET | &Method::HEAD) => Ok(found),
        (true, _) => Err(ApiError::Method { allow: ASK }),
        (false, _) => Err(ApiError::Method { allow: READ }),
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
    let Some(name) = percent_decoded(name).filter(|name| !name.is_empty()) else {
        return Err(ApiError::UnknownPath);
    };
    let version = version.map(parse_version).transpose()?;
    Ok(Route::Model { name, version, page })
}

/// A version as gRPC asks for it: nothing means the newest.
pub fn version(text: &str) -> Result<Option<Version>, ApiError> {
    if text.is_empty() { Ok(None) } else { parse_version(text).map(Some) }
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
