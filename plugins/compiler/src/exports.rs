//! Names of exports: some languages can't write a dash in a name.

use sluice_plugins::World;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder, utils};

/// `filter_batch` and `filterBatch` are `filter-batch`; other names stay as they are.
pub fn canonical(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    World::FUNCTIONS
        .iter()
        .find(|function| plain(function) == wanted)
        .copied()
}

/// A core module whose exports have the names of the interface.
pub fn renamed(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = wasm_encoder::Module::new();
    Rename
        .parse_core_module(&mut out, wasmparser::Parser::new(0), module)
        .map_err(|error| error.to_string())?;
    Ok(out.finish())
}

/// Names of the exported functions, as the interface has them.
pub fn functions(module: &[u8]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| error.to_string())?;
        let wasmparser::Payload::ExportSection(exports) = payload else {
            continue;
        };
        for export in exports {
            let export = export.map_err(|error| error.to_string())?;
            if export.kind == wasmparser::ExternalKind::Func {
                names.push(canonical(export.name).unwrap_or(export.name).to_owned());
            }
        }
    }
    Ok(names)
}

struct Rename;

impl Reencode for Rename {
    type Error = std::convert::Infallible;

    fn parse_export(
        &mut self,
        exports: &mut wasm_encoder::ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error<Self::Error>> {
        let after = export.name.strip_prefix("cabi_post_");
        let name = match after {
            Some(name) => canonical(name).map(|name| format!("cabi_post_{name}")),
            None => canonical(export.name).map(str::to_owned),
        };
        let name = name.unwrap_or_else(|| export.name.to_owned());
        utils::parse_export(
            &mut RoundtripReencoder,
            exports,
            wasmparser::Export {
                name: &name,
                ..export
            },
        )
    }
}
