//! Consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sluice_client::allocation::{AllocateError, AllocateStrategy};
use sluice_client::{
    ClientError, ConsumeResult, Filter, LitePullConsumer, Message, MessageQueue, PushConsumer,
    PushConsumerBuilder, ReceivedMessage, StartAt, SubscriptionGroupConfig,
};

use crate::ensure;
use crate::world::{Inbox, Outcome, PATIENCE, World, send_numbered, text, until};

pub async fn push_concurrent(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    let early = send_numbered(&producer, &topic, "early", 50).await?;
    let mut inbox = Inbox::new();
    let group = world.name("G");
    let consumer = world
        .consumer(&group, &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&early).await?;
    let late = send_numbered(&producer, &topic, "late", 50).await?;
    inbox.collect(&late).await?;
    consumer.shutdown().await;
    let stats = world.admin.consume_stats(&group, &topic).await?;
    let behind: i64 = stats
        .values()
        .map(|queue| queue.broker_offset - queue.consumer_offset)
        .sum();
    ensure!(
        stats.len() == 4 && behind == 0,
        "after shutdown the group is {behind} behind on {} queues",
        stats.len()
    );
    Ok(())
}

pub async fn push_with_tags(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    for tag in ["A", "B", "C", "Aa", "BB"] {
        producer.send(Message::new(&topic, tag).tag(tag)).await?;
    }
    producer.send(Message::new(&topic, "none")).await?;
    let mut inbox = Inbox::new();
    let consumer = PushConsumer::builder(world.name("G"))
        .name_server(&world.name_server)
        .subscribe(&topic, "A || C || Aa")
        .start_at(StartAt::First)
        .on_batch(16, {
            let put = inbox.put();
            move |messages: Vec<ReceivedMessage>| {
                for message in messages {
                    let _ = put.send(("c".into(), message));
                }
                async { Ok::<_, String>(()) }
            }
        })
        .build()
        .await?;
    inbox
        .collect(&BTreeSet::from(["A", "C", "Aa"].map(str::to_owned)))
        .await?;
    producer
        .send(Message::new(&topic, "A again").tag("A"))
        .await?;
    inbox
        .collect(&BTreeSet::from(["A again".to_owned()]))
        .await?;
    consumer.shutdown().await;
    Ok(())
}

pub async fn push_ordered(world: &World) -> Outcome {
    let topic = world.topic(3).await?;
    let producer = world.producer().await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    for n in 0..60usize {
        let message = Message::new(&topic, format!("{n}"));
        producer
            .send_with(message, |queues| &queues[n % queues.len()])
            .await?;
    }
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for _ in 0..60 {
        let (_, message) = inbox.next().await?;
        let expected = next.entry(message.queue_id()).or_default();
        ensure!(
            message.queue_offset() == *expected,
            "queue {}: offset {} came, {expected} is next",
            message.queue_id(),
            message.queue_offset()
        );
        *expected += 1;
    }
    consumer.shutdown().await;
    Ok(())
}

pub async fn ordered_suspends_its_queue(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    send_numbered(&producer, &topic, "", 3).await?;
    let mut inbox = Inbox::new();
    let put = inbox.put();
    let failures = Arc::new(AtomicU32::new(2));
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .suspend(Duration::from_millis(50))
        .on_message(move |message| {
            let fails = text(&message) == "1"
                && failures
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            let _ = put.send(("c".into(), message));
            async move {
                if fails {
                    ConsumeResult::Later
                } else {
                    ConsumeResult::Success
                }
            }
        })
        .build()
        .await?;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (_, message) = inbox.next().await?;
        seen.push(format!("{}/{}", text(&message), message.reconsume_times()));
    }
    ensure!(
        seen == ["0/0", "1/0", "1/1", "1/2", "2/0"],
        "messages came as {seen:?}"
    );
    consumer.shutdown().await;
    Ok(())
}

pub async fn two_consumers_share_and_take_over(world: &World) -> Outcome {
    share_and_take_over(world, |builder| builder).await
}

pub async fn two_consumers_share_as_the_broker_says(world: &World) -> Outcome {
    share_and_take_over(world, |builder| {
        builder.strategy(NotHere).allocated_by_broker()
    })
    .await
}

/// Brokers know a strategy of this name; here it has no answer.
struct NotHere;

impl AllocateStrategy for NotHere {
    fn name(&self) -> String {
        "AVG_BY_CIRCLE".to_owned()
    }

    fn allocate(
        &self,
        _: &str,
        _: &[MessageQueue],
        _: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        Err(AllocateError::Empty("strategy here"))
    }
}

