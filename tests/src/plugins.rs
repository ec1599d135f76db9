//! Administration of plugins over HTTP, as any script would do it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// The HTTP side of a broker.
#[derive(Debug, Clone, Copy)]
pub struct Plugins {
    port: u16,
}

/// A module that comes with Sluice.
pub fn shipped(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    root.join(name).join(format!("{name}.wasm"))
}

/// The test guest that does what each message's property `verdict` says.
pub fn verdict_guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/host/tests/guests/verdict.wat")
}

/// The test hook that replaces every body by `***`.
pub fn redact_guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/host/tests/guests/redact.wat")
}

/// The test hook that delays every message by 3 s.
pub fn delay_guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/host/tests/guests/delay.wat")
}

impl Plugins {
    /// On this port of 127.0.0.1.
    pub fn at(port: u16) -> Self {
        Plugins { port }
    }

    /// Status and body of an answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        self.try_ask(method, path, kind, body).expect("an answer")
    }

    /// Status and body of an answer.
    ///
    /// # Errors
    /// There is none, or not all of it: the broker may have died.
    pub fn try_ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Ok((status.ok_or_else(cut)?, body))
    }

    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(
            method,
            path,
            "application/json",
            body.to_string().as_bytes(),
        );
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }

    /// Uploads a module; the version it became.
    ///
    /// # Panics
    /// If it is refused.
    pub fn put(&self, name: &str, module: &[u8]) -> u64 {
        let path = format!("/v1/plugins/{name}");
        let (status, answer) = self.ask("PUT", &path, "application/octet-stream", module);
        assert_eq!(status, 200, "{answer}");
        answer["version"].as_u64().expect("a version")
    }

    /// Uploads a module that comes with Sluice.
    ///
    /// # Panics
    /// If it is refused.
    pub fn put_shipped(&self, name: &str, shipped_as: &str) -> u64 {
        self.put(
            name,
            &std::fs::read(shipped(shipped_as)).expect("a shipped module"),
        )
    }

    /// Binds; `more` are further fields of the request.
    ///
    /// # Panics
    /// If it is refused.
    pub fn bind(&self, plugin: &str, topic: &str, group: &str, more: Value) {
        let mut wanted = json!({"plugin": plugin, "topic": topic, "group": group});
        let fields = wanted.as_object_mut().expect("an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.done("POST", "/v1/bindings", &wanted);
    }

    /// Does something with a binding: `promote`, `rollback`, `canary` ...
    ///
    /// # Panics
    /// If it is refused.
    pub fn change(&self, what: &str, plugin: &str, topic: &str, group: &str, more: Value) -> Value {
        let mut wanted = json!({"plugin": plugin, "topic": topic, "group": group});
        let fields = wanted.as_object_mut().expect("an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.done("POST", &format!("/v1/bindings/{what}"), &wanted)
    }

    /// All plugins and their versions.
    ///
    /// # Panics
    /// If they are not told.
    pub fn list(&self) -> Value {
        self.done("GET", "/v1/plugins", &Value::Null)
    }

    /// All bindings and how they do.
    ///
    /// # Panics
    /// If they are not told.
    pub fn bindings(&self) -> Value {
        self.done("GET", "/v1/bindings", &Value::Null)
    }

    /// What a binding's version has counted.
    ///
    /// # Panics
    /// If it is not bound.
    pub fn stats(&self, plugin: &str, topic: &str, version: u64) -> Value {
        let all = self.bindings();
        let binding = all.as_array().and_then(|all| {
            all.iter()
                .find(|b| b["plugin"] == plugin && b["topic"] == topic)
        });
        let binding = binding.unwrap_or_else(|| panic!("{plugin} on {topic}: {all}"));
        let versions = binding["versions"].as_array().expect("versions");
        let found = versions.iter().find(|v| v["version"] == version);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{plugin}@{version}: {binding}"))
    }
}
