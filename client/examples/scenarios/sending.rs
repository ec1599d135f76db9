//! Producers.

use std::collections::BTreeSet;

use sluice_client::{ClientError, Message, SendStatus};

use crate::ensure;
use crate::world::{Inbox, Outcome, World, text, until};

pub async fn send_and_read_back(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    let sent = producer
        .send(
            Message::new(&topic, "hello")
                .tag("A")
                .key("k")
                .property("p", "v")
                .flag(9),
        )
        .await?;
    ensure!(sent.status == SendStatus::Ok, "status is {:?}", sent.status);
    ensure!(
        sent.queue.topic == topic && sent.queue_offset == 0,
        "stored at {} {}",
        sent.queue,
        sent.queue_offset
    );
    let got = world.admin.view_message(&sent.offset_message_id).await?;
    ensure!(text(&got) == "hello", "body is {:?}", got.body());
    ensure!(
        got.message_id() == sent.message_id,
        "id is {}",
        got.message_id()
    );
    ensure!(
        got.tag() == Some("A") && got.property("p") == Some("v") && got.flag() == 9,
        "parts differ: {got:?}"
    );
    producer.shutdown().await;
    let refused = producer.send(Message::new(&topic, "late")).await;
    ensure!(
        matches!(refused, Err(ClientError::ShutDown)),
        "a producer that is shut down answers {refused:?}"
    );
    Ok(())
}

pub async fn send_kinds(world: &World) -> Outcome {
    let topic = world.topic(2).await?;
    let producer = world.producer().await?;
    let queue = producer.publish_queues(&topic).await?.remove(1);
    producer.send(Message::new(&topic, "sync")).await?;
    producer
        .send_one_way(Message::new(&topic, "one-way"))
        .await?;
    let sent = producer
        .send_to(&queue, Message::new(&topic, "to queue"))
        .await?;
    ensure!(sent.queue == queue, "sent to {}, not {queue}", sent.queue);
    let aside = tokio::spawn({
        let (producer, topic) = (producer.clone(), topic.clone());
        async move { producer.send(Message::new(topic, "async")).await }
    });
    aside.await??;
    producer
        .send(Message::new(&topic, "fast").wait_store_ok(false))
        .await?;
    let wanted = ["sync", "one-way", "to queue", "async", "fast"].map(str::to_owned);
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    inbox.collect(&BTreeSet::from(wanted)).await?;
    consumer.shutdown().await;
    Ok(())
}

pub async fn send_batch_in_order(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    let batch: Vec<_> = (0..20)
        .map(|n| Message::new(&topic, format!("b{n}")).key(format!("key{n}")))
        .collect();
    let sent = producer.send_batch(batch).await?;
    ensure!(
        sent.message_id.split(',').count() == 20,
        "ids are {}",
        sent.message_id
    );
    ensure!(
        sent.offset_message_id.split(',').count() == 20,
        "broker ids are {}",
        sent.offset_message_id
    );
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    for n in 0..20 {
        let (_, message) = inbox.next().await?;
        ensure!(
            text(&message) == format!("b{n}"),
            "message {n} is {:?}",
            text(&message)
        );
        ensure!(
            message.queue_offset() == sent.queue_offset + n,
            "message {n} is at {}",
            message.queue_offset()
        );
        let id = sent.message_id.split(',').nth(n as usize);
        ensure!(
            id == Some(&message.message_id()),
            "message {n} has id {}",
            message.message_id()
        );
    }
    consumer.shutdown().await;
    Ok(())
}

pub async fn selector_keeps_order(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    for n in 0..40usize {
        let order = n % 4;
        let message = Message::new(&topic, format!("{order}:{}", n / 4));
        producer
            .send_with(message, |queues| &queues[order % queues.len()])
            .await?;
    }
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    let mut next = [0; 4];
    for _ in 0..40 {
        let (_, message) = inbox.next().await?;
        let body = text(&message);
        let (order, number) = body.split_once(':').ok_or("no colon")?;
        let order: usize = order.parse()?;
        ensure!(
            number.parse::<u32>()? == next[order],
            "order {order}: {number} came, {} is next",
            next[order]
        );
        next[order] += 1;
    }
    consumer.shutdown().await;
    Ok(())
}

pub async fn unicode_everywhere(world: &World) -> Outcome {
    let topic = world.topic(1).await?;
    let producer = world.producer().await?;
    let message = Message::new(&topic, "消息 – Nachricht 🚀")
        .tag("标签")
        .key("ключ")
        .property("größe", "😀é");
    let sent = producer.send(message).await?;
    producer
        .send(Message::new(&topic, "other").tag("别的"))
        .await?;
    let mut inbox = Inbox::new();
    let consumer = sluice_client::PushConsumer::builder(world.name("G"))
        .name_server(&world.name_server)
        .subscribe(&topic, "标签")
        .start_at(sluice_client::StartAt::First)
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    let (_, got) = inbox.next().await?;
    ensure!(
        text(&got) == "消息 – Nachricht 🚀",
        "body is {:?}",
        text(&got)
    );
    ensure!(
        got.tag() == Some("标签") && got.property("größe") == Some("😀é"),
        "properties differ: {:?}",
        got.properties().collect::<Vec<_>>()
    );
    ensure!(
        got.message_id() == sent.message_id,
        "id is {}",
        got.message_id()
    );
    let by_key = found_by_key(world, &topic, "ключ").await?;
    ensure!(by_key == 1, "{by_key} messages have the key");
    consumer.shutdown().await;
    Ok(())
}

