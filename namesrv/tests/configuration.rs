//! The page that lists all settings of a name server.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use sluice_namesrv::NamesrvConfig;
use sluice_namesrv::config::KEYS;

fn page() -> String {
    let mut page = String::from(
        "# Name server settings\n\n\
         <!-- Made from the table in namesrv/src/config.rs by `SLUICE_WRITE_DOCS=1 cargo test -p sluice-namesrv --test configuration`. -->\n\n\
         `sluice namesrv -c FILE` reads Java's `namesrv.conf` as it is, or TOML, by the rules of\n\
         [broker settings](configuration.md). `live`: a change by `mqadmin updateNamesrvConfig` takes effect at\n\
         once and until the next start; all others are refused there.\n\n\
         | key | default | expected | live | meaning |\n|---|---|---|---|---|\n",
    );
    let config = NamesrvConfig::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9876)));
    for key in KEYS {
        let default = match key.value(&config) {
            value if value.is_empty() => value,
            value => format!("`{value}`"),
        };
        let live = if key.live { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {default} | {} | {live} | {} |",
            key.name, key.expected, key.about
        );
    }
    page
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration-namesrv.md");
    if std::env::var_os("SLUICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/configuration-namesrv.md is stale: run this test with SLUICE_WRITE_DOCS=1"
    );
}
