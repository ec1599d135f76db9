//! What the broker answers: one arm per request. Read it as the table of contents.

use std::sync::{Arc, Weak};

use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_remoting::{CloseReason, Connection, Handler, Responder};

use crate::Broker;
use crate::error::Refusal;
use crate::handlers::{
    ack_message, administration, broker_admin, change_invisible_time, class_filters, cleaning,
    consumer_offsets, consumer_status, end_transaction, group_admin, group_offsets, notification,
    peek_message, pop_message, pull_message, query_assignment, query_consume_queue, query_message,
    queue_locks, queue_offsets, recall_message, relay, reply_message, reset_offset, resume_check,
    send_back, send_message, sessions, statistics, topic_admin,
};

/// Hands requests to their handlers. It does not keep the broker alive.
pub struct Dispatch(pub(crate) Weak<Broker>);

impl Handler for Dispatch {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        match self.0.upgrade() {
            Some(broker) => dispatch(&broker, request, responder),
            None => responder.refuse(
                sluice_protocol::code::response::SERVICE_NOT_AVAILABLE,
                "the broker is shutting down",
            ),
        }
    }

    fn together(&self, handle: &mut dyn FnMut()) -> Result<(), String> {
        let Some(broker) = self.0.upgrade() else {
            handle();
            return Ok(());
        };
        let gathered = broker.store.gather(handle);
        gathered.map_err(|error| error.to_string())
    }

    fn closed(&self, connection: &Arc<Connection>, _: &CloseReason) {
        if let Some(broker) = self.0.upgrade() {
            sessions::connection_closed(&broker, connection);
        }
    }
}

