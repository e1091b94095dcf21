//! The commands that deploy models to a running engine and look after them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::duration;

#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// Deploy a new version of a model: it takes traffic once it is warm and its sample's answer is right.
    #[command(after_help = "Examples:
  foil deploy model.py                           the one model class in model.py
  foil deploy model.py:Digits --with digits.pkl  that class, and a file that it loads
  foil deploy digits/ --replicas 1..4 --slo 20ms a directory with model.py or model.toml
  foil deploy models/digits/3 --hold             a version of a repository; takes no traffic before `foil promote`
  foil deploy model.py --launcher docker         in a container of its own
  foil deploy --image team/heavy:3 --name heavy  an image that brings its own program")]
    Deploy(Box<Deploy>),

    /// List the models, or one model's versions.
    #[command(after_help = "Examples:\n  foil ls\n  foil ls digits\n  foil ls --json")]
    Ls(Ls),

    /// List the replicas that run.
    #[command(after_help = "Examples:\n  foil ps\n  foil ps digits")]
    Ps(Ls),

    /// Run so many replicas of a model, or let the engine choose between two numbers by the load.
    #[command(after_help = "Examples:\n  foil scale digits 3\n  foil scale digits 1..4")]
    Scale(Scale),

    /// Show what a model's replicas wrote.
    #[command(after_help = "Examples:\n  foil logs digits\n  foil logs digits --follow --lines 20")]
    Logs(Logs),

    /// Give the traffic back to the version that had it before; a second time goes forward again.
    #[command(after_help = "Examples:\n  foil rollback digits")]
    Rollback(Rollback),

    /// Give the traffic to a version that is there: held, warm or stopped.
    #[command(after_help = "Examples:\n  foil promote digits 3")]
    Promote(Promote),

    /// Remove a model with all its versions, or one version that has no traffic.
    #[command(after_help = "Examples:\n  foil rm digits\n  foil rm digits 2")]
    Rm(Rm),

    /// Set a model's latency objective.
    #[command(after_help = "Examples:\n  foil slo digits 20ms\n  foil slo digits none")]
    Slo(SetSlo),
}

/// Which engine is meant. Either flag wins over both variables: who names a directory means no engine elsewhere.
#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// The state directory of the engine on this machine, as given to foil serve [env: FOIL_STATE] [default: $XDG_STATE_HOME/hydrofoil or ~/.local/state/hydrofoil].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// The administrators' address of an engine, as given to foil serve by --admin, in place of the one on this machine [env: FOIL_ENGINE].
    #[arg(long, value_name = "URL", conflicts_with = "state")]
    pub engine: Option<String>,

    /// With --engine: a file with the administrators' token; or put the token itself into the environment as FOIL_ADMIN_TOKEN.
    #[arg(long, env = "FOIL_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// How long to wait for a version that starts.
#[derive(Clone, Debug, Args)]
pub struct Patience {
    /// Longest silence of the engine before this command ends; the version goes on without it.
    #[arg(long, value_name = "DURATION", default_value = "12m", value_parser = duration)]
    pub wait: Duration,

    /// Print what happens as JSON, an event a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Deploy {
    /// A Python file with a model (`model.py`, `model.py:Class`) or a directory with one; nothing with an --image that brings its own program.
    #[arg(value_name = "TARGET", required_unless_present = "image")]
    pub target: Option<String>,

    /// The model's name [default: of its class or function, in snake_case; its directory's; the image's].
    #[arg(long)]
    pub name: Option<String>,

    /// Start it, but give it no traffic before `foil promote`.
    #[arg(long)]
    pub hold: bool,

    /// How long the version it replaces stays loaded, so that a rollback is instant [default: 10m].
    #[arg(long, value_name = "DURATION", value_parser = a_duration)]
    pub keep_warm: Option<String>,

    /// Processes that run it, or two numbers between which the load decides [default: as before, else 1].
    #[arg(long, value_name = "N or MIN..MAX", value_parser = replicas)]
    pub replicas: Option<Replicas>,

    /// Its latency objective, as in 20ms [default: as before, else the model's own].
    #[arg(long, value_name = "DURATION", value_parser = a_duration)]
    pub slo: Option<String>,

