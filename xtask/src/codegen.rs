//! Makes schemas/src/generated from schemas/fbs with flatc of the runtime crate's own version, or checks that it is fresh.

use crate::shell::Done;

#[cfg(not(feature = "codegen"))]
pub(crate) fn codegen(_check: bool) -> Done {
    let command = "cargo run --package xtask --features codegen -- codegen";
    Err(format!("this xtask was built without flatc; use: {command}"))
}

#[cfg(feature = "codegen")]
pub(crate) fn codegen(check: bool) -> Done {
    let made = make()?;
    let committed = crate::shell::root().join("schemas/src/generated/schema.rs");
    if !check {
        return std::fs::write(&committed, made).map_err(|error| error.to_string());
    }
    let stands = std::fs::read_to_string(&committed).map_err(|error| error.to_string())?;
    if stands == made {
        return Ok(());
    }
    Err(format!("{} is stale; run xtask codegen and commit the result", committed.display()))
}

/// One file for all schemas: the umbrella that includes them exists only here.
#[cfg(feature = "codegen")]
fn make() -> Done<String> {
    use crate::shell::{command, root, run, target_dir};
    let say = |error: std::io::Error| error.to_string();
    let directory = target_dir().join("codegen");
    std::fs::create_dir_all(&directory).map_err(say)?;
    for entry in std::fs::read_dir(root().join("schemas/fbs")).map_err(say)? {
        let path = entry.map_err(say)?.path();
        let name = path.file_name().ok_or("a schema has no name")?;
        std::fs::copy(&path, directory.join(name)).map_err(say)?;
    }
    let umbrella = directory.join("schema.fbs");
    let includes = "include \"predict.fbs\";\ninclude \"lifecycle.fbs\";\n";
    std::fs::write(&umbrella, includes).map_err(say)?;
    let mut flatc = command(flatc_fork::flatc(), &["--rust", "--gen-all", "-o"]);
    run(flatc.arg(&directory).arg(&umbrella))?;
    std::fs::read_to_string(directory.join("schema_generated.rs")).map_err(say)
}
