//! Which models are served at run time, and who decides: the settings of `--model-control-mode` and `--admin`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::control::{ControlFlags, ModelControlMode};

/// The token itself, which must not be seen in a list of processes.
const TOKEN_VARIABLE: &str = "FOIL_ADMIN_TOKEN";
/// Too long to be found by trying.
const TOKEN_BYTES_MIN: usize = 16;
/// Longer than any header a client would send.
const TOKEN_BYTES_MAX: usize = 4096;
/// As Triton looks.
const POLL_EVERY: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct Control {
    pub mode: ModelControlMode,
    /// With mode explicit: loaded at start.
    pub load: Vec<String>,
    pub poll_every: Duration,
    pub admin: Option<Admin>,
}

/// The administrators' address.
#[derive(Clone, Debug)]
pub struct Admin {
    pub address: SocketAddr,
    /// None on loopback only: whoever is on this machine may.
    pub token: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("model_control_mode '{mode}' does not exist; use none, explicit or poll")]
    Mode { mode: String },
    #[error(
        "--load-model goes with --model-control-mode explicit; otherwise all models are loaded"
    )]
    LoadWithoutExplicit,
    #[error("--repository-poll-secs goes with --model-control-mode poll, and is 1 or more")]
    Poll,
    #[error(
        "the administrators' address {address} is not loopback and there is no token: whoever reaches it could run code here. Give \
         --admin-token-file or {TOKEN_VARIABLE}"
    )]
    OpenToAll { address: SocketAddr },
    #[error("--admin-token-file goes with --admin or --clipper")]
    TokenWithoutAdmin,
    #[error("cannot read the administrators' token from {path}: {source}")]
    TokenFile { path: PathBuf, source: std::io::Error },
    #[error(
        "the administrators' token must be one word of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible characters"
    )]
    Token,
}

/// What the file given by `--config` says of it.
#[derive(Default)]
pub struct ControlFile {
    pub model_control_mode: Option<String>,
    pub load_model: Vec<String>,
    pub repository_poll_secs: Option<u64>,
    pub admin: Option<SocketAddr>,
    pub admin_token_file: Option<PathBuf>,
    /// Another address of administrators asks for the token.
    pub token_used: bool,
}

impl Control {
    pub fn resolve(flags: ControlFlags, file: ControlFile) -> Result<Control, ControlError> {
        let mode = mode(flags.model_control_mode, file.model_control_mode)?;
        let load = if flags.load_model.is_empty() { file.load_model } else { flags.load_model };
        if mode != ModelControlMode::Explicit && !load.is_empty() {
            return Err(ControlError::LoadWithoutExplicit);
        }
        let seconds = flags.repository_poll_secs.or(file.repository_poll_secs);
        if seconds == Some(0) || (seconds.is_some() && mode != ModelControlMode::Poll) {
            return Err(ControlError::Poll);
        }
        let poll_every = seconds.map_or(POLL_EVERY, Duration::from_secs);
        let token_file = flags.admin_token_file.or(file.admin_token_file);
        let admin = match flags.admin.or(file.admin) {
            Some(address) => Some(admin(address, token_file.as_deref())?),
            None if token_file.is_some() && !file.token_used => {
                return Err(ControlError::TokenWithoutAdmin);
            }
            None => None,
        };
        Ok(Control { mode, load, poll_every, admin })
    }

    pub fn polls(&self) -> Option<Duration> {
        (self.mode == ModelControlMode::Poll).then_some(self.poll_every)
    }
}

fn mode(
    flag: Option<ModelControlMode>,
    file: Option<String>,
) -> Result<ModelControlMode, ControlError> {
    match (flag, file.as_deref()) {
        (Some(mode), _) => Ok(mode),
        (None, None | Some("none")) => Ok(ModelControlMode::None),
        (None, Some("explicit")) => Ok(ModelControlMode::Explicit),
        (None, Some("poll")) => Ok(ModelControlMode::Poll),
        (None, Some(mode)) => Err(ControlError::Mode { mode: mode.to_owned() }),
    }
}

/// The administrators' address with the token that they have to show.
pub(super) fn admin(address: SocketAddr, file: Option<&Path>) -> Result<Admin, ControlError> {
    let given = match file {
        Some(path) => {
            let wrong = |source| ControlError::TokenFile { path: path.to_owned(), source };
            Some(std::fs::read_to_string(path).map_err(wrong)?)
        }
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    let token = given.as_deref().map(token).transpose()?;
    if token.is_none() && !address.ip().is_loopback() {
        return Err(ControlError::OpenToAll { address });
    }
    Ok(Admin { address, token })
}

fn token(text: &str) -> Result<Arc<str>, ControlError> {
    let token = text.trim();
    let long = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if long && visible { Ok(token.into()) } else { Err(ControlError::Token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: ControlFlags) -> Result<Control, String> {
        Control::resolve(flags, ControlFile::default()).map_err(|error| error.to_string())
    }

    fn at(address: &str) -> ControlFlags {
        ControlFlags { admin: Some(address.parse().unwrap()), ..ControlFlags::default() }
    }

    #[test]
    fn nobody_administers_from_afar_without_a_token() {
        assert!(resolve(at("127.0.0.1:8004")).unwrap().admin.unwrap().token.is_none());
        assert!(resolve(at("[::1]:8004")).is_ok());
        for open in ["0.0.0.0:8004", "10.0.0.1:8004", "[::]:8004"] {
            assert!(resolve(at(open)).unwrap_err().contains("--admin-token-file"), "{open}");
        }
    }

    #[test]
    fn a_token_is_one_long_word_and_its_file_may_end_in_a_line_break() {
        let file = std::env::temp_dir().join(format!("foil-token-{}", std::process::id()));
        let with = |text: &str| {
            std::fs::write(&file, text).unwrap();
            resolve(ControlFlags { admin_token_file: Some(file.clone()), ..at("0.0.0.0:8004") })
        };
        let admin = with("0123456789abcdef\n").unwrap().admin.unwrap();
        assert_eq!(admin.token.as_deref(), Some("0123456789abcdef"));
        for wrong in ["", "short", "0123456789 abcdef", "0123456789abcdeé"] {
            assert!(with(wrong).unwrap_err().contains("one word"), "{wrong}");
        }
        std::fs::remove_file(&file).unwrap();
        let absent = ControlFlags { admin_token_file: Some(file), ..at("127.0.0.1:1") };
        assert!(resolve(absent).unwrap_err().contains("cannot read"));
    }

    #[test]
    fn flags_that_would_be_ignored_are_refused() {
        let refused = |flags| resolve(flags).unwrap_err();
        let flags = ControlFlags { load_model: vec!["m".into()], ..ControlFlags::default() };
        assert!(refused(flags).contains("explicit"));
        let flags = ControlFlags { repository_poll_secs: Some(3), ..ControlFlags::default() };
        assert!(refused(flags).contains("poll"));
        let flags = ControlFlags { admin_token_file: Some("t".into()), ..ControlFlags::default() };
        assert!(refused(flags).contains("--admin"));
        let poll = Some(ModelControlMode::Poll);
        let polled = ControlFlags { model_control_mode: poll, ..ControlFlags::default() };
        assert_eq!(resolve(polled).unwrap().polls(), Some(POLL_EVERY));
    }
}
