//! Who may administer.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rand::RngCore;

use super::Asker;
use crate::Broker;
use crate::error::BrokerError;

/// The token that strangers must show.
#[derive(Clone)]
pub(super) struct Guard {
    token: Arc<str>,
}

impl Guard {
    /// Reads the token, made at the first start; only the broker's user may read it.
    pub(super) fn load(broker: &Broker) -> Result<Guard, BrokerError> {
        let path = broker
            .config()
            .store_path_root_dir
            .join("plugins")
            .join("token");
        let failed = |source| BrokerError::Persist {
            path: path.clone(),
            source,
        };
        match std::fs::read_to_string(&path) {
            Ok(token) if token.trim().len() >= 32 => {
                return Ok(Guard {
                    token: token.trim().into(),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut random = [0_u8; 32];
        rand::rng().fill_bytes(&mut random);
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        writeln!(file, "{token}")
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        Ok(Guard {
            token: token.into(),
        })
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        shown.is_some_and(|shown| equal(shown.as_bytes(), self.token.as_bytes()))
    }
}

/// Compares in a time that does not tell how much is right.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}

/// A page in a browser on this machine can be made to send requests here under a name of its own:
/// only names that mean this machine are answered without the token.
fn is_named_locally(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host else { return true };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

pub(super) async fn check(
    State(guard): State<Guard>,
    ConnectInfo(Asker(peer)): ConnectInfo<Asker>,
    request: Request,
    next: Next,
) -> Response {
    let local = peer.ip().to_canonical().is_loopback() && is_named_locally(request.headers());
    if local || guard.is_shown(request.headers()) {
        return next.run(request).await;
    }
    let text = "show the token of this broker (plugins/token in its store directory): Authorization: Bearer <token>";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_named_locally(&headers)
        };
        for host in ["localhost", "127.0.0.1:10915", "[::1]:10915", "LOCALHOST:1"] {
            assert!(named(host), "{host}");
        }
        for host in [
            "example.org",
            "example.org:10915",
            "10.0.0.1",
            "localhost.example.org",
        ] {
            assert!(!named(host), "{host}");
        }
    }

    #[test]
    fn a_token_is_compared_whole() {
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd"));
        assert!(!equal(b"ab", b"abc"));
    }
}
