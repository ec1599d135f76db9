//! Transactions over real sockets: what is answered, who is asked, what is seen.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::message::{MessageId, RecordFields, record, view};
use sluice_protocol::topic::{TRANS_CHECK_MAX_TIME_TOPIC, TRANS_HALF_TOPIC};
use tokio::sync::mpsc::UnboundedReceiver;

mod common;
use common::{Asker, Served, TOPIC};

const PRODUCERS: &str = "shop";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const WAKE_UP: Duration = Duration::from_secs(10);

/// Where a half message lies.
#[derive(Debug, Clone)]
struct Place {
    physical: String,
    offset: String,
}

impl Place {
    fn answered(answer: &RemotingCommand) -> Place {
        let id: MessageId = answer.ext.get("msgId").unwrap().parse().unwrap();
        Place {
            physical: id.physical_offset.to_string(),
            offset: answer.ext.get("queueOffset").unwrap().to_owned(),
        }
    }

    fn asked(question: &RemotingCommand) -> Place {
        let field = |name| question.ext.get(name).unwrap().to_owned();
        Place {
            physical: field("commitLogOffset"),
            offset: field("tranStateTableOffset"),
        }
    }
}

fn properties(id: &str, more: &str) -> String {
    format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{PRODUCERS}\u{2}UNIQ_KEY\u{1}{id}\u{2}{more}")
}

async fn send(asker: &Asker, id: &str, more: &str) -> Place {
    let answer = asker
        .send(&properties(id, more), id.as_bytes(), false)
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(answer.ext.get("transactionId"), Some(id));
    assert_eq!(answer.ext.get("queueId"), Some("0"));
    Place::answered(&answer)
}

async fn end(asker: &Asker, place: &Place, how: i32, more: &[(&str, &str)]) -> (i32, String) {
    let how = how.to_string();
    let fields = [
        ("producerGroup", PRODUCERS),
        ("tranStateTableOffset", &*place.offset),
        ("commitLogOffset", &place.physical),
        ("commitOrRollback", &how),
        ("msgId", "x"),
    ];
    let answer = asker
        .ask(
            request::END_TRANSACTION,
            &[&fields, more].concat(),
            Vec::new(),
        )
        .await;
    let remark = answer.remark.as_deref().unwrap_or_default().to_owned();
    (answer.code, remark)
}

