//! One function per request. A handler decides and answers; everything it needs is the [`Broker`].
//!
//! [`Broker`]: crate::Broker

pub mod ack_message;
pub mod administration;
pub mod broker_admin;
pub mod change_invisible_time;
pub mod class_filters;
pub mod cleaning;
pub mod consumer_offsets;
pub mod consumer_status;
pub mod end_transaction;
pub mod group_admin;
pub mod group_offsets;
pub mod notification;
pub mod peek_message;
pub mod pop_message;
pub mod pull_message;
pub mod query_assignment;
pub mod query_consume_queue;
pub mod query_message;
pub mod queue_locks;
pub mod queue_offsets;
pub mod recall_message;
pub mod relay;
pub mod reply_message;
pub mod reset_offset;
pub mod resume_check;
pub mod send_back;
pub mod send_message;
pub mod sessions;
pub mod statistics;
pub mod topic_admin;
