use super::*;

fn get(path: &str) -> Result<Route<'_>, ApiError> {
    route(&Method::GET, path)
}

#[test]
fn every_page_is_found() {
    assert_eq!(get("/v2"), Ok(Route::Server));
    assert_eq!(get("/v2/"), Ok(Route::Server));
    assert_eq!(get("/v2/health/live"), Ok(Route::Live));
    assert_eq!(route(&Method::HEAD, "/v2/health/ready"), Ok(Route::Ready));
    let model = |version, page| Ok(Route::Model { name: "m".into(), version, page });
    assert_eq!(get("/v2/models/m"), model(None, ModelPage::Metadata));
    assert_eq!(get("/v2/models/m/ready"), model(None, ModelPage::Ready));
    assert_eq!(get("/v2/models/m/versions/2"), model(Some(Version(2)), ModelPage::Metadata));
    assert_eq!(get("/v2/models/m/versions/2/ready"), model(Some(Version(2)), ModelPage::Ready));
    assert_eq!(route(&Method::POST, "/v2/models/m/infer"), model(None, ModelPage::Infer));
    assert_eq!(get("/v2/models/stats"), Ok(Route::Statistics));
    assert_eq!(get("/v2/models/m/stats"), model(None, ModelPage::Statistics));
    assert_eq!(
        get("/v2/models/m/versions/2/stats"),
        model(Some(Version(2)), ModelPage::Statistics)
    );
    assert_eq!(get("/v2/logging"), Ok(Route::Logging));
    assert_eq!(route(&Method::POST, "/v2/trace/setting"), Ok(Route::Trace { name: None }));
    let of_model = Route::Trace { name: Some("m".into()) };
    assert_eq!(get("/v2/models/m/trace/setting"), Ok(of_model));
    let versioned = route(&Method::POST, "/v2/models/m/versions/10/infer");
    assert_eq!(versioned, model(Some(Version(10)), ModelPage::Infer));
}

#[test]
fn names_are_percent_decoded() {
    let name = |path| match get(path) {
        Ok(Route::Model { name, .. }) => Some(name.into_owned()),
        _ => None,
    };
    assert_eq!(name("/v2/models/a%20b%2Fc"), Some("a b/c".into()));
    assert_eq!(name("/v2/models/%E6%97%A5"), Some("日".into()));
    for broken in
        ["/v2/models/%", "/v2/models/%2", "/v2/models/%zz", "/v2/models/%ff", "/v2/models/"]
    {
        assert_eq!(get(broken), Err(ApiError::UnknownPath), "{broken}");
    }
}

#[test]
fn other_paths_are_unknown() {
    for path in [
        "",
        "*",
        "/",
        "/v1",
        "/v2/models/",
        "/v2//",
        "/v2/models/m/x",
        "/v2/models/m/versions/1/ready/x",
    ] {
        assert_eq!(get(path), Err(ApiError::UnknownPath), "{path}");
    }
}

#[test]
fn versions_are_digits() {
    for version in ["latest", "-1", "+1", "1.0", "", "99999999999999999999999"] {
        let path = format!("/v2/models/m/versions/{version}");
        assert!(matches!(get(&path), Err(ApiError::BadVersion { .. })), "{version}");
    }
}

#[test]
fn wrong_methods_say_the_right_one() {
    assert_eq!(get("/v2/models/m/infer"), Err(ApiError::Method { allow: "POST" }));
    assert_eq!(route(&Method::POST, "/v2"), Err(ApiError::Method { allow: "GET, HEAD" }));
    let set = Err(ApiError::Method { allow: "GET, HEAD, POST" });
    assert_eq!(route(&Method::DELETE, "/v2/logging"), set);
    assert_eq!(
        route(&Method::DELETE, "/v2/models/m"),
        Err(ApiError::Method { allow: "GET, HEAD" })
    );
}

fn description() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap()
}

/// `["v2", "models", name]` of the table of routes as `/v2/models/{model}`.
fn path_of(pattern: &str) -> String {
    let parameter = |segment: &str| match segment {
        "name" => "/{model}".to_owned(),
        "of" => "/{version}".to_owned(),
        literal => format!("/{}", literal.trim_matches('"')),
    };
    pattern.split(", ").filter(|segment| *segment != "\"\"").map(parameter).collect()
}

#[test]
fn every_page_of_the_table_is_described() {
    let table = include_str!("../router.rs");
    let described = description();
    let mut count = 0;
    let is_route = |line: &&str| line.starts_with("[\"v2\"") || line.starts_with("[\"openapi");
    let lines = table.lines().map(str::trim).filter(is_route);
    for pattern in lines.filter_map(|line| line.split(']').next()) {
        let pattern = pattern.trim_start_matches('[');
        if pattern.contains("..") {
            let family = path_of(pattern.split(", rest").next().unwrap());
            assert!(described["paths"].get(format!("{family}/status")).is_some(), "{family}");
            continue;
        }
        count += 1;
        assert!(described["paths"].get(path_of(pattern)).is_some(), "{}", path_of(pattern));
    }
    assert!(count > 20, "the table was not found: {count}");
}

#[test]
fn every_description_is_true() {
    let described = description();
    for (path, page) in described["paths"].as_object().unwrap() {
        let path = path.replace("{version}", "1").replace("{model}", "m").replace("{region}", "r");
        for (method, name) in [(Method::GET, "get"), (Method::POST, "post")] {
            let found = route(&method, &path);
            match page.get(name) {
                Some(_) => assert!(found.is_ok(), "{method} {path}: {found:?}"),
                None => {
                    assert!(matches!(found, Err(ApiError::Method { .. })), "{method} {path}");
                }
            }
        }
    }
}
