//! The pages of the fleet: what is deployed, and how that changes. Administrators' alone.

use std::borrow::Cow;

use hyper::Method;

use super::{ASK, READ, named};
use crate::api::status::ApiError;

const MODEL: &str = "GET, HEAD, PUT, DELETE";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetPage<'p> {
    Engine,
    Models,
    Replicas,
    /// Python and its libraries where models run.
    Runtime,
    Model(Cow<'p, str>),
    Deploy(Cow<'p, str>),
    Remove(Cow<'p, str>),
    Promote(Cow<'p, str>),
    Rollback(Cow<'p, str>),
    Scale(Cow<'p, str>),
    Slo(Cow<'p, str>),
    Logs(Cow<'p, str>),
}

pub fn fleet<'p>(method: &Method, rest: &[&'p str]) -> Result<FleetPage<'p>, ApiError> {
    let page = match *rest {
        [] => FleetPage::Engine,
        ["models"] => FleetPage::Models,
        ["replicas"] => FleetPage::Replicas,
        ["runtime"] => FleetPage::Runtime,
        ["models", name] => match *method {
            Method::PUT => return Ok(FleetPage::Deploy(named(name)?)),
            Method::DELETE => return Ok(FleetPage::Remove(named(name)?)),
            Method::GET | Method::HEAD => FleetPage::Model(named(name)?),
            _ => return Err(ApiError::Method { allow: MODEL }),
        },
        ["models", name, "logs"] => FleetPage::Logs(named(name)?),
        ["models", name, act] => return acted(method, name, act),
        _ => return Err(ApiError::UnknownPath),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(page),
        _ => Err(ApiError::Method { allow: READ }),
    }
}

fn acted<'p>(method: &Method, name: &'p str, act: &str) -> Result<FleetPage<'p>, ApiError> {
    let name = named(name)?;
    let page = match act {
        "promote" => FleetPage::Promote(name),
        "rollback" => FleetPage::Rollback(name),
        "scale" => FleetPage::Scale(name),
        "slo" => FleetPage::Slo(name),
        _ => return Err(ApiError::UnknownPath),
    };
    if *method == Method::POST { Ok(page) } else { Err(ApiError::Method { allow: ASK }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_its_methods() {
        let at = |method: Method, rest: &[&'static str]| fleet(&method, rest);
        assert_eq!(at(Method::GET, &[]), Ok(FleetPage::Engine));
        assert_eq!(at(Method::PUT, &["models", "a%2Db"]), Ok(FleetPage::Deploy("a-b".into())));
        assert_eq!(at(Method::DELETE, &["models", "m"]), Ok(FleetPage::Remove("m".into())));
        assert_eq!(at(Method::HEAD, &["models", "m"]), Ok(FleetPage::Model("m".into())));
        assert_eq!(at(Method::POST, &["models", "m", "scale"]), Ok(FleetPage::Scale("m".into())));
        let allow = |method, rest: &[&'static str]| match at(method, rest) {
            Err(ApiError::Method { allow }) => allow,
            other => panic!("{other:?}"),
        };
        assert_eq!(allow(Method::POST, &["models", "m"]), MODEL);
        assert_eq!(allow(Method::GET, &["models", "m", "rollback"]), ASK);
        assert_eq!(allow(Method::PUT, &["models"]), READ);
        assert_eq!(at(Method::GET, &["nothing"]), Err(ApiError::UnknownPath));
        assert_eq!(at(Method::POST, &["models", "m", "fly"]), Err(ApiError::UnknownPath));
    }
}
