//! The admin API: applications, links, models, versions, containers, state. Every page but the ping is a POST with JSON.

use hyper::Method;

use super::Clipper;
use super::exchange::{Asked, Reply};
use crate::api::admin::{Operation, may};
use crate::api::front_end::FrontEnd;
use crate::apps::change::{Change, Refused};
use crate::apps::known::Known;
use crate::clipper_rpc::models::ContainerRecord;
use crate::codec::clipper::admin::{self, Body};
use crate::codec::clipper::answer::json_cause;
use crate::codec::clipper::json_fault::JsonFault;
use crate::observe::metrics::ErrorKind;
use serde_json::{Value, json};

/// A page, and what it says it wants when it is sent something else.
const PAGES: [(&str, Page, &str); 16] = [
    ("add_app", Page::AddApp, ADD_APP),
    ("delete_app", Page::DeleteApp, NAME),
    ("add_model_links", Page::Link, LINKS),
    ("delete_model_links", Page::Unlink, LINKS),
    ("get_linked_models", Page::LinkedModels, APP_NAME),
    ("add_model", Page::AddModel, ADD_MODEL),
    ("set_model_version", Page::SetVersion, MODEL),
    ("delete_versioned_model", Page::DeleteModel, MODEL),
    ("get_all_applications", Page::AllApps, VERBOSE),
    ("get_application", Page::App, NAME),
    ("get_all_models", Page::AllModels, VERBOSE),
    ("get_model", Page::Model, MODEL),
    ("get_all_containers", Page::AllContainers, VERBOSE),
    ("get_container", Page::Container, CONTAINER),
    ("get_state", Page::State, STATE),
    ("ping", Page::Ping, ""),
];

const INPUT_TYPES: &str = r#""integers" | "bytes" | "floats" | "doubles" | "strings""#;
const ADD_APP: &str = r#"
  {
   "name" := string,
   "input_type" := INPUT_TYPES,
   "default_output" := string,
   "latency_slo_micros" := int
  }
"#;
const ADD_MODEL: &str = r#"
  {
   "model_name" := string,
   "model_version" := string,
   "labels" := [string],
   "input_type" := INPUT_TYPES,
   "container_name" := string,
   "model_data_path" := string,
   "batch_size" := int
  }
"#;
const LINKS: &str = r#"
  {
    "app_name" := string,
    "model_names" := [string]
  }
"#;
const NAME: &str = "\n  {\n    \"name\" := string\n  }\n";
const APP_NAME: &str = "\n  {\n    \"app_name\" := string\n  }\n";
const VERBOSE: &str = "\n  {\n    \"verbose\" := bool\n  }\n";
const MODEL: &str = "\n  {\n   \"model_name\" := string,\n   \"model_version\" := string,\n  }\n";
const STATE: &str = "\n  {\n   \"app_name\" := string,\n   \"uid\" := int,\n  }\n";
const CONTAINER: &str = r#"
  {
    "model_name" := string,
    "model_version" := string,
    "replica_id" := int
  }
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    AddApp,
    DeleteApp,
    Link,
    Unlink,
    LinkedModels,
    AddModel,
    SetVersion,
    DeleteModel,
    AllApps,
    App,
    AllModels,
    Model,
    AllContainers,
    Container,
    State,
    Ping,
}

impl Page {
    fn changes(self) -> bool {
        use Page::{AddApp, AddModel, DeleteApp, DeleteModel, Link, SetVersion, Unlink};
        matches!(self, AddApp | DeleteApp | Link | Unlink | AddModel | SetVersion | DeleteModel)
    }
}

/// Why a page does not do what it is asked for.
enum Failure {
    Json(JsonFault),
    Refused(Refused),
}

impl From<JsonFault> for Failure {
    fn from(fault: JsonFault) -> Failure {
        Failure::Json(fault)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        Failure::Refused(refused)
    }
}

type Told = Result<String, Failure>;

pub(super) async fn answer(clipper: &Clipper, front: &FrontEnd, asked: Asked) -> Reply {
    let name = asked.path.strip_prefix("/admin/");
    let found = name.and_then(|name| PAGES.iter().find(|(it, ..)| *it == name));
    let Some((_, page, schema)) = found else { return Reply::NoSuchPage };
    match (*page, &asked.method) {
        (Page::Ping, &Method::GET) => return Reply::text("PONG"),
        (Page::Ping, _) => return Reply::Method { allow: "GET" },
        (_, &Method::POST) => {}
        _ => return Reply::Method { allow: "POST" },
    }
    if page.changes()
        && let Err(error) = may(Operation::ChangeApplications, &front.door, &asked.headers)
    {
        return Reply::Forbidden(error);
    }
    let told = match Body::read(&asked.body) {
        Ok(body) => tell(clipper, front, *page, body).await,
        Err(fault) => Err(fault.into()),
    };
    match told {
        Ok(text) => Reply::text(text),
        Err(Failure::Json(fault)) => {
            let schema = schema.replace("INPUT_TYPES", INPUT_TYPES);
            Reply::Bad(json_cause(&fault, &schema), ErrorKind::BadInput)
        }
        Err(Failure::Refused(Refused::Stopping)) => {
            Reply::Unavailable(Refused::Stopping.to_string())
        }
        Err(Failure::Refused(refused)) => Reply::Bad(refused.to_string(), ErrorKind::BadInput),
    }
}