fn dispatch(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let handler: fn(&Arc<Broker>, RemotingCommand, Responder) = match request.code {
        request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            send_message::send_message
        }
        request::SEND_REPLY_MESSAGE | request::SEND_REPLY_MESSAGE_V2 => {
            reply_message::send_reply_message
        }
        request::CONSUMER_SEND_MSG_BACK => send_back::consumer_send_msg_back,
        request::RECALL_MESSAGE => recall_message::recall_message,
        request::END_TRANSACTION => end_transaction::end_transaction,
        request::RESUME_CHECK_HALF_MESSAGE => resume_check::resume_check_half_message,
        request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => pull_message::pull_message,
        request::POP_MESSAGE => pop_message::pop_message,
        request::ACK_MESSAGE => ack_message::ack_message,
        request::BATCH_ACK_MESSAGE => ack_message::batch_ack_message,
        request::CHANGE_MESSAGE_INVISIBLETIME => change_invisible_time::change_invisible_time,
        request::PEEK_MESSAGE => peek_message::peek_message,
        request::NOTIFICATION => notification::notification,
        request::POLLING_INFO => notification::polling_info,
        request::REGISTER_MESSAGE_FILTER_CLASS => class_filters::register_message_filter_class,

        request::HEART_BEAT => sessions::heart_beat,
        request::UNREGISTER_CLIENT => sessions::unregister_client,
        request::GET_CONSUMER_LIST_BY_GROUP => sessions::get_consumer_list_by_group,
        request::CHECK_CLIENT_CONFIG => sessions::check_client_config,

        request::QUERY_CONSUMER_OFFSET => consumer_offsets::query_consumer_offset,
        request::UPDATE_CONSUMER_OFFSET => consumer_offsets::update_consumer_offset,
        request::GET_ALL_CONSUMER_OFFSET => consumer_offsets::get_all_consumer_offset,
        request::CLONE_GROUP_OFFSET => group_offsets::clone_group_offset,
        request::QUERY_CORRECTION_OFFSET => group_offsets::query_correction_offset,
        request::INVOKE_BROKER_TO_RESET_OFFSET => reset_offset::invoke_broker_to_reset_offset,

        request::GET_MAX_OFFSET => queue_offsets::get_max_offset,
        request::GET_MIN_OFFSET => queue_offsets::get_min_offset,
        request::SEARCH_OFFSET_BY_TIMESTAMP => queue_offsets::search_offset_by_timestamp,
        request::GET_EARLIEST_MSG_STORETIME => queue_offsets::get_earliest_msg_storetime,

        request::LOCK_BATCH_MQ => queue_locks::lock_batch_mq,
        request::UNLOCK_BATCH_MQ => queue_locks::unlock_batch_mq,

        request::QUERY_ASSIGNMENT => query_assignment::query_assignment,
        request::SET_MESSAGE_REQUEST_MODE => query_assignment::set_message_request_mode,

        request::QUERY_MESSAGE => query_message::query_message,
        request::VIEW_MESSAGE_BY_ID => query_message::view_message_by_id,
        request::QUERY_CONSUME_QUEUE => query_consume_queue::query_consume_queue,

        request::UPDATE_AND_CREATE_TOPIC => topic_admin::update_and_create_topic,
        request::UPDATE_AND_CREATE_TOPIC_LIST => topic_admin::update_and_create_topic_list,
        request::DELETE_TOPIC_IN_BROKER => topic_admin::delete_topic,
        request::GET_ALL_TOPIC_CONFIG => topic_admin::get_all_topic_config,
        request::GET_TOPIC_CONFIG => topic_admin::get_topic_config,
        request::GET_TOPIC_STATS_INFO => topic_admin::get_topic_stats_info,
        request::QUERY_TOPIC_CONSUME_BY_WHO => topic_admin::query_topic_consume_by_who,
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topic_admin::get_system_topic_list,

        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            group_admin::update_and_create_subscription_group
        }
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
            group_admin::update_and_create_subscription_group_list
        }
        request::DELETE_SUBSCRIPTIONGROUP => group_admin::delete_subscription_group,
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => group_admin::get_all_subscription_group_config,
        request::GET_SUBSCRIPTIONGROUP_CONFIG => group_admin::get_subscription_group_config,
        request::GET_CONSUMER_CONNECTION_LIST => group_admin::get_consumer_connection_list,
        request::GET_PRODUCER_CONNECTION_LIST => group_admin::get_producer_connection_list,
        request::GET_CONSUME_STATS => group_admin::get_consume_stats,
        request::QUERY_TOPICS_BY_CONSUMER => group_admin::query_topics_by_consumer,
        request::QUERY_SUBSCRIPTION_BY_CONSUMER => group_admin::query_subscription_by_consumer,
        request::UPDATE_AND_GET_GROUP_FORBIDDEN => group_admin::update_and_get_group_forbidden,
        request::GET_ALL_PRODUCER_INFO => group_admin::get_all_producer_info,
        request::GET_CONSUMER_RUNNING_INFO => relay::get_consumer_running_info,
        request::CONSUME_MESSAGE_DIRECTLY => relay::consume_message_directly,
        request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => consumer_status::get_consumer_status,

        request::VIEW_BROKER_STATS_DATA => statistics::view_broker_stats_data,
        request::QUERY_CONSUME_TIME_SPAN => statistics::query_consume_time_span,
        request::GET_BROKER_CONSUME_STATS => statistics::get_broker_consume_stats,

        request::SLUICE_ADMINISTRATION => administration::administration,
        request::GET_BROKER_RUNTIME_INFO => broker_admin::get_broker_runtime_info,
        request::GET_BROKER_CONFIG => broker_admin::get_broker_config,
        request::UPDATE_BROKER_CONFIG => broker_admin::update_broker_config,
        request::CLEAN_EXPIRED_CONSUMEQUEUE => cleaning::clean_expired_consume_queue,
        request::CLEAN_UNUSED_TOPIC => cleaning::clean_unused_topic,
        request::DELETE_EXPIRED_COMMITLOG => cleaning::delete_expired_commit_log,
        request::POP_ROLLBACK => pop_message::pop_rollback,

        other => return broker.refuse(responder, Refusal::not_served(other)),
    };
    handler(broker, request, responder);
}
