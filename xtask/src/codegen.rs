//! Makes schemas/src/generated from schemas/fbs with flatc of the runtime crate's own version and from schemas/proto, and
//! the C header from the C ABI, or checks that they are fresh.

use crate::shell::Done;

#[cfg(not(feature = "codegen"))]
pub(crate) fn codegen(_check: bool) -> Done {
    let command = "cargo run --package xtask --features codegen -- codegen";
    Err(format!("this xtask was built without flatc; use: {command}"))
}

#[cfg(feature = "codegen")]
pub(crate) fn codegen(check: bool) -> Done {
    let Grpc { inference, health, descriptors } = grpc()?;
    let made = [
        ("schemas/src/generated/schema.rs", make()?.into_bytes()),
        ("schemas/src/generated/inference.rs", inference.into_bytes()),
        ("schemas/src/generated/grpc.health.v1.rs", health.into_bytes()),
        ("schemas/src/generated/grpc.bin", descriptors),
        ("shm-rpc/include/hydrofoil.h", header()?.into_bytes()),
    ];
    made.iter().try_for_each(|(path, made)| write_or_compare(path, made, check))
}

#[cfg(feature = "codegen")]
fn write_or_compare(path: &str, made: &[u8], check: bool) -> Done {
    let committed = crate::shell::root().join(path);
    if !check {
        return std::fs::write(&committed, made).map_err(|error| error.to_string());
    }
    let stands = std::fs::read(&committed).map_err(|error| error.to_string())?;
    if stands == made {
        return Ok(());
    }
    Err(format!("{} is stale; run xtask codegen and commit the result", committed.display()))
}

/// The C header, from the functions and structs of the C ABI.
#[cfg(feature = "codegen")]
fn header() -> Done<String> {
    use cbindgen::{Config, DocumentationStyle, ExportConfig, Language, Style};
    let config = Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        include_guard: Some("HYDROFOIL_H".into()),
        header: Some("/* Serve a model from any language that can call C. Made by xtask codegen; do not edit. */".into()),
        documentation_style: DocumentationStyle::C,
        export: ExportConfig {
            // Passed as plain numbers, since C may pass any.
            include: vec!["foil_dtype".into(), "foil_failure".into()],
            ..ExportConfig::default()
        },
        ..Config::default()
    };
    let source = crate::shell::root().join("shm-rpc/src/c_abi.rs");
    let made = cbindgen::Builder::new().with_config(config).with_src(source).generate();
    let mut bytes = Vec::new();
    made.map_err(|error| error.to_string())?.write(&mut bytes);
    String::from_utf8(bytes).map_err(|error| error.to_string())
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

/// What is made of schemas/proto.
#[cfg(feature = "codegen")]
struct Grpc {
    inference: String,
    health: String,
    /// The definitions themselves, for a server's reflection.
    descriptors: Vec<u8>,
}

/// Messages, clients and servers of each package under schemas/proto. Tensors' bytes are shared and not copied; maps
/// are sorted, so that equal messages have equal bytes; a server answers calls that it lacks with "unimplemented".
#[cfg(feature = "codegen")]
fn grpc() -> Done<Grpc> {
    use protox::prost::Message;
    let say = |error: std::io::Error| error.to_string();
    let directory = crate::shell::target_dir().join("codegen");
    std::fs::create_dir_all(&directory).map_err(say)?;
    let proto = crate::shell::root().join("schemas/proto");
    let sources = ["inference.proto", "health.proto"].map(|name| proto.join(name));
    let mut parsed = protox::compile(sources, [&proto]).map_err(|error| error.to_string())?;
    let builder = tonic_prost_build::configure().btree_map(".").bytes(".");
    let builder = builder.build_transport(false).generate_default_stubs(true);
    builder.out_dir(&directory).compile_fds(parsed.clone()).map_err(say)?;
    let made = |name: &str| std::fs::read_to_string(directory.join(name)).map_err(say);
    // Comments are for readers of the files; a client of reflection has no use for them.
    parsed.file.iter_mut().for_each(|file| file.source_code_info = None);
    Ok(Grpc {
        inference: made("inference.rs")?,
        health: made("grpc.health.v1.rs")?,
        descriptors: parsed.encode_to_vec(),
    })
}
