//! Asking a broker over HTTP.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, StatusCode};

use crate::args::{Asked, Broker};
use crate::error::AdminError;
use crate::visible::visible;

/// A broker on the next machine answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);
/// The compiler of an upload may take a minute and a half.
const ANSWER: Duration = Duration::from_secs(120);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 64 << 20;

/// The HTTP side of one broker.
pub(crate) struct Connection {
    agent: ureq::Agent,
    address: String,
    token: Option<String>,
}

/// What a request carries.
pub(crate) enum Body<'a> {
    None,
    Module(&'a [u8]),
    Json(String),
}

/// A broker's answer: JSON.
pub(crate) struct Answer {
    address: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        serde_json::from_str(&self.text).map_err(|cause| AdminError::Answer {
            address: self.address.clone(),
            cause: cause.to_string(),
        })
    }
}

/// An answer as the broker gave it and as people read it.
pub(crate) struct Shown {
    pub(crate) json: String,
    pub(crate) text: String,
}

impl<T: Args> Asked<T> {
    /// Asks, and prints the answer as it was wanted.
    pub(crate) fn show(
        &self,
        out: &mut dyn Write,
        ask: impl FnOnce(&Connection, &T) -> Result<Shown, AdminError>,
    ) -> Result<(), AdminError> {
        let shown = ask(&Connection::to(&self.broker)?, &self.of)?;
        let text = if self.broker.json {
            shown.json
        } else {
            visible(&shown.text)
        };
        writeln!(out, "{}", text.trim_end())?;
        Ok(())
    }
}

/// A token, or the content of the file that the text names.
fn token(given: &str) -> Result<String, AdminError> {
    if !Path::new(given).is_file() {
        return Ok(given.to_owned());
    }
    let text = fs::read_to_string(given).map_err(AdminError::file(given))?;
    Ok(text.trim().to_owned())
}

/// A part of a path or a value of a query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Connection {
    pub(crate) fn to(broker: &Broker) -> Result<Connection, AdminError> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A broker is on this machine or near; a proxy for the web knows neither.
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .build();
        let address = broker.address.trim_end_matches('/');
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        Ok(Connection {
            agent: config.into(),
            address,
            token: broker.token.as_deref().map(token).transpose()?,
        })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, AdminError> {
        self.ask(Method::GET, path, Body::None)
    }

    pub(crate) fn post(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Answer, AdminError> {
        let json = serde_json::to_string(body).map_err(|error| self.not_understood(error))?;
        self.ask(Method::POST, path, Body::Json(json))
    }

    /// `path` begins with `/` and is escaped.
    pub(crate) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
    ) -> Result<Answer, AdminError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let json = "application/json";
        let sent = match body {
            Body::None => request.body(()).map(|request| self.agent.run(request)),
            Body::Module(module) => request
                .header("Content-Type", "application/octet-stream")
                .body(module)
                .map(|request| self.agent.run(request)),
            Body::Json(text) => request
                .header("Content-Type", json)
                .body(text)
                .map(|request| self.agent.run(request)),
        };
        let sent =
            sent.map_err(|error| AdminError::Command(format!("{}: {error}", self.address)))?;
        let mut answer = sent.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_MAX);
        let text = text
            .read_to_string()
            .map_err(|error| self.unreachable(error))?;
        if status.is_success() {
            Ok(Answer {
                address: self.address.clone(),
                text,
            })
        } else {
            Err(AdminError::Refused(reason(status, &text)))
        }
    }

    fn unreachable(&self, error: ureq::Error) -> AdminError {
        AdminError::Unreachable {
            address: self.address.clone(),
            cause: error.to_string(),
        }
    }

    fn not_understood(&self, error: serde_json::Error) -> AdminError {
        AdminError::Answer {
            address: self.address.clone(),
            cause: error.to_string(),
        }
    }
}

/// What a refusal says; the status where it says nothing.
fn reason(status: StatusCode, text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    match serde_json::from_str::<Refusal>(text) {
        Ok(refusal) => refusal.error,
        Err(_) if text.trim().is_empty() => status.to_string(),
        Err(_) => text.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_as_they_are() {
        let not_found = StatusCode::NOT_FOUND;
        assert_eq!(reason(not_found, r#"{"error":"no \"x\""}"#), "no \"x\"");
        assert_eq!(reason(not_found, "show the token\n"), "show the token");
        assert_eq!(reason(not_found, ""), "404 Not Found");
    }

    #[test]
    fn a_token_is_given_or_lies_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "abc\n").unwrap();
        assert_eq!(token(path.to_str().unwrap()).unwrap(), "abc");
        assert_eq!(token("0123").unwrap(), "0123");
    }
}
