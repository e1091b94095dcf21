//! Where Clipper's own interface is, if it is anywhere.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::control::{self, Admin};
use super::{ConfigError, loopback};
use crate::cli::{ClipperMode, Serve};

/// The ports that programs written for Clipper know.
const QUERY_PORT: u16 = 1337;
const ADMIN_PORT: u16 = 1338;
const RPC_PORT: u16 = 7000;

#[derive(Clone, Debug)]
pub struct Clipper {
    pub query: SocketAddr,
    pub admin: Admin,
    pub strict: bool,
}

/// What the file given by `--config` says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct InFile {
    pub(super) mode: Option<String>,
    pub(super) query: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) rpc: Option<SocketAddr>,
    pub(super) token_file: Option<PathBuf>,
}

/// The interface, and where containers dial in.
pub(super) fn resolve(
    flags: &Serve,
    file: &InFile,
) -> Result<(Option<Clipper>, Option<SocketAddr>), ConfigError> {
    let rpc = flags.clipper_rpc.or(file.rpc);
    let (query, admin) = (flags.clipper_query.or(file.query), flags.clipper_admin.or(file.admin));
    let Some(mode) = mode(flags.clipper, file.mode.as_deref())? else {
        return match query.or(admin) {
            Some(_) => Err(ConfigError::ClipperOff),
            None => Ok((None, rpc)),
        };
    };
    let admin = admin.unwrap_or(loopback(ADMIN_PORT));
    let token_file = flags.control.admin_token_file.as_ref().or(file.token_file.as_ref());
    let admin = control::admin(admin, token_file.map(PathBuf::as_path))?;
    let query = query.unwrap_or(loopback(QUERY_PORT));
    let clipper = Clipper { query, admin, strict: mode == ClipperMode::Strict };
    Ok((Some(clipper), rpc.or(Some(loopback(RPC_PORT)))))
}

fn mode(flag: Option<ClipperMode>, file: Option<&str>) -> Result<Option<ClipperMode>, ConfigError> {
    match (flag, file) {
        (Some(mode), _) => Ok(Some(mode)),
        (None, None | Some("off")) => Ok(None),
        (None, Some("on")) => Ok(Some(ClipperMode::On)),
        (None, Some("strict")) => Ok(Some(ClipperMode::Strict)),
        (None, Some(mode)) => Err(ConfigError::ClipperMode { mode: mode.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flags: Serve, mode: Option<&str>) -> Result<Option<Clipper>, String> {
        let file = InFile { mode: mode.map(str::to_owned), ..InFile::default() };
        resolve(&flags, &file).map(|it| it.0).map_err(|error| error.to_string())
    }

    #[test]
    fn clippers_ports_are_loopback_unless_said_otherwise() {
        let flags = Serve { clipper: Some(ClipperMode::On), ..Serve::default() };
        let (clipper, rpc) = resolve(&flags, &InFile::default()).unwrap();
        let clipper = clipper.unwrap();
        assert_eq!(
            (clipper.query.port(), clipper.admin.address.port(), clipper.strict),
            (1337, 1338, false)
        );
        assert!(clipper.query.ip().is_loopback() && clipper.admin.address.ip().is_loopback());
        assert_eq!(rpc.unwrap().port(), 7000);
        let (clipper, rpc) = resolve(&Serve::default(), &InFile::default()).unwrap();
        assert!(clipper.is_none() && rpc.is_none());
    }

    #[test]
    fn the_file_may_switch_it_on() {
        assert!(resolved(Serve::default(), Some("strict")).unwrap().unwrap().strict);
        assert!(resolved(Serve::default(), Some("off")).unwrap().is_none());
        assert!(resolved(Serve::default(), Some("yes")).unwrap_err().contains("strict"));
    }

    #[test]
    fn addresses_without_the_switch_and_an_open_admin_port_are_refused() {
        let open = "0.0.0.0:1338".parse().ok();
        let flags = Serve { clipper_admin: open, ..Serve::default() };
        assert!(resolved(flags.clone(), None).unwrap_err().contains("--clipper"));
        let flags = Serve { clipper: Some(ClipperMode::On), ..flags };
        assert!(resolved(flags, None).unwrap_err().contains("--admin-token-file"));
    }
}
