//! The HTTP side is what its description says.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use sluice_protocol::code::{request, response};

mod common;
use common::Served;

/// Status line, headers and body of an answer.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (line, body) = request.split_once("\n").unwrap_or((request, ""));
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_allows_the_methods_that_are_described() {
    let served = Served::start(|config| config.http_address = Some("127.0.0.1:0".to_owned())).await;
    let address = served.broker.http_address().unwrap().to_string();
    let asking = tokio::task::spawn_blocking(move || {
        let (head, text) = ask(&address, "GET /openapi.json");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let description: Value = serde_json::from_str(&text).unwrap();
        for (path, described) in description["paths"].as_object().unwrap() {
            let described = described.as_object().unwrap().keys();
            let described: BTreeSet<&str> = described
                .map(String::as_str)
                .filter(|key| *key != "parameters")
                .collect();
            // No path takes PATCH: the refusal names what it takes.
            let (head, _) = ask(
                &address,
                &format!(
                    "PATCH {}",
                    path.replace("{name}", "x")
                        .replace("{id}", "x")
                        .replace("{group}", "x")
                ),
            );
            let allowed = head.lines().find_map(|line| line.strip_prefix("allow: "));
            let allowed = allowed.unwrap_or_else(|| panic!("{path}: {head}"));
            // Whoever may GET may ask for the head alone.
            let allowed: BTreeSet<&str> = allowed.split(',').filter(|m| *m != "head").collect();
            assert_eq!(described, allowed, "{path}");
        }
    });
    asking.await.unwrap();
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_statuses_that_are_described() {
    let served = Served::start(|config| config.http_address = Some("127.0.0.1:0".to_owned())).await;
    let address = served.broker.http_address().unwrap().to_string();
    let asking = tokio::task::spawn_blocking(move || {
        let key = "{\"plugin\":\"x\",\"topic\":\"T\"}";
        let cases = [
            (404, "DELETE /v1/plugins/x".to_owned()),
            (404, format!("POST /v1/bindings\n{key}")),
            (404, format!("POST /v1/bindings/unbind\n{key}")),
            (404, format!("POST /v1/bindings/rollback\n{key}")),
            (404, "GET /v1/bindings/logs?plugin=x&topic=T".to_owned()),
            (404, "GET /v1/transactions/x".to_owned()),
            (404, "POST /v1/transactions/x/commit".to_owned()),
            (404, "POST /v1/transactions/x/rollback".to_owned()),
            (404, "GET /v1/dead-letters/x".to_owned()),
            (
                404,
                "POST /v1/dead-letters/drop\n{\"ids\":[\"x\"]}".to_owned(),
            ),
            (
                404,
                "POST /v1/dead-letters/resend\n{\"ids\":[\"x\"]}".to_owned(),
            ),
            (
                400,
                "POST /v1/dead-letters/resend\n{\"ids\":[],\"set\":{\"DELAY\":\"3\"}}".to_owned(),
            ),
            (404, "GET /v1/messages/x".to_owned()),
            (404, "GET /v1/groups/x".to_owned()),
            (400, "PUT /v1/plugins/x\nno module".to_owned()),
            (400, "PUT /v1/plugins/9\nno module".to_owned()),
        ];
        for (status, request) in cases {
            let (head, body) = ask(&address, &request);
            assert!(
                head.starts_with(&format!("http/1.1 {status}")),
                "{request}: {head}"
            );
            let body: Value = serde_json::from_str(&body).unwrap();
            assert!(body["error"].is_string(), "{request}: {body}");
        }
    });
    asking.await.unwrap();
    served.broker.shutdown().await.unwrap();
}

/// By remoting as by HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn administration_is_reached_by_remoting_too() {
    let served = Served::start(|config| config.http_address = Some("127.0.0.1:0".to_owned())).await;
    let (asker, _) = served.client();
    let token = std::fs::read_to_string(served.directory.path().join("plugins/token")).unwrap();
    let code = request::SLUICE_ADMINISTRATION;
    let fields = [("method", "GET"), ("path", "/v1/plugins")];
    let stranger = asker.ask(code, &fields, Vec::new()).await;
    assert_eq!(stranger.code, response::NO_PERMISSION);
    let ask = async |method: &str, path: &str, body: &str| {
        let fields = [("method", method), ("path", path), ("token", token.trim())];
        asker.ask(code, &fields, body.as_bytes().to_vec()).await
    };
    let listed = ask("GET", "/v1/plugins", "").await;
    assert_eq!(
        (listed.code, &listed.body[..]),
        (response::SUCCESS, &b"[]"[..])
    );
    let refused = ask("PUT", "/v1/plugins/x", "no module").await;
    assert_eq!(
        refused.code,
        response::INVALID_PARAMETER,
        "{}",
        refused.remark()
    );
    let unknown = ask("DELETE", "/v1/plugins/x", "").await;
    assert_eq!(
        unknown.code,
        response::QUERY_NOT_FOUND,
        "{}",
        unknown.remark()
    );
    assert!(unknown.remark().contains("there is no plugin \"x\""));
    let nowhere = ask("GET", "no path", "").await;
    assert_eq!(
        nowhere.code,
        response::INVALID_PARAMETER,
        "{}",
        nowhere.remark()
    );
    served.broker.shutdown().await.unwrap();
}
