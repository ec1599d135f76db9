//! Decides which messages pass: expression languages behind one trait.
//!
//! A filter sees a borrowed message, never the store or a socket. Today there is one language, the
//! tag expression; others join by implementing [`MessageFilter`].

pub mod tag;

pub use tag::TagFilter;

/// A compiled expression: judges messages in two steps, the cheap one first.
pub trait MessageFilter: Send + Sync {
    /// Whether a message with this tags code (as in its ConsumeQueue unit) may pass. False is final.
    fn may_match_tags_code(&self, tags_code: i64) -> bool;

    /// Whether the second step is needed for messages that passed the first.
    fn needs_properties(&self) -> bool {
        false
    }

    /// Whether a message with this properties string passes.
    fn matches_properties(&self, properties: &[u8]) -> bool {
        let _ = properties;
        true
    }
}