async fn share_and_take_over(
    world: &World,
    settings: impl Fn(PushConsumerBuilder) -> PushConsumerBuilder,
) -> Outcome {
    let topic = world.topic(4).await?;
    let group = world.name("G");
    let producer = world.producer().await?;
    let mut inbox = Inbox::new();
    let consumer = |name| {
        let builder = settings(world.consumer(&group, &topic));
        builder.on_message(inbox.listener(name)).build()
    };
    let first = consumer("first").await?;
    let of_topic = |consumer: &PushConsumer| {
        let queues = consumer
            .assigned_queues()
            .into_iter()
            .filter(|queue| queue.topic == topic);
        queues.collect::<BTreeSet<_>>()
    };
    until("all queues at the first", async || {
        Ok::<_, ClientError>((of_topic(&first).len() == 4).then_some(()))
    })
    .await?;
    let second = consumer("second").await?;
    until("equal shares", async || {
        Ok::<_, ClientError>(
            (of_topic(&first).len() == 2 && of_topic(&second).len() == 2).then_some(()),
        )
    })
    .await?;
    ensure!(
        of_topic(&first).is_disjoint(&of_topic(&second)),
        "both have a queue"
    );
    for n in 0..40usize {
        producer
            .send_with(Message::new(&topic, format!("{n}")), |queues| {
                &queues[n % 4]
            })
            .await?;
    }
    let mut counts: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    let mut bodies = BTreeSet::new();
    while bodies.len() < 40 {
        let (who, message) = inbox.next().await?;
        if bodies.insert(text(&message)) {
            *counts.entry(who).or_default() += 1;
        }
    }
    ensure!(
        counts.values().all(|count| *count == 20),
        "shares are {counts:?}"
    );
    first.shutdown().await;
    until("all queues at the second", async || {
        Ok::<_, ClientError>((of_topic(&second).len() == 4).then_some(()))
    })
    .await?;
    let after = send_numbered(&producer, &topic, "after", 12).await?;
    let mut missing = after;
    while !missing.is_empty() {
        let (who, message) = inbox.next().await?;
        ensure!(
            &*who == "second",
            "{who} got a message after the first had left"
        );
        missing.remove(&text(&message));
    }
    second.shutdown().await;
    Ok(())
}

pub async fn broadcast_reaches_everyone(world: &World) -> Outcome {
    let topic = world.topic(3).await?;
    let group = world.name("G");
    let directory = std::env::temp_dir().join(world.name("sluice-offsets"));
    let producer = world.producer().await?;
    let join = |name: &str, inbox: &Inbox| {
        world
            .consumer(&group, &topic)
            .broadcasting()
            .instance_name(name)
            .offset_directory(&directory)
            .on_message(inbox.listener(name))
            .build()
    };
    let (mut one, mut two) = (Inbox::new(), Inbox::new());
    let first = join("one", &one).await?;
    let second = join("two", &two).await?;
    let bodies = send_numbered(&producer, &topic, "all", 30).await?;
    one.collect(&bodies).await?;
    two.collect(&bodies).await?;
    first.shutdown().await;
    // Sent while it is away, and nothing twice: its file says where it was.
    let missed = send_numbered(&producer, &topic, "missed", 6).await?;
    let mut again = Inbox::new();
    let first = join("one", &again).await?;
    again.collect(&missed).await?;
    two.collect(&missed).await?;
    first.shutdown().await;
    second.shutdown().await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

pub async fn offsets_survive_a_restart(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let group = world.name("G");
    let producer = world.producer().await?;
    let before = send_numbered(&producer, &topic, "before", 40).await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&group, &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&before).await?;
    consumer.shutdown().await;
    let after = send_numbered(&producer, &topic, "after", 40).await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&group, &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&after).await?; // anything from before fails
    consumer.shutdown().await;
    Ok(())
}

pub async fn start_at_first_and_seek_by_time(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    let old = send_numbered(&producer, &topic, "old", 5).await?;
    let queue = world.admin.queues(&topic).await?.remove(0);
    // Brokers stamp messages by their clock and to the millisecond.
    let last_old = world.admin.topic_stats(&topic).await?[&queue].last_update_timestamp;
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(last_old as u64 + 1);
    until("the next millisecond", async || {
        Ok::<_, ClientError>((SystemTime::now() > time + Duration::from_millis(5)).then_some(()))
    })
    .await?;
    let new = send_numbered(&producer, &topic, "new", 5).await?;
    let both = old.union(&new).cloned().collect();
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&both).await?;
    consumer.shutdown().await;
    let consumer = LitePullConsumer::builder(world.name("G"))
        .name_server(&world.name_server)
        .build()
        .await?;
    let offset = consumer.offset_at(&queue, time).await?;
    ensure!(offset == 5, "the new messages begin at {offset}");
    consumer.assign(std::slice::from_ref(&queue)).await?;
    consumer.seek(&queue, offset).await?;
    poll_all(&consumer, &new).await?;
    consumer.shutdown().await;
    Ok(())
}

