//! What an operator asks of a consumer goes through the broker: 307, 309.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Asker, GROUP, Served, TOPIC};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::language::Language;
use sluice_protocol::message::Record;
use sluice_remoting::{Connection, Handler, Responder};

const SOON: Duration = Duration::from_secs(20);

/// A consumer that says what it was asked.
struct Echo;

impl Handler for Echo {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        let mut answer = responder.response(response::NO_PERMISSION);
        answer.remark = Some(format!("asked {}", request.code).into());
        answer.ext = request.ext;
        responder.answer(answer.with_body(request.body));
    }
}

/// What the broker answers an operator who asks for client `c`.
async fn asked(operator: &Asker, code: i32, more: &[(&str, &str)]) -> RemotingCommand {
    let fields = [
        ("consumerGroup", GROUP),
        ("clientId", "c"),
        ("topic", TOPIC),
    ];
    operator
        .ask(code, &[&fields, more].concat(), Vec::new())
        .await
}

/// The offset id of a message that is stored.
async fn stored(client: &Asker) -> String {
    let sent = client.send("", b"body", false).await;
    sent.ext.get("msgId").expect("its id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_gets_the_message_and_its_answer_passes_as_it_is() {
    let served = Served::start(|_| {}).await;
    let (operator, _o) = served.client();
    let consumer = served.client_that(Echo);
    let id = stored(&operator).await;
    consumer.heartbeat("c", "*", Language::Java).await;
    let directly = request::CONSUME_MESSAGE_DIRECTLY;
    let answer = asked(&operator, directly, &[("msgId", &id)]).await;
    assert_eq!(
        (answer.code, answer.remark()),
        (response::NO_PERMISSION, "asked 309")
    );
    assert_eq!(Record::parse(&answer.body).unwrap().body(), b"body");
    for (name, value) in [
        ("brokerName", "b"),
        ("topicSysFlag", "0"),
        ("groupSysFlag", "0"),
    ] {
        assert_eq!(answer.ext.get(name), Some(value), "{name}");
    }
    for (id, told) in [
        (
            "7F00000100002A9F00000000000FFFFF",
            "can not find message by the offset, 1048575",
        ),
        ("x", "\"x\" is no offset message id"),
    ] {
        let refused = asked(&operator, directly, &[("msgId", id)]).await;
        assert_eq!(
            (refused.code, refused.remark()),
            (response::SYSTEM_ERROR, told)
        );
    }
    let running = asked(&operator, request::GET_CONSUMER_RUNNING_INFO, &[]).await;
    assert_eq!(running.remark(), "asked 307");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_not_there_goes_or_says_nothing_is_told_of() {
    let served = Served::start(|_| {}).await;
    let (operator, _o) = served.client();
    let code = request::GET_CONSUMER_RUNNING_INFO;
    let absent = asked(&operator, code, &[]).await;
    let told = format!("The Consumer <{GROUP}> <c> not online");
    assert_eq!(
        (absent.code, absent.remark()),
        (response::SYSTEM_ERROR, &*told)
    );

    let (silent, mut requests) = served.client();
    silent.heartbeat("c", "*", Language::Java).await;
    let unanswered = asked(&operator, code, &[]).await;
    assert_eq!(unanswered.code, response::CONSUME_MSG_TIMEOUT);
    let told = format!("consumer <{GROUP}> <c> Timeout: ");
    assert!(
        unanswered.remark().starts_with(&told),
        "{}",
        unanswered.remark()
    );

    let goes = async {
        // Once for the question above.
        for _ in 0..2 {
            while requests.recv().await.expect("a request").code != code {}
        }
        drop(silent);
    };
    let both = async { tokio::join!(asked(&operator, code, &[]), goes).0 };
    let gone = tokio::time::timeout(SOON, both).await.unwrap();
    assert_eq!(gone.code, response::SYSTEM_ERROR);
    let told = format!("invoke consumer <{GROUP}> <c> Exception: ");
    assert!(gone.remark().starts_with(&told), "{}", gone.remark());
}
