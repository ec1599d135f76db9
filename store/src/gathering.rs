//! Appends of one thread that belong together: whoever handles many requests at once wakes the store's threads
//! once for all of them, not for each. A wake-up costs as much as an append.

use std::cell::Cell;
use std::ptr;

use crate::store::Store;

thread_local! {
    /// The store that this thread gathers for, and whether it has appended since.
    static GATHERING: Cell<(*const Store, bool)> = const { Cell::new((ptr::null(), false)) };
}

/// Whether the wake-up is left to the end of what this thread gathers.
pub(crate) fn owes_wake(store: &Store) -> bool {
    GATHERING.with(|cell| {
        let gathers = ptr::eq(cell.get().0, store);
        if gathers {
            cell.set((store, true));
        }
        gathers
    })
}

/// Ends also when the work panics.
struct Gathering<'a> {
    store: &'a Store,
    before: (*const Store, bool),
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        let (_, appended) = GATHERING.replace(self.before);
        if appended {
            self.store.wake_for_appended();
        }
    }
}

pub(crate) fn gather<T>(store: &Store, work: impl FnOnce() -> T) -> T {
    let _gathering = Gathering {
        store,
        before: GATHERING.replace((store, false)),
    };
    work()
}
