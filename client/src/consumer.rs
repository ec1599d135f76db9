//! Receiving.
//!
//! ```text
//! keep_balanced ─ rebalance ─ Assigned (one per queue)
//!                               └ pull ─ hand_on ─┬ concurrent::work × concurrency ─ listener
//!                                                 ├ ordered::consume (one per queue) ─ listener
//!                                                 └ LitePullConsumer::poll
//! ```

mod assigned;
mod backlog;
mod concurrent;
mod group;
mod listener;
mod lite;
mod offset_file;
mod offsets;
mod ordered;
mod process_queue;
mod pull;
mod push;
mod rebalance;
mod run;
mod send_back;
mod serve;

pub use group::StartAt;
pub(crate) use group::unix_ms;
pub use listener::ConsumeResult;
pub use lite::{LitePullConsumer, LitePullConsumerBuilder};
pub(crate) use pull::decode;
pub use push::{PushConsumer, PushConsumerBuilder};