pub async fn offsets_of_a_group_that_is_away(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let group = world.name("G");
    let producer = world.producer().await?;
    send_numbered(&producer, &topic, "skipped", 3).await?;
    let settings = SubscriptionGroupConfig {
        group_name: group.clone(),
        ..SubscriptionGroupConfig::default()
    };
    world.admin.create_group(&settings).await?;
    let queue = world.admin.queues(&topic).await?.remove(0);
    world.admin.commit_offset(&group, &queue, 3).await?;
    ensure!(
        world.admin.committed_offset(&group, &queue).await? == Some(3),
        "the offset was not committed"
    );
    let bodies = send_numbered(&producer, &topic, "wanted", 3).await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&group, &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&bodies).await?;
    consumer.shutdown().await;
    world.admin.delete_group(&group).await?;
    Ok(())
}

pub async fn lite_pull_subscribe_and_commit(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let group = world.name("G");
    let producer = world.producer().await?;
    let bodies = send_numbered(&producer, &topic, "m", 30).await?;
    let open = || {
        LitePullConsumer::builder(&group)
            .name_server(&world.name_server)
            .subscribe(&topic, "*")
            .start_at(StartAt::First)
            .auto_commit(None)
            .build()
    };
    let consumer = open().await?;
    poll_all(&consumer, &bodies).await?;
    consumer.commit().await?;
    for queue in consumer.assigned_queues() {
        let (committed, max) = (
            consumer.committed(&queue).await?,
            world.admin.max_offset(&queue).await?,
        );
        ensure!(
            committed == Some(max),
            "{queue}: {committed:?} is committed, {max} is the end"
        );
    }
    let uncommitted = send_numbered(&producer, &topic, "again", 10).await?;
    poll_all(&consumer, &uncommitted).await?;
    consumer.shutdown().await; // without auto-commit nothing more is committed
    let consumer = open().await?;
    poll_all(&consumer, &uncommitted).await?;
    let nothing = consumer.poll(Duration::from_millis(1)).await?;
    ensure!(nothing.is_empty(), "more than was sent: {nothing:?}");
    consumer.shutdown().await;
    let shut_down = consumer.poll(Duration::from_millis(1)).await;
    ensure!(
        matches!(shut_down, Err(ClientError::ShutDown)),
        "a consumer that is shut down answers {shut_down:?}"
    );
    Ok(())
}

async fn poll_all(consumer: &LitePullConsumer, wanted: &BTreeSet<String>) -> Outcome {
    let mut missing = wanted.clone();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !missing.is_empty() {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "{} of {} messages did not come",
            missing.len(),
            wanted.len()
        );
        for message in consumer.poll(Duration::from_secs(5)).await? {
            let body = text(&message);
            ensure!(
                missing.remove(&body),
                "unexpected or repeated message {body:?}"
            );
        }
    }
    Ok(())
}

pub async fn lite_pull_assign_seek_and_pause(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    let consumer = LitePullConsumer::builder(world.name("G"))
        .name_server(&world.name_server)
        .start_at(StartAt::First)
        .build()
        .await?;
    let queues = consumer.queues(&topic).await?;
    ensure!(queues.len() == 2, "the topic has {} queues", queues.len());
    for n in 0..20 {
        producer
            .send_to(&queues[0], Message::new(&topic, format!("{n}")))
            .await?;
    }
    producer
        .send_to(&queues[1], Message::new(&topic, "elsewhere"))
        .await?;
    consumer.assign(&queues[..1]).await?;
    let all: BTreeSet<_> = (0..20).map(|n| n.to_string()).collect();
    poll_all(&consumer, &all).await?;
    consumer.seek(&queues[0], 15).await?;
    poll_all(&consumer, &(15..20).map(|n| n.to_string()).collect()).await?;
    consumer.seek_to_begin(&queues[0]).await?;
    poll_all(&consumer, &all).await?;
    consumer.seek_to_end(&queues[0]).await?;
    producer
        .send_to(&queues[0], Message::new(&topic, "end"))
        .await?;
    poll_all(&consumer, &BTreeSet::from(["end".to_owned()])).await?;
    let beyond = consumer.seek(&queues[0], 1000).await;
    ensure!(
        matches!(beyond, Err(ClientError::Invalid { .. })),
        "seek beyond the end: {beyond:?}"
    );
    let foreign = consumer.seek(&queues[1], 0).await;
    ensure!(
        matches!(foreign, Err(ClientError::NotAssigned(_))),
        "seek in a foreign queue: {foreign:?}"
    );
    consumer.assign(&queues[1..]).await?;
    poll_all(&consumer, &BTreeSet::from(["elsewhere".to_owned()])).await?;
    ensure!(
        consumer.assigned_queues() == queues[1..],
        "assigned are {:?}",
        consumer.assigned_queues()
    );
    consumer.shutdown().await;
    Ok(())
}

