//! `sluice dlq resend` with a broker that fails on the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use clap::{Args, Command, FromArgMatches};
use sluice_admin::Outcome;
use sluice_admin::args::Dlq;

const FIRST: &str = r#"{"resent":[{"id":"ID1","topic":"Orders","queueId":0,"newId":"ID2"}],"left":[],"next":1,"end":9}"#;

/// Answers two requests: the first one with a page, the second one with a failure.
fn failing_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (status, body) in [
            ("200 OK", FIRST),
            ("500 No", r#"{"error":"the disk is full"}"#),
        ] {
            let (stream, _) = listener.accept().unwrap();
            answer(stream, status, body);
        }
    });
    address
}

fn answer(stream: TcpStream, status: &str, body: &str) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut asked = vec![0; length];
    reader.read_exact(&mut asked).unwrap();
    let size = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
    let mut stream = reader.into_inner();
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
}

#[test]
fn what_was_sent_is_told_though_the_broker_then_fails() {
    for (json, told) in [(false, "ID1 to Orders as ID2"), (true, "\"newId\":\"ID2\"")] {
        let address = failing_broker();
        let mut line = vec!["resend", "--group", "g", "--all", "--broker", &address];
        line.extend(json.then_some("--json"));
        let command = Dlq::augment_args(Command::new("dlq")).no_binary_name(true);
        let matches = command.try_get_matches_from(line).unwrap();
        let mut out = Vec::new();
        let outcome = sluice_admin::dlq(Dlq::from_arg_matches(&matches).unwrap(), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(matches!(outcome, Ok(Outcome::Wrong)), "{outcome:?} {out}");
        assert!(
            out.contains(told) && out.contains("the disk is full"),
            "{out}"
        );
    }
}