async fn tell(clipper: &Clipper, front: &FrontEnd, page: Page, body: Body<'_>) -> Told {
    match page {
        Page::AddApp | Page::DeleteApp | Page::Link | Page::Unlink => {
            change_app(clipper, page, body).await
        }
        Page::AddModel | Page::SetVersion | Page::DeleteModel => {
            change_model(clipper, page, body).await
        }
        Page::AllContainers | Page::Container => containers(clipper, page, body).await,
        Page::LinkedModels | Page::AllApps | Page::App | Page::State => apps(clipper, page, body),
        Page::AllModels | Page::Model => models(clipper, front, page, body),
        Page::Ping => Ok("PONG".into()),
    }
}

async fn change_app(clipper: &Clipper, page: Page, body: Body<'_>) -> Told {
    let (change, done) = match page {
        Page::AddApp => {
            let app = body.add_app()?;
            let done = format!("Successfully added application with name '{}'", app.name);
            (Change::AddApp(app), done)
        }
        Page::DeleteApp => {
            let name = body.app()?;
            let done = format!("Successfully deleted application with name '{name}'");
            (Change::DeleteApp { name }, done)
        }
        Page::Link => {
            let (app, models) = body.links()?;
            let model = models.first().cloned().unwrap_or_default();
            let done =
                format!("Successfully linked model with name '{model}' to application '{app}'");
            (Change::Link { app, models }, done)
        }
        _ => {
            let (app, models) = body.links()?;
            (Change::Unlink { app, models }, "Success!".to_owned())
        }
    };
    clipper.changes.make(change).await?;
    Ok(done)
}

async fn change_model(clipper: &Clipper, page: Page, body: Body<'_>) -> Told {
    let (change, done) = match page {
        Page::AddModel => {
            let new = body.add_model(clipper.mode)?;
            let (name, of) = (&new.model, new.input_type.name());
            let done = format!("Successfully added model with name '{name}' and input type '{of}'");
            (Change::AddModel(new), done)
        }
        Page::SetVersion => {
            let (model, version) = body.model(clipper.mode)?;
            let done = format!("Successfully set model with name '{model}' to version '{version}'");
            (Change::SetVersion { model, version }, done)
        }
        _ => {
            let (model, version) = body.model(clipper.mode)?;
            let done =
                format!("Successfully deleted model with name '{model}' and version '{version}'");
            (Change::DeleteModel { model, version }, done)
        }
    };
    clipper.changes.make(change).await?;
    Ok(done)
}

fn apps(clipper: &Clipper, page: Page, body: Body<'_>) -> Told {
    let apps = clipper.apps.load();
    match page {
        Page::AllApps => {
            let verbose = body.verbose()?;
            let one = |app| if verbose { admin::app(app) } else { json!(*app.name) };
            Ok(list(apps.all().map(|app| one(app))))
        }
        Page::App => {
            let name = body.app()?;
            Ok(admin::or_nothing(apps.get(&name).map(|app| admin::app(app))).to_string())
        }
        Page::State => {
            let app = body.state()?;
            let found = apps.get(&app).ok_or(Refused::AppUnknown { app })?;
            Ok(found.default_output.to_string())
        }
        _ => {
            let app = body.linked_app()?;
            let found = apps.get(&app).ok_or(Refused::NoApplication { app })?;
            Ok(list(found.linked.iter().map(|model| json!(**model))))
        }
    }
}

fn models(clipper: &Clipper, front: &FrontEnd, page: Page, body: Body<'_>) -> Told {
    let (apps, catalog) = (clipper.apps.load(), front.catalog.load());
    let known = Known { apps: &apps, catalog: &catalog };
    if page == Page::AllModels {
        let verbose = body.verbose()?;
        let models = known.all();
        let one = |it| match verbose {
            true => admin::model(it, clipper.mode),
            false => json!(format!("{}:{}", it.model, it.record.text)),
        };
        return Ok(list(models.iter().map(one)));
    }
    let (name, version) = body.model(clipper.mode)?;
    let found = admin::find_model(known, &name, &version);
    Ok(admin::or_nothing(found.map(|it| admin::model(&it, clipper.mode))).to_string())
}

async fn containers(clipper: &Clipper, page: Page, body: Body<'_>) -> Told {
    if page == Page::AllContainers {
        let verbose = body.verbose()?;
        let all = clipper.containers.containers().await;
        return Ok(list(all.iter().map(|it| if verbose { container(it) } else { json!(id(it)) })));
    }
    let (name, version) = body.model(clipper.mode)?;
    let replica = body.replica()?;
    let all = clipper.containers.containers().await;
    let asked = |it: &&ContainerRecord| {
        (&*it.id.name, &*it.id.version, i64::from(it.replica.0))
            == (name.as_str(), version.as_str(), i64::from(replica))
    };
    Ok(admin::or_nothing(all.iter().find(asked).map(container)).to_string())
}

fn id(container: &ContainerRecord) -> String {
    let ContainerRecord { id, replica, .. } = container;
    format!("{}:{}:{replica}", id.name, id.version)
}

fn container(container: &ContainerRecord) -> Value {
    let ContainerRecord { id, replica, input_type } = container;
    json!({
        "model_id": format!("{}:{}", id.name, id.version),
        "model_name": &*id.name,
        "model_version": &*id.version,
        "model_replica_id": replica.0,
        "input_type": input_type.name(),
    })
}

fn list(values: impl Iterator<Item = Value>) -> String {
    Value::Array(values.collect()).to_string()
}
