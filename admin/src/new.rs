//! `sluice plugin new`: a template of `sdk/templates`, which are part of this program, filled in.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};
use sluice_plugins::World;

use crate::args::New;
use crate::error::AdminError;
use crate::table::one;

/// What plugins are made of: templates, and what they build with.
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk");
/// Parts of it that a template may name, and what a project then needs a copy of.
const PARTS: [(&str, &[&str]); 3] = [
    ("{{sdk}}/rust", &["rust", "block"]),
    ("{{sdk}}/c", &["c"]),
    ("{{sdk}}/wit", &["wit"]),
];

/// Makes a new project.
pub(crate) fn new(wanted: &New, out: &mut dyn Write) -> Result<(), AdminError> {
    sluice_plugins::check_name(&wanted.name)?;
    let template = template(&wanted.lang, wanted.kind)?;
    let dir = wanted
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&wanted.name));
    make(&dir)?;
    let sdk = match &wanted.sdk {
        Some(sdk) => fs::canonicalize(sdk).map_err(AdminError::file(sdk))?,
        None => PathBuf::from("sdk"),
    };
    let filled = |text: &str| {
        text.replace("{{name}}", &wanted.name)
            .replace("{{sdk}}", &sdk.to_string_lossy())
    };
    copy(template, &dir, &filled)?;
    if wanted.sdk.is_none() {
        let named = PARTS.iter().filter(|(name, _)| names(template, name));
        for part in named.flat_map(|(_, parts)| *parts) {
            let part = SDK.get_dir(part).expect("a part of the SDK");
            copy(part, &dir.join("sdk").join(part.path()), &str::to_owned)?;
        }
    }
    let at = dir.display();
    writeln!(
        out,
        "{at} is {} in {}. Next:\n  sluice plugin build {at}\n  sluice plugin test {at}\n  sluice plugin put {at}",
        one(wanted.kind),
        wanted.lang
    )?;
    Ok(())
}

/// An empty directory, which may be there already.
fn make(dir: &Path) -> Result<(), AdminError> {
    fs::create_dir_all(dir).map_err(AdminError::file(dir))?;
    let mut entries = fs::read_dir(dir).map_err(AdminError::file(dir))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(AdminError::File {
            path: dir.to_owned(),
            source: std::io::Error::new(ErrorKind::AlreadyExists, "there are files in it"),
        }),
    }
}

/// All languages and kinds that there is a template for.
fn templates() -> Vec<(String, String)> {
    let name = |dir: &Dir<'_>| {
        let name = dir.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let languages = SDK.get_dir("templates").into_iter().flat_map(Dir::dirs);
    let pairs = languages.flat_map(|language| {
        let kinds = language.dirs();
        kinds.map(move |kind| (name(language), name(kind)))
    });
    pairs.collect()
}

fn template(language: &str, kind: World) -> Result<&'static Dir<'static>, AdminError> {
    if let Some(found) = SDK.get_dir(format!("templates/{language}/{kind}")) {
        return Ok(found);
    }
    let all = templates();
    let kinds: Vec<&str> = all
        .iter()
        .filter(|(of, _)| of == language)
        .map(|(_, kind)| &**kind)
        .collect();
    let mut languages: Vec<&str> = all.iter().map(|(language, _)| &**language).collect();
    languages.dedup();
    Err(AdminError::Command(match kinds.is_empty() {
        true => format!(
            "there is no template in {language:?}; there are {}",
            languages.join(", ")
        ),
        false => format!(
            "there is no template of {} in {language}; there are {}",
            one(kind),
            kinds.join(", ")
        ),
    }))
}

/// Whether a template builds with a part of the SDK.
fn names(dir: &Dir<'_>, part: &str) -> bool {
    dir.entries().iter().any(|entry| match entry {
        DirEntry::Dir(dir) => names(dir, part),
        DirEntry::File(file) => file.contents_utf8().is_some_and(|text| text.contains(part)),
    })
}

fn copy(from: &Dir<'_>, to: &Path, filled: &dyn Fn(&str) -> String) -> Result<(), AdminError> {
    fs::create_dir_all(to).map_err(AdminError::file(to))?;
    for entry in from.entries() {
        let path = to.join(entry.path().file_name().unwrap_or_default());
        match entry {
            DirEntry::Dir(dir) => copy(dir, &path, filled)?,
            DirEntry::File(file) => {
                let written = match file.contents_utf8() {
                    Some(text) => fs::write(&path, filled(text)),
                    None => fs::write(&path, file.contents()),
                };
                written.map_err(AdminError::file(&path))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn wanted(kind: World, lang: &str, dir: &Path) -> New {
        New {
            kind,
            name: "big-orders".to_owned(),
            lang: lang.to_owned(),
            dir: Some(dir.to_owned()),
            sdk: None,
        }
    }

    #[test]
    fn every_template_becomes_a_project_without_placeholders() {
        let all = templates();
        assert!(all.contains(&("rust".to_owned(), "filter".to_owned())));
        for (language, kind) in all {
            let dir = tempfile::tempdir().unwrap();
            let kind: World = kind.parse().unwrap();
            new(&wanted(kind, &language, dir.path()), &mut Vec::new()).unwrap();
            let manifest = Manifest::read(dir.path()).unwrap();
            assert_eq!(manifest.name, "big-orders");
            assert_eq!(manifest.language, language);
            assert_no_placeholders(dir.path());
            if language == "rust" {
                let project = fs::read_to_string(dir.path().join("Cargo.toml")).unwrap();
                assert!(project.contains("\"sdk/rust\""), "{project}");
                assert!(dir.path().join("sdk/rust/Cargo.toml").is_file());
                assert!(dir.path().join("sdk/block/Cargo.toml").is_file());
            }
        }
    }

    fn assert_no_placeholders(dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                assert_no_placeholders(&path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                for placeholder in ["{{name}}", "{{sdk}}"] {
                    assert!(!text.contains(placeholder), "{}", path.display());
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_made_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = |wanted: &New| new(wanted, &mut Vec::new()).unwrap_err().to_string();
        let cobol = told(&wanted(World::Filter, "cobol", dir.path()));
        assert!(
            cobol.contains("there are ") && cobol.contains("rust"),
            "{cobol}"
        );
        let mut named = wanted(World::Filter, "rust", dir.path());
        named.name = "no/name".to_owned();
        assert!(told(&named).contains("can't be a plugin's name"));
        fs::write(dir.path().join("mine"), "").unwrap();
        let full = told(&wanted(World::Filter, "rust", dir.path()));
        assert!(full.contains("there are files in it"), "{full}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
