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
    /// Reads the file. Groups that a Java broker had pop are named: here they pull.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(file: ConfigFile) -> Result<RequestModes, BrokerError> {
        let table = file
            .load::<File>()?
            .unwrap_or_default()
            .message_request_mode_map;
        let pops = |set: &&SetMessageRequestModeRequestBody| set.mode == MessageRequestMode::Pop;
        for set in table.values().flat_map(BTreeMap::values).filter(pops) {
            tracing::warn!(
                topic = set.topic,
                group = set.consumer_group,
                "the group is set to POP, which is not served by this broker yet: it pulls"
            );
        }
        let table = RwLock::new(table);
        Ok(RequestModes { table, file })
    }

    /// What is set for the group on the topic, if anything.
    pub fn get(&self, topic: &str, group: &str) -> Option<MessageRequestMode> {
        let table = self.table.read();
        table
            .get(topic)
            .and_then(|groups| groups.get(group))
            .map(|set| set.mode)
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
