//! What a message says.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use crate::visible::in_line;

/// Properties and the beginning of the body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    properties: BTreeMap<String, String>,
    body: String,
    #[serde(default)]
    body_is_hex: bool,
}

impl Content {
    /// Both as text.
    pub(crate) fn describe(&self, body_size: usize) -> String {
        let mut text = "properties:\n".to_owned();
        for (name, value) in &self.properties {
            let _ = writeln!(text, "  {} = {}", in_line(name), in_line(value));
        }
        let form = if self.body_is_hex { ", no text" } else { "" };
        let _ = writeln!(text, "body ({body_size} bytes{form}):\n{}", self.body);
        text
    }
}