    /// What runs it [default: that of foil serve; docker with --image].
    #[arg(long, value_parser = ["process", "docker"])]
    pub launcher: Option<String>,

    /// The Docker image it runs in.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// A file or directory that is to lie beside the model; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub with: Vec<PathBuf>,

    /// A variable of its environment; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// The body of an inference request: the model must answer it before it takes traffic.
    #[arg(long, value_name = "FILE")]
    pub sample: Option<PathBuf>,

    /// The body of the answer that the sample must get.
    #[arg(long, value_name = "FILE", requires = "sample")]
    pub expected: Option<PathBuf>,

    #[command(flatten)]
    pub patience: Patience,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// One model only.
    pub name: Option<String>,

    /// Print JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Scale {
    pub name: String,

    /// A number, or two between which the load decides.
    #[arg(value_name = "N or MIN..MAX", value_parser = replicas)]
    pub replicas: Replicas,

    /// Print the model as JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Logs {
    pub name: String,

    /// Go on with what they write from now on, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,

    /// Lines of each replica to begin with.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub lines: u32,

    /// Of this version only.
    #[arg(long)]
    pub version: Option<u64>,

    /// Of this replica only.
    #[arg(long)]
    pub replica: Option<u32>,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Rollback {
    pub name: String,

    #[command(flatten)]
    pub patience: Patience,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Promote {
    pub name: String,
    pub version: u64,

    #[command(flatten)]
    pub patience: Patience,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct Rm {
    pub name: String,
    /// This version only.
    pub version: Option<u64>,

    /// Print what was removed as JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Args)]
pub struct SetSlo {
    pub name: String,

    /// A duration as in 20ms, or `none` for the model's own.
    #[arg(value_name = "DURATION", value_parser = a_duration_or_none)]
    pub slo: String,

    /// Print the model as JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub reach: Reach,
}

/// How many replicas are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub min: u32,
    pub max: u32,
}

fn replicas(text: &str) -> Result<Replicas, String> {
    let number = |text: &str| {
        let number = text.parse().ok().filter(|&number| number >= 1);
        number.ok_or(format!("'{text}' is no number of replicas; write 3, or 1..4"))
    };
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (number(min)?, number(max)?);
    if min > max {
        return Err(format!("{min} is more than {max}; write the smaller number first"));
    }
    Ok(Replicas { min, max })
}

fn a_duration(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn a_duration_or_none(text: &str) -> Result<String, String> {
    if text == "none" { Ok(text.to_owned()) } else { a_duration(text) }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is no variable; write KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &str) -> Result<FleetCommand, String> {
        match Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?.command {
            Command::Fleet(command) => Ok(command),
            Command::Serve(_) | Command::Host(_) => panic!("a command of the fleet"),
        }
    }

    fn deploy(line: &str) -> Deploy {
        match parsed(line) {
            Ok(FleetCommand::Deploy(deploy)) => *deploy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn replicas_are_a_number_or_two() {
        let found = |text| deploy(&format!("foil deploy m.py --replicas {text}")).replicas;
        assert_eq!(found("2"), Some(Replicas { min: 2, max: 2 }));
        assert_eq!(found("1..4"), Some(Replicas { min: 1, max: 4 }));
        for wrong in ["0", "4..1", "x", "1..", ".."] {
            assert!(parsed(&format!("foil scale m {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_image_may_stand_in_for_the_target_and_nothing_else() {
        assert_eq!(deploy("foil deploy --image a/b:1").target, None);
        assert!(parsed("foil deploy").unwrap_err().contains("TARGET"));
    }

    #[test]
    fn one_engine_is_meant() {
        assert!(parsed("foil ls --state here --engine host:1").is_err());
    }

    #[test]
    fn durations_and_variables_are_checked_before_anything_is_sent() {
        assert!(parsed("foil slo m 20").unwrap_err().contains("20ms"));
        assert!(parsed("foil slo m none").is_ok());
        assert!(parsed("foil deploy m.py --keep-warm soon").is_err());
        assert!(parsed("foil deploy m.py --env A").unwrap_err().contains("KEY=VALUE"));
        let env = deploy("foil deploy m.py --env A=b=c --env D=").env;
        assert_eq!(env, [("A".into(), "b=c".into()), ("D".into(), String::new())]);
    }
}
