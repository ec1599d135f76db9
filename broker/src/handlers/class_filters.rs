//! REGISTER_MESSAGE_FILTER_CLASS (302): what a 4.x client's `subscribe(topic, class, source)` uploads.
//!
//! RocketMQ compiled Java source in a FilterServer beside the broker, and gave that up as unsafe. Here
//! the source is base64 of a WASM filter: it becomes a plugin bound to the client's topic and group.
//! Clients send it again with every heartbeat, so an unchanged one is answered without work.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sluice_filters::{MessageFilter, TagFilter};
use sluice_plugins::{Bind, Key, PluginError, Policy};
use sluice_protocol::RemotingCommand;
use sluice_protocol::header::RegisterMessageFilterClassRequestHeader;
use sluice_protocol::message::crc32;
use sluice_remoting::Responder;

use crate::error::Refusal;
use crate::{Answer, Broker};

/// Binds the uploaded module to topic and group, in the place of the class's version before.
pub fn register_message_filter_class(
    broker: &Arc<Broker>,
    request: RemotingCommand,
    responder: Responder,
) {
    let peer = responder.connection().peer();
    if broker.config().filter_server_nums == 0 {
        let text = "class filters are off: filterServerNums = 1 lets clients upload them";
        return broker.refuse(responder, Refusal::NoPermission(text.to_owned()));
    }
    if !peer.ip().to_canonical().is_loopback() {
        let text = format!(
            "{peer} may not upload class filters: only clients on the broker's machine may; others are bound with `sluice plugin bind`"
        );
        return broker.refuse(responder, Refusal::NoPermission(text));
    }
    broker.aside_for_uploads(responder, move |broker, responder| {
        broker.reply(responder, || {
            let header = RegisterMessageFilterClassRequestHeader::decode(&request.ext)?;
            register(broker, &header, &request.body)?;
            Ok(Answer::default())
        });
    });
}

fn register(
    broker: &Broker,
    header: &RegisterMessageFilterClassRequestHeader,
    source: &[u8],
) -> Result<(), Refusal> {
    if crc32(source) != header.class_crc {
        return Err(Refusal::System(format!(
            "class {}: classCRC does not fit its source",
            header.class_name
        )));
    }
    let module = module(&header.class_name, source)?;
    let failed =
        |error: PluginError| Refusal::System(format!("class {}: {error}", header.class_name));
    let name = plugin_name(&header.class_name);
    forget_old_versions(broker, &name);
    let put = broker
        .plugins
        .put(&name, &module, broker.now_ms())
        .map_err(failed)?;
    let key = Key {
        plugin: name.clone(),
        topic: header.topic.to_string(),
        group: header.consumer_group.to_string(),
    };
    let bound = broker.plugins.bound(&key);
    if bound.is_ok_and(|bound| bound.spec().current == put.version.version) {
        return Ok(());
    }
    broker
        .plugins
        .bind(Bind {
            plugin: name,
            version: Some(put.version.version),
            topic: key.topic.clone(),
            group: key.group,
            // A FilterServer that failed gave nothing and was asked again.
            policy: Policy::Suspend,
            ..Bind::default()
        })
        .map_err(failed)?;
    tracing::info!(
        class = %header.class_name,
        topic = key.topic,
        group = %header.consumer_group,
        "class filter bound"
    );
    broker.long_poll.wake_topic(&key.topic);
    Ok(())
}

/// Whoever changes a class often must not run into the limit of versions: no operator puts these.
fn forget_old_versions(broker: &Broker, name: &str) {
    const KEPT: usize = 10;
    let listed = broker.plugins.list();
    let Some(plugin) = listed.iter().find(|plugin| plugin.name == name) else {
        return;
    };
    let many = plugin.versions.len().saturating_sub(KEPT);
    for old in &plugin.versions[..many] {
        match broker.plugins.remove(name, Some(old.version)) {
            // Another group may still use it.
            Ok(()) | Err(PluginError::InUse { .. }) => {}
            Err(error) => tracing::warn!(name, %error, "an old class filter can't be removed"),
        }
    }
}

fn module(class: &str, source: &[u8]) -> Result<Vec<u8>, Refusal> {
    let text: Vec<u8> = source
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD.decode(text).map_err(|_| {
        Refusal::System(format!(
            "class {class}: its source is not base64. Java source is not compiled here: give subscribe() the base64 of a WASM filter instead. plugins/sequence of Sluice is the classic sample (SequenceId over 10 and a multiple of 3) as such a filter"
        ))
    })
}

/// The class's simple name, as far as a plugin can be called so.
fn plugin_name(class: &str) -> String {
    let simple = class.rsplit('.').next().unwrap_or(class);
    let kept: String = simple
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(58)
        .collect();
    format!("class-{kept}")
}

/// What a pull of a class filter's subscription passes before plugins are asked: everything, if there
/// is a filter to ask, and nothing otherwise, by refusal.
pub(super) fn subscription(
    broker: &Broker,
    topic: &str,
    group: &str,
) -> Result<Arc<dyn MessageFilter>, Refusal> {
    if broker.plugins.filters(topic, group).is_empty() {
        return Err(Refusal::System(format!(
            "no filter is bound to topic {topic} and group {group}: the class filter was not uploaded, or `sluice plugin bind` is missing"
        )));
    }
    Ok(Arc::new(TagFilter::all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_called_by_the_simple_name() {
        assert_eq!(
            plugin_name("org.example.MessageFilterImpl"),
            "class-MessageFilterImpl"
        );
        assert_eq!(plugin_name("a.B$C"), "class-B_C");
    }

    #[test]
    fn java_source_is_told_what_to_do() {
        let refused = module("F", b"package org.example; class F {}").unwrap_err();
        assert!(
            refused.to_string().contains("plugins/sequence"),
            "{refused}"
        );
        assert_eq!(module("F", b"AGFz\nbQ==").unwrap(), b"\0asm");
    }
}