pub async fn reset_by_time_moves_a_running_consumer(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let group = world.name("G");
    let producer = world.producer().await?;
    let bodies = send_numbered(&producer, &topic, "m", 20).await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&group, &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&bodies).await?;
    let reset = world
        .admin
        .reset_offsets(&group, &topic, SystemTime::UNIX_EPOCH)
        .await?;
    ensure!(
        reset.len() == 2 && reset.values().all(|offset| *offset == 0),
        "reset to {reset:?}"
    );
    // A parked pull learns of it when it is answered next.
    for queue in producer.publish_queues(&topic).await? {
        producer
            .send_to(&queue, Message::new(&topic, "wake"))
            .await?;
    }
    let mut missing = bodies;
    while !missing.is_empty() {
        let (_, message) = inbox.next().await?;
        missing.remove(&text(&message));
    }
    consumer.shutdown().await;
    Ok(())
}

pub async fn consumer_waits_for_its_topic(world: &World) -> Outcome {
    let topic = world.name("T");
    let producer = world.producer().await?;
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .start_at(StartAt::Last)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    let bodies = send_numbered(&producer, &topic, "new", 5).await?;
    inbox.collect(&bodies).await?;
    consumer.shutdown().await;
    Ok(())
}

pub async fn a_panic_costs_one_delivery(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    let bodies = send_numbered(&producer, &topic, "m", 3).await?;
    let mut inbox = Inbox::new();
    let put = inbox.put();
    let panicked = Arc::new(AtomicBool::new(false));
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .suspend(Duration::from_millis(10))
        .on_message(move |message| {
            assert!(
                text(&message) != "m1" || panicked.swap(true, Ordering::SeqCst),
                "on purpose"
            );
            let _ = put.send(("c".into(), message));
            async { ConsumeResult::Success }
        })
        .build()
        .await?;
    inbox.collect(&bodies).await?;
    consumer.shutdown().await;
    Ok(())
}

/// Needs a broker that delivers messages with delay; takes ten seconds, the first retry's delay.
pub async fn failed_messages_come_again(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    producer
        .send(Message::new(&topic, "fails once").tag("A").key("k"))
        .await?;
    let mut inbox = Inbox::new();
    let put = inbox.put();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .on_message(move |message| {
            let first = message.reconsume_times() == 0;
            let _ = put.send(("c".into(), message));
            async move { if first { Err("not yet") } else { Ok(()) } }
        })
        .build()
        .await?;
    let (_, first) = inbox.next().await?;
    let (_, again) = inbox.next().await?;
    ensure!(
        again.reconsume_times() == 1 && again.topic() == topic,
        "came again as {again:?}"
    );
    ensure!(
        again.message_id() == first.message_id(),
        "ids are {} and {}",
        first.message_id(),
        again.message_id()
    );
    ensure!(
        again.queue().topic.starts_with("%RETRY%"),
        "it came from {}",
        again.queue()
    );
    consumer.shutdown().await;
    Ok(())
}

/// Needs a broker that filters by SQL92.
pub async fn sql_selects(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    for amount in 0..20 {
        let message =
            Message::new(&topic, format!("{amount}")).property("amount", amount.to_string());
        producer.send(message).await?;
    }
    let subscribe = |expression: &str| {
        PushConsumer::builder(world.name("G"))
            .name_server(&world.name_server)
            .subscribe(&topic, Filter::sql(expression))
            .start_at(StartAt::First)
    };
    let mut inbox = Inbox::new();
    let consumer = subscribe("amount >= 10 AND amount < 15")
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox
        .collect(&(10..15).map(|amount| amount.to_string()).collect())
        .await?;
    consumer.shutdown().await;
    let broken = subscribe("amount >")
        .on_message(inbox.listener("c"))
        .build()
        .await;
    let code = broken.as_ref().err().and_then(ClientError::refusal_code);
    ensure!(code == Some(23), "a broken expression answers {broken:?}");
    Ok(())
}