/// The index follows the log; a broker need not have indexed what it has just stored.
async fn found_by_key(
    world: &World,
    topic: &str,
    key: &str,
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    until("the message by its key", async || {
        let found = world.admin.query_by_key(topic, key, 32).await?;
        Ok::<_, ClientError>(Some(found.len()).filter(|count| *count > 0))
    })
    .await
}

pub async fn four_megabytes(world: &World) -> Outcome {
    const SIZE: usize = 4 * 1024 * 1024;
    let topic = world.topic(1).await?;
    let producer = sluice_client::Producer::builder(world.name("P"))
        .name_server(&world.name_server)
        .compress_from(usize::MAX)
        .send_timeout(std::time::Duration::from_secs(20))
        .build()
        .await?;
    // Brokers count topic and properties too: Java's default leaves no room beside a full body.
    let body: Vec<u8> = (0..SIZE - 1024).map(|n| (n * 31 % 251) as u8).collect();
    producer.send(Message::new(&topic, body.clone())).await?;
    let compressing = world.producer().await?;
    let text = "x".repeat(SIZE);
    compressing.send(Message::new(&topic, text.clone())).await?;
    let too_large = producer.send(Message::new(&topic, vec![0; SIZE + 1])).await;
    ensure!(
        matches!(too_large, Err(ClientError::Invalid { .. })),
        "4 MiB and a byte: {too_large:?}"
    );
    let mut inbox = Inbox::new();
    let consumer = world
        .consumer(&world.name("G"), &topic)
        .ordered()
        .on_message(inbox.listener("c"))
        .build()
        .await?;
    let (_, raw) = inbox.next().await?;
    ensure!(raw.body()[..] == body[..], "the raw body differs");
    let (_, unfolded) = inbox.next().await?;
    ensure!(
        unfolded.body() == text.as_bytes(),
        "the compressed body differs"
    );
    ensure!(
        unfolded.stored_size() < SIZE / 10,
        "{} bytes are stored",
        unfolded.stored_size()
    );
    consumer.shutdown().await;
    Ok(())
}

pub async fn illegal_messages_are_refused(world: &World) -> Outcome {
    let producer = world.producer().await?;
    for message in [
        Message::new("", "x"),
        Message::new("with blank", "x"),
        Message::new("T", ""),
        Message::new("SCHEDULE_TOPIC_XXXX", "x"),
        Message::new("T", "x").property("a\u{1}b", "x"),
        Message::new("T", "x").property("large", "x".repeat(40_000)),
    ] {
        let refused = producer.send(message).await;
        ensure!(
            matches!(refused, Err(ClientError::Invalid { .. })),
            "got {refused:?}"
        );
    }
    Ok(())
}

pub async fn a_new_topic_is_created_by_its_first_message(world: &World) -> Outcome {
    let topic = world.name("T");
    let producer = world.producer().await?;
    let sent = producer.send(Message::new(&topic, "first")).await?;
    let got = world.admin.view_message(&sent.offset_message_id).await?;
    ensure!(got.topic() == topic, "topic is {}", got.topic());
    let queues = until("the route", async || {
        match world.admin.queues(&topic).await {
            Ok(queues) => Ok(Some(queues)),
            Err(ClientError::NoRoute { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await?;
    ensure!(queues.len() == 4, "the topic has {} queues", queues.len());
    Ok(())
}

pub async fn query_by_key_and_id(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    for n in 0..5 {
        producer
            .send(
                Message::new(&topic, format!("{n}"))
                    .key("shared")
                    .key(format!("own{n}")),
            )
            .await?;
    }
    let sent = producer
        .send(Message::new(&topic, "last").key("own5"))
        .await?;
    ensure!(
        found_by_key(world, &topic, "own5").await? == 1,
        "the last message is found more than once"
    );
    ensure!(
        found_by_key(world, &topic, "shared").await? == 5,
        "not all messages with the key are found"
    );
    let by_id = world.admin.query_by_id(&topic, &sent.message_id).await?;
    ensure!(
        by_id.len() == 1 && text(&by_id[0]) == "last",
        "found by id: {by_id:?}"
    );
    let none = world.admin.query_by_key(&topic, "nobody's", 32).await?;
    ensure!(none.is_empty(), "a key nobody has finds {none:?}");
    Ok(())
}

pub async fn many_sends_at_once(world: &World) -> Outcome {
    let topic = world.topic(4).await?;
    let producer = world.producer().await?;
    let mut sends = tokio::task::JoinSet::new();
    for n in 0..500 {
        let (producer, message) = (producer.clone(), Message::new(&topic, format!("{n}")));
        sends.spawn(async move { producer.send(message).await });
    }
    let mut places = BTreeSet::new();
    while let Some(sent) = sends.join_next().await {
        let sent = sent??;
        places.insert((sent.queue.queue_id, sent.queue_offset));
    }
    ensure!(
        places.len() == 500,
        "500 messages are at {} places",
        places.len()
    );
    let stats = world.admin.topic_stats(&topic).await?;
    let total: i64 = stats
        .values()
        .map(|queue| queue.max_offset - queue.min_offset)
        .sum();
    ensure!(total == 500, "the topic has {total} messages");
    Ok(())
}
