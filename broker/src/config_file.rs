//! Files under `config/`: JSON in fastjson's dialect, replaced atomically.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_protocol::fastjson;
use sluice_store::FileSystem;

use crate::error::BrokerError;

/// Tells a file's text from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    size: usize,
    crc: i32,
}

impl Mark {
    /// The mark of a text.
    pub fn of(text: &[u8]) -> Mark {
        Mark {
            size: text.len(),
            crc: sluice_protocol::message::crc32(text),
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:08x}", self.size, self.crc)
    }
}

/// Makes what a start finds under `config/` what stays: a kill can come between the renaming of a file and the
/// sync that makes it last, and a power loss would then bring back what was there before it.
///
/// # Errors
/// [`BrokerError::Persist`].
pub(crate) fn settle(store_root: &Path, files: &dyn FileSystem) -> Result<(), BrokerError> {
    let path = store_root.join("config");
    if !files.exists(&path) {
        return Ok(());
    }
    files
        .sync_dir(&path)
        .map_err(|source| BrokerError::Persist { path, source })
}

/// One file under `config/`.
#[derive(Clone)]
pub struct ConfigFile {
    path: PathBuf,
    files: Arc<dyn FileSystem>,
    /// Held while it is replaced: two who write at once would take the new text from each other,
    /// as a burst of changes and the end of the broker can.
    replacing: Arc<Mutex<()>>,
}

impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

impl ConfigFile {
    /// The file `name` in the store directory's `config/`.
    pub fn new(store_root: &Path, name: &str, files: Arc<dyn FileSystem>) -> Self {
        ConfigFile {
            path: store_root.join("config").join(name),
            files,
            replacing: Arc::default(),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; the `.bak` beside it serves when it is missing or broken. `None` when there is
    /// neither.
    ///
    /// # Errors
    /// Both are broken: an empty table in their place would lose what they say.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, BrokerError> {
        Ok(self.load_marked()?.map(|(value, _)| value))
    }

    /// Reads it as [`ConfigFile::load`] does; the mark tells its text from any other.
    pub fn load_marked<T: DeserializeOwned>(&self) -> Result<Option<(T, Mark)>, BrokerError> {
        match self.read(&self.path) {
            Ok(Some(value)) => Ok(Some(value)),
            main => self.load_backup(main.err()),
        }
    }

    fn load_backup<T: DeserializeOwned>(
        &self,
        main: Option<BrokerError>,
    ) -> Result<Option<(T, Mark)>, BrokerError> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(".bak");
        let backup = self.read(Path::new(&backup))?;
        match (backup, main) {
            (Some(value), Some(error)) => {
                tracing::warn!(%error, "its backup is used instead");
                Ok(Some(value))
            }
            (None, Some(error)) => Err(error),
            (backup, None) => Ok(backup),
        }
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<(T, Mark)>, BrokerError> {
        let wrong = |what: String| BrokerError::ConfigFile {
            path: path.to_owned(),
            what,
        };
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let value = fastjson::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(Some((value, Mark::of(&bytes))))
    }

    /// Replaces it; the previous content becomes the `.bak`.
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the old content is there, or the new one, which a power loss may take back.
    pub fn save<T: Serialize>(&self, value: &T) -> Result<(), BrokerError> {
        self.save_text(&self.text(value)?)
    }

    /// The text that [`ConfigFile::save`] would write.
    ///
    /// # Errors
    /// The value has no text.
    pub fn text<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, BrokerError> {
        fastjson::to_vec_pretty(value).map_err(|error| BrokerError::ConfigFile {
            path: self.path.clone(),
            what: error.to_string(),
        })
    }

    /// Replaces it with a text made by [`ConfigFile::text`].
    ///
    /// # Errors
    /// [`BrokerError::Persist`]; the old content is there, or the new one, which a power loss may take back.
    pub fn save_text(&self, text: &[u8]) -> Result<(), BrokerError> {
        let _one = self.replacing.lock();
        self.files
            .replace(&self.path, text)
            .map_err(|source| BrokerError::Persist {
                path: self.path.clone(),
                source,
            })
    }
}
