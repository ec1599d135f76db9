//! How groups fetch (`messageRequestMode.json`): what SET_MESSAGE_REQUEST_MODE has set.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sluice_protocol::body::{MessageRequestMode, SetMessageRequestModeRequestBody};

use crate::config_file::ConfigFile;
use crate::error::BrokerError;

type Table = BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>;

/// Settings by topic and group. A change is in force at once; whoever made it then waits until it is
/// on disk, see [`crate::changes`].
#[derive(Debug)]
pub struct RequestModes {
    table: RwLock<Table>,
    file: ConfigFile,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    message_request_mode_map: Table,
}

impl RequestModes {
    /// Reads the file.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(file: ConfigFile) -> Result<RequestModes, BrokerError> {
        let table = file
            .load::<File>()?
            .unwrap_or_default()
            .message_request_mode_map;
        let table = RwLock::new(table);
        Ok(RequestModes { table, file })
    }

    /// What is set for the group on the topic, if anything: the mode, and with POP how many of the next
    /// members' shares each member pops too.
    pub fn get(&self, topic: &str, group: &str) -> Option<(MessageRequestMode, i32)> {
        let table = self.table.read();
        table
            .get(topic)
            .and_then(|groups| groups.get(group))
            .map(|set| (set.mode, set.pop_share_queue_num))
    }

    /// Whether the group is set to pop from any topic.
    pub fn pops(&self, group: &str) -> bool {
        let table = self.table.read();
        let mut of_group = table.values().filter_map(|groups| groups.get(group));
        of_group.any(|set| set.mode == MessageRequestMode::Pop)
    }

    /// Sets the group's mode on the topic.
    pub fn put(&self, set: SetMessageRequestModeRequestBody) {
        let mut table = self.table.write();
        let groups = table.entry(set.topic.clone()).or_default();
        groups.insert(set.consumer_group.clone(), set);
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`BrokerError::Persist`].
    pub fn save(&self) -> Result<(), BrokerError> {
        let message_request_mode_map = self.table.read().clone();
        self.file.save(&File {
            message_request_mode_map,
        })
    }
}
