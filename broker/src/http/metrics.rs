//! What the broker counts, in the Prometheus text format: under Java's names where Java 5.x counts the same
//! (`BrokerMetricsManager`, `DefaultStoreMetricsManager`), and under ours.

mod delivery;
mod exposition;
mod groups;
mod plugins;
mod store;
mod traffic;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use self::exposition::{Exposition, Kind};
use super::plugins::Refused;
use super::{Broke, aside};
use crate::Broker;

/// Of `/metrics`.
const TEXT: &str = "text/plain; version=0.0.4";

pub(super) async fn metrics(State(broker): Broke) -> Result<impl IntoResponse, Refused> {
    // One page at a time: whoever asks again and again keeps operators' threads from nobody. It is over when
    // the page is made, not when the asker leaves.
    let one = broker.scraping.clone().lock_owned().await;
    let made = aside(broker, move |broker| {
        let _one = one;
        Ok(page(broker))
    });
    let Json(page) = made.await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], page))
}

/// All families. Reads a disk.
fn page(broker: &Broker) -> String {
    let config = broker.config();
    let labels = config.metrics_labels();
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    labels.extend([
        ("cluster", &*config.broker_cluster_name),
        ("node_id", &*config.broker_name),
        ("node_type", "broker"),
    ]);
    let mut page = Exposition::new(&labels);
    of_broker(broker, &mut page);
    traffic::write(broker, &mut page);
    groups::write(broker, &mut page);
    store::write(broker, &mut page);
    delivery::write(broker, &mut page);
    plugins::write(broker, &mut page);
    page.into_text()
}

fn of_broker(broker: &Broker, page: &mut Exposition) {
    for (name, help, value) in [
        (
            "rocketmq_broker_permission",
            "What clients may do: 4 read, 2 write.",
            i64::from(broker.config().broker_permission),
        ),
        (
            "rocketmq_topic_number",
            "Topics, those of the broker's own among them.",
            broker.topics.all().len() as i64,
        ),
        (
            "rocketmq_consumer_group_number",
            "Consumer groups, those of the broker's own among them.",
            broker.groups.all().len() as i64,
        ),
    ] {
        page.java(name, Kind::Gauge, help).sample(&[], value);
    }
}

/// A label's word for yes and no.
fn truth(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}
