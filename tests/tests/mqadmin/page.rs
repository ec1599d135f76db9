//! The table in `docs/mqadmin.md`, which says of each command what the tests have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::refused;

/// Commands that read files where they run, and ask no server.
const LOCAL: [&str; 2] = ["dumpCompactionLog", "exportMetadataInRocksDB"];
const HEAD: &str = "| command | mqadmin | here |\n|---|---|---|\n";

/// Fails unless the page's table is that of `known` commands by version, `seen` at work; with
/// `SLUICE_WRITE_DOCS` set it writes the table.
pub fn check(known: &BTreeMap<String, Vec<&str>>, seen: &BTreeSet<String>) {
    let parts = refused::parts();
    let mut table = HEAD.to_owned();
    for (command, versions) in known {
        let here = match parts.get(&**command) {
            Some(part) => format!("refused: {part}"),
            None if LOCAL.contains(&&**command) => "asks no server".to_owned(),
            None => {
                assert!(seen.contains(command), "no test runs {command}");
                "works".to_owned()
            }
        };
        let _ = writeln!(table, "| `{command}` | {} | {here} |", versions.join(", "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mqadmin.md");
    let page = fs::read_to_string(&path).expect("docs/mqadmin.md");
    let (before, written) = page.split_once(HEAD).expect("the page's table");
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{table}")).expect("docs/mqadmin.md");
    } else {
        assert_eq!(
            format!("{HEAD}{written}"),
            table,
            "docs/mqadmin.md, rewritten by SLUICE_WRITE_DOCS=1"
        );
    }
}

/// The commands that `mqadmin` lists when it is called without any.
pub fn listed(help: &str) -> impl Iterator<Item = String> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("   "));
    lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned))
}
