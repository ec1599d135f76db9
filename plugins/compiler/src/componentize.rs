//! From what was uploaded to a component.

use std::borrow::Cow;

use sluice_plugins::World;
use wasmparser::{Parser, Validator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::{CompileError, UPLOAD_MAX, exports};

const INTERFACE: &str = include_str!("../../../sdk/wit/plugin.wit");
const WASI: &str = "wasi_snapshot_preview1";
const WASI_STUB: &str = include_str!("wasi_stub.wat");
/// Names of exports told in an error.
const TOLD_MAX: usize = 20;

/// The component for an upload: itself if it is one, else the core module wrapped for the world
/// that its exports are those of.
///
/// # Errors
/// Too large, not WebAssembly, no world, or not fitting the world.
pub fn componentize(upload: &[u8]) -> Result<Vec<u8>, CompileError> {
    if upload.len() > UPLOAD_MAX {
        return Err(CompileError::TooLarge { size: upload.len() });
    }
    let binary = binary(upload)?;
    if Parser::is_component(&binary) {
        return Ok(binary.into_owned());
    }
    Validator::new()
        .validate_all(&binary)
        .map_err(|error| CompileError::Invalid(error.to_string()))?;
    wrap(&binary)
}

fn binary(upload: &[u8]) -> Result<Cow<'_, [u8]>, CompileError> {
    if upload.starts_with(b"\0asm") {
        return Ok(Cow::Borrowed(upload));
    }
    let text = std::str::from_utf8(upload).map_err(|_| CompileError::NotWasm)?;
    if !text.trim_start().starts_with(['(', ';']) {
        return Err(CompileError::NotWasm);
    }
    let binary = wat::parse_str(text).map_err(|error| CompileError::Text(error.to_string()))?;
    Ok(Cow::Owned(binary))
}

fn wrap(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    let invalid = CompileError::Invalid;
    let functions = exports::functions(module).map_err(invalid)?;
    let world = World::of(|name| functions.iter().any(|function| function == name));
    let world = world.ok_or_else(|| CompileError::NoWorld {
        found: listed(&functions),
    })?;
    let mut module = exports::renamed(module).map_err(invalid)?;
    encode(&mut module, world).map_err(|why| CompileError::Misfit {
        world: world.to_string(),
        why,
    })
}

fn listed(functions: &[String]) -> String {
    match functions.len() {
        0 => "no functions".to_owned(),
        count => {
            let told: Vec<String> = functions
                .iter()
                .take(TOLD_MAX)
                .map(|name| format!("`{}`", name.escape_debug()))
                .collect();
            let more = if count > TOLD_MAX { ", …" } else { "" };
            told.join(", ") + more
        }
    }
}

/// `module` is a core module with the interface's own names.
fn encode(module: &mut Vec<u8>, world: World) -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("plugin.wit", INTERFACE)
        .map_err(|error| format!("{error:#}"))?;
    let id = resolve
        .select_world(&[package], Some(world.name()))
        .map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(module, &resolve, id, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    let stub = wat::parse_str(WASI_STUB).map_err(|error| error.to_string())?;
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(WASI, &stub))
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| format!("{error:#}"))
}