/// Waits until consumers find so many messages, and answers their bodies.
async fn until_seen(asker: &Asker, count: usize) -> Vec<String> {
    let patience = tokio::time::Instant::now() + WAKE_UP;
    loop {
        let mut bodies = seen(asker).await;
        bodies.sort();
        if bodies.len() >= count {
            return bodies;
        }
        assert!(tokio::time::Instant::now() < patience, "only {bodies:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Bodies that consumers find.
async fn seen(asker: &Asker) -> Vec<String> {
    let answer = asker.pull(0, 4, &[("subscription", "*")]).await;
    view::records(&answer.body)
        .map(|record| String::from_utf8_lossy(record.unwrap().body()).into_owned())
        .collect()
}

async fn until_one_is_given_up(asker: &Asker) {
    let fields = [("topic", TRANS_CHECK_MAX_TIME_TOPIC), ("queueId", "0")];
    let patience = tokio::time::Instant::now() + WAKE_UP;
    loop {
        let answer = asker
            .ask(request::GET_MAX_OFFSET, &fields, Vec::new())
            .await;
        if answer.ext.get("offset") == Some("1") {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "none is given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn question(asked: &mut UnboundedReceiver<RemotingCommand>) -> RemotingCommand {
    loop {
        let question = tokio::time::timeout(WAKE_UP, asked.recv()).await;
        let question = question.expect("a question in time").unwrap();
        if question.code == request::CHECK_TRANSACTION_STATE {
            return question;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_decided_once_and_seen_only_when_committed() {
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    let (one, two) = (send(&asker, "one", "").await, send(&asker, "two", "").await);
    assert!(seen(&asker).await.is_empty());

    let well = (response::SUCCESS, String::new());
    assert_eq!(end(&asker, &one, 0, &[]).await, well);
    assert!(seen(&asker).await.is_empty());
    assert_eq!(end(&asker, &one, COMMIT, &[]).await, well);
    assert_eq!(end(&asker, &two, ROLLBACK, &[]).await, well);
    assert_eq!(end(&asker, &one, COMMIT, &[]).await, well);
    assert_eq!(end(&asker, &one, ROLLBACK, &[]).await, well);
    assert_eq!(end(&asker, &two, COMMIT, &[]).await, well);
    assert_eq!(until_seen(&asker, 1).await, ["one"]);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_java_refuses_is_refused() {
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    let immune = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}";
    let place = send(&asker, "one", "").await;
    let late = send(&asker, "late", immune).await;
    let system = |remark: &str| (response::SYSTEM_ERROR, remark.to_owned());

    let nowhere = Place {
        physical: "999999".to_owned(),
        ..place.clone()
    };
    let missing = "Find prepared transaction message failed";
    assert_eq!(end(&asker, &nowhere, COMMIT, &[]).await, system(missing));
    let other_group = [("producerGroup", "others")];
    let wrong_group = end(&asker, &place, COMMIT, &other_group).await;
    assert_eq!(wrong_group, system("The producer group wrong"));
    let elsewhere = Place {
        offset: "7".to_owned(),
        ..place.clone()
    };
    let wrong_offset = end(&asker, &elsewhere, COMMIT, &[]).await;
    assert_eq!(
        wrong_offset,
        system("The transaction state table offset wrong")
    );
    let odd = end(&asker, &place, 4, &[]).await;
    assert_eq!(odd, system("commitOrRollback field wrong"));

    tokio::time::sleep(Duration::from_millis(5)).await;
    let unasked = end(&asker, &late, COMMIT, &[]).await;
    assert_eq!(unasked.0, response::ILLEGAL_OPERATION);
    let asked = [("fromTransactionCheck", "true")];
    assert_eq!(
        end(&asker, &late, COMMIT, &asked).await.0,
        response::SUCCESS
    );
    assert_eq!(until_seen(&asker, 1).await, ["late"]);

    let batch = asker.send(&properties("b", ""), b"", true).await;
    assert_eq!(batch.code, response::MESSAGE_ILLEGAL);
    served.broker.shutdown().await.unwrap();

    let served = Served::start(|config| config.reject_transaction_message = true).await;
    let (asker, _asked) = served.client();
    let refused = asker.send(&properties("one", ""), b"one", false).await;
    assert_eq!(refused.code, response::NO_PERMISSION);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn its_producers_are_asked_and_answer_by_either_place() {
    let served = Served::start(|config| config.transaction_time_out = 1).await;
    let (sender, _) = served.client();
    let place = send(&sender, "one", "TAGS\u{1}TagA\u{2}").await;
    let other = send(&sender, "two", "").await;
    // Nobody of its group is there for some rounds; that costs no turn.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (producer, mut asked) = served.client();
    producer.produces("p@1", PRODUCERS).await;

    let questions = [question(&mut asked).await, question(&mut asked).await];
    let first = questions
        .iter()
        .find(|question| question.ext.get("msgId") == Some("one"))
        .unwrap();
    let record = view::records(&first.body).next().unwrap().unwrap();
    assert_eq!((record.topic(), record.queue_id()), (TOPIC, 0));
    assert_eq!(record.body(), b"one");
    assert_eq!(record.property("TAGS"), Some("TagA"));
    assert_eq!(record.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    let now = Place::asked(first);
    assert_eq!(record.queue_offset().to_string(), now.offset);
    assert_eq!(record.physical_offset().to_string(), now.physical);
    assert_ne!(now.offset, place.offset);

    let asked = [("fromTransactionCheck", "true")];
    assert_eq!(
        end(&producer, &now, COMMIT, &asked).await.0,
        response::SUCCESS
    );
    // The sender's own late word, about where the half message lay when it was sent.
    assert_eq!(end(&sender, &place, COMMIT, &[]).await.0, response::SUCCESS);
    assert_eq!(end(&sender, &other, COMMIT, &[]).await.0, response::SUCCESS);
    assert_eq!(until_seen(&sender, 2).await, ["one", "two"]);
    served.broker.shutdown().await.unwrap();
}

/// More bytes than one round asks about.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_large_transactions_is_asked_about_in_several_rounds() {
    let served = Served::start(|config| config.transaction_time_out = 1).await;
    let (producer, mut asked) = served.client();
    let body = vec![b'x'; 3 << 20];
    let ids = ["one", "two", "three", "four", "five", "six"];
    for id in ids {
        let answer = producer.send(&properties(id, ""), &body, false).await;
        assert_eq!(answer.code, response::SUCCESS);
    }
    producer.produces("p@1", PRODUCERS).await;
    let mut open: BTreeSet<&str> = ids.into();
    while !open.is_empty() {
        let question = question(&mut asked).await;
        let id = question.ext.get("msgId").unwrap();
        assert!(open.remove(id), "{id} was asked about twice");
    }
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_decides_is_given_up_after_the_last_check() {
    let served = Served::start(|config| {
        config.transaction_time_out = 1;
        config.transaction_check_interval = 1;
        config.transaction_check_max = 2;
    })
    .await;
    let (producer, mut asked) = served.client();
    producer.produces("p@1", PRODUCERS).await;
    let place = send(&producer, "one", "").await;
    question(&mut asked).await;
    question(&mut asked).await;
    until_one_is_given_up(&producer).await;
    assert!(asked.try_recv().is_err(), "asked a third time");
    // The word that comes too late is ignored.
    assert_eq!(
        end(&producer, &place, COMMIT, &[]).await.0,
        response::SUCCESS
    );
    assert!(seen(&producer).await.is_empty());

    // An operator lets it be asked about once more.
    let pull = [
        ("consumerGroup", "operators"),
        ("topic", TRANS_CHECK_MAX_TIME_TOPIC),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
    ];
    let given_up = producer.ask(request::PULL_MESSAGE, &pull, Vec::new()).await;
    let given_up = view::records(&given_up.body).next().unwrap().unwrap();
    let id = |physical_offset: i64| {
        let store_host = given_up.store_host();
        MessageId {
            store_host,
            physical_offset,
        }
        .to_string()
    };
    let (half, id) = (id(0), id(given_up.physical_offset()));
    let resume = async |id: &str| {
        let code = request::RESUME_CHECK_HALF_MESSAGE;
        producer.ask(code, &[("msgId", id)], Vec::new()).await.code
    };
    let patient = b"transactionCheckMax=1000\n".to_vec();
    let set = producer
        .ask(request::UPDATE_BROKER_CONFIG, &[], patient)
        .await;
    assert_eq!(set.code, response::SUCCESS);
    assert_eq!(resume(&id).await, response::SUCCESS);
    let place = Place::asked(&question(&mut asked).await);
    let from_check = [("fromTransactionCheck", "true")];
    let answer = end(&producer, &place, COMMIT, &from_check).await;
    assert_eq!(answer.0, response::SUCCESS);
    assert_eq!(until_seen(&producer, 1).await, ["one"]);
    assert_eq!(resume(&id).await, response::SYSTEM_ERROR);
    assert_eq!(resume(&half).await, response::SYSTEM_ERROR);
    served.broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_finds_what_awaits_a_decision() {
    let served = Served::start(|config| config.transaction_time_out = 1).await;
    let (asker, _) = served.client();
    let committed = send(&asker, "committed", "").await;
    send(&asker, "undecided", "").await;
    assert_eq!(
        end(&asker, &committed, COMMIT, &[]).await.0,
        response::SUCCESS
    );
    served.broker.shutdown().await.unwrap();

    let directory = served.directory;
    let served = Served::start(|config| {
        config.transaction_time_out = 1;
        config.store_path_root_dir = directory.path().to_owned();
    })
    .await;
    let (producer, mut asked) = served.client();
    producer.produces("p@2", PRODUCERS).await;
    let asked = question(&mut asked).await;
    assert_eq!(asked.ext.get("msgId"), Some("undecided"));
    let from_check = [("fromTransactionCheck", "true")];
    let rolled_back = end(&producer, &Place::asked(&asked), ROLLBACK, &from_check).await;
    assert_eq!(rolled_back.0, response::SUCCESS);
    assert_eq!(
        end(&producer, &committed, ROLLBACK, &[]).await.0,
        response::SUCCESS
    );
    assert_eq!(until_seen(&producer, 1).await, ["committed"]);
    served.broker.shutdown().await.unwrap();
}

/// One whose properties leave no room for the count of its checks does not hold up the others.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_can_not_be_put_again_is_given_up() {
    let served = Served::start(|config| config.transaction_time_out = 1).await;
    let (producer, mut asked) = served.client();
    let mut pad = 32_700;
    loop {
        let more = format!("pad\u{1}{}\u{2}", "x".repeat(pad));
        let text = properties("full", &more);
        match producer.send(&text, b"full", false).await.code {
            response::SUCCESS => break,
            response::MESSAGE_ILLEGAL => pad -= 1,
            other => panic!("code {other}"),
        }
    }
    send(&producer, "other", "").await;
    producer.produces("p@1", PRODUCERS).await;
    let asked = question(&mut asked).await;
    assert_eq!(asked.ext.get("msgId"), Some("other"));
    until_one_is_given_up(&producer).await;
    served.broker.shutdown().await.unwrap();
}

/// Bytes of a body may look like a half message of any topic: nobody commits one.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_half_message_within_a_body_is_none() {
    const BODY_AT: i64 = 88;
    let served = Served::start(|_| {}).await;
    let (asker, _asked) = served.client();
    let place = async |body: &[u8]| {
        let answer = asker.send("", body, false).await;
        let id: MessageId = answer.ext.get("msgId").unwrap().parse().unwrap();
        id.physical_offset
    };
    let (first, second) = (place(b"one").await, place(b"two").await);
    let forged_at = second + (second - first) + BODY_AT;
    let host = "127.0.0.1:10911".parse().unwrap();
    let text =
        format!("PGROUP\u{1}{PRODUCERS}\u{2}REAL_TOPIC\u{1}../../forged\u{2}REAL_QID\u{1}0\u{2}");
    let fields = RecordFields {
        topic: TRANS_HALF_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"forged",
        properties: text.as_bytes(),
    };
    let mut forged = Vec::new();
    fields.encode(&mut forged).unwrap();
    record::assign(&mut forged, 0, forged_at, 1_700_000_000_000);
    assert_eq!(place(&forged).await + BODY_AT, forged_at);
    let place = Place {
        physical: forged_at.to_string(),
        offset: "0".to_owned(),
    };
    let (code, remark) = end(&asker, &place, COMMIT, &[]).await;
    assert_eq!(code, response::SYSTEM_ERROR);
    assert_eq!(remark, "Find prepared transaction message failed");
    let own = send(&asker, "own", "").await;
    assert_eq!(own.offset, "0");
    assert_eq!(end(&asker, &own, COMMIT, &[]).await.0, response::SUCCESS);
    let seen = until_seen(&asker, 4).await;
    assert!(seen.iter().any(|body| body == "own"), "{seen:?}");
}
