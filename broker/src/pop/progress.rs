//! How far pops and revival were when their offsets were written last, as positions in the log
//! (`popProgress.json`, ours; Java does not look at it).

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config_file::ConfigFile;
use crate::error::BrokerError;

/// Positions in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Positions {
    /// All check points before it are in the stored offsets of their queues.
    pub(crate) popped: i64,
    /// All copies before it are of check points that the stored revive offsets have passed.
    pub(crate) revived: i64,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Progress {
    file: ConfigFile,
    saved: Mutex<Option<Positions>>,
}

impl Progress {
    pub(crate) fn new(file: ConfigFile) -> Progress {
        Progress {
            file,
            saved: Mutex::new(None),
        }
    }

    /// What was written last; nothing before the first start.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub(crate) fn load(&self) -> Result<Option<Positions>, BrokerError> {
        let loaded = self.file.load::<Positions>()?;
        *self.saved.lock() = loaded;
        Ok(loaded)
    }

    /// The position that the file has for pops; 0 without one.
    pub(crate) fn popped(&self) -> i64 {
        self.saved.lock().map_or(0, |saved| saved.popped)
    }

    /// Writes the positions, unless they are there already.
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the old ones stay.
    pub(crate) fn save(&self, revived: i64, popped: i64) -> Result<(), BrokerError> {
        let positions = Positions { popped, revived };
        let mut saved = self.saved.lock();
        if *saved != Some(positions) {
            self.file.save(&positions)?;
            *saved = Some(positions);
        }
        Ok(())
    }
}
