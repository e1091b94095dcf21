//! Who may do what. Authorised is the operation, whatever protocol or path it came by: every front end asks [`may`].
//!
//! What changes the engine is refused on the public addresses, and on the administrators' to whoever does not show
//! their token. Sharing memory, where it is switched on, is open on both, but not to browsers. Everything else is open.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, ORIGIN};
use subtle::ConstantTimeEq;

use crate::api::status::ApiError;

/// Which address a connection came to.
#[derive(Clone, Debug)]
pub enum Door {
    Public,
    /// That of `--admin` or `--clipper-admin`; without a token, whoever is on this machine may.
    Admin {
        token: Option<Arc<str>>,
    },
}

/// What not everybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    LoadModel,
    UnloadModel,
    ShareMemory,
    /// Applications, their links and models, over Clipper's admin API.
    ChangeApplications,
    ChangeSettings,
    SeeFleet,
    Deploy,
    /// Another version gets the traffic.
    Promote,
    /// Replicas and the SLO.
    Scale,
    RemoveModel,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::LoadModel => "loading a model",
            Operation::UnloadModel => "unloading a model",
            Operation::ShareMemory => "sharing memory",
            Operation::ChangeApplications => "changing applications",
            Operation::ChangeSettings => "changing a setting",
            Operation::SeeFleet => "looking at the fleet",
            Operation::Deploy => "deploying a model",
            Operation::Promote => "promoting a version",
            Operation::Scale => "scaling a model",
            Operation::RemoveModel => "removing a model",
        }
    }
}

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error(
        "{operation} is for administrators: ask the address that foil serve was given by --admin"
    )]
    Public { operation: &'static str },
    #[error(
        "{operation} needs the administrators' token: send the header Authorization: Bearer <token>"
    )]
    NoToken { operation: &'static str },
    #[error("{operation} is refused to a page in a browser, which may be anybody's")]
    AnyPage { operation: &'static str },
    #[error("the token is not the administrators'; compare it with that of foil serve")]
    WrongToken,
    #[error(
        "{operation} is refused to a page in a browser where there is no token; set one for --admin"
    )]
    Browser { operation: &'static str },
}

/// Whether whoever sent these headers, or this metadata, to this address may do so.
pub fn may(operation: Operation, door: &Door, headers: &HeaderMap) -> Result<(), ApiError> {
    let (for_all, operation) = (operation == Operation::ShareMemory, operation.name());
    let allowed = match door {
        Door::Public if for_all && headers.contains_key(ORIGIN) => {
            Err(Forbidden::AnyPage { operation })
        }
        Door::Public if for_all => Ok(()),
        Door::Public => Err(Forbidden::Public { operation }),
        Door::Admin { token: Some(token) } => shows(token, operation, headers),
        // A page of anybody's can make a browser send requests to loopback; browsers say so.
        Door::Admin { token: None } if headers.contains_key(ORIGIN) => {
            Err(Forbidden::Browser { operation })
        }
        Door::Admin { token: None } => Ok(()),
    };
    Ok(allowed?)
}

fn shows(token: &str, operation: &'static str, headers: &HeaderMap) -> Result<(), Forbidden> {
    let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let shown = shown.ok_or(Forbidden::NoToken { operation })?;
    // The time it takes tells the length at most.
    if bool::from(shown.ct_eq(token.as_bytes())) { Ok(()) } else { Err(Forbidden::WrongToken) }
}

/// The scheme's name is written in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn asked(door: &Door, headers: &[(&'static str, &'static str)]) -> Result<(), ApiError> {
        let header = |&(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        may(Operation::LoadModel, door, &headers.iter().map(header).collect())
    }

    fn refused(door: &Door, headers: &[(&'static str, &'static str)]) -> String {
        asked(door, headers).unwrap_err().to_string()
    }

    #[test]
    fn no_header_opens_the_public_address() {
        let token = [("authorization", "Bearer 0123456789abcdef")];
        assert!(refused(&Door::Public, &token).contains("--admin"));
        assert!(refused(&Door::Public, &[]).contains("--admin"));
    }

    #[test]
    fn memory_is_shared_with_every_program_and_no_browser() {
        let asked = |headers: &HeaderMap| may(Operation::ShareMemory, &Door::Public, headers);
        assert_eq!(asked(&HeaderMap::new()), Ok(()));
        let browser = [(ORIGIN, "null".parse().unwrap())].into_iter().collect();
        assert!(asked(&browser).unwrap_err().to_string().contains("browser"));
    }

    #[test]
    fn the_token_must_be_shown_whole() {
        let door = Door::Admin { token: Some(TOKEN.into()) };
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert_eq!(asked(&door, &[("authorization", right)]), Ok(()), "{right}");
        }
        for wrong in
            ["Bearer 0123456789abcdee", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0"]
        {
            assert!(
                refused(&door, &[("authorization", wrong)]).contains("not the administrators'")
            );
        }
        for none in ["", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer"] {
            assert!(
                refused(&door, &[("authorization", none)]).contains("Bearer <token>"),
                "{none}"
            );
        }
        assert!(refused(&door, &[]).contains("Bearer <token>"));
    }

    #[test]
    fn without_a_token_everybody_here_may_but_no_browser() {
        let door = Door::Admin { token: None };
        assert_eq!(asked(&door, &[]), Ok(()));
        assert!(refused(&door, &[("origin", "https://example.org")]).contains("browser"));
    }
}
