//! Appends of one thread that belong together: whoever handles many requests at once writes what they append in
//! one call, and sees to it once for all of them that they are dispatched or flushed. A system call, or waking a
//! thread, for each would cost as much as the append.

use std::cell::Cell;
use std::ptr;

use crate::error::AppendError;
use crate::store::Store;

/// What a thread gathers.
#[derive(Clone, Copy)]
struct Gathered {
    /// For which store; null while it gathers nothing.
    store: *const Store,
    /// It has appended something.
    appended: bool,
    /// Behind the last record that is perhaps not written yet.
    end: i64,
}

const NOTHING: Gathered = Gathered {
    store: ptr::null(),
    appended: false,
    end: 0,
};

thread_local! {
    static GATHERED: Cell<Gathered> = const { Cell::new(NOTHING) };
}

/// Whether this thread gathers for the store.
pub(crate) fn is_of(store: &Store) -> bool {
    ptr::eq(GATHERED.get().store, store)
}

/// Whether the wake-up for an append is left to the end of what this thread gathers.
pub(crate) fn owes_wake(store: &Store) -> bool {
    let gathered = GATHERED.get();
    let gathers = ptr::eq(gathered.store, store);
    if gathers {
        GATHERED.set(Gathered {
            appended: true,
            ..gathered
        });
    }
    gathers
}

/// What ends here is written at the end of what this thread gathers.
pub(crate) fn note_end(end: i64) {
    let gathered = GATHERED.get();
    GATHERED.set(Gathered { end, ..gathered });
}

/// Ends also when the work panics.
struct Gathering<'a> {
    store: &'a Store,
    before: Gathered,
}

impl Gathering<'_> {
    fn end(&self) -> Result<(), AppendError> {
        let gathered = GATHERED.replace(self.before);
        match gathered.appended {
            true => self.store.settle(gathered.end),
            false => Ok(()),
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.end();
        }
    }
}

pub(crate) fn gather(store: &Store, work: impl FnOnce()) -> Result<(), AppendError> {
    let gathered = Gathered { store, ..NOTHING };
    let gathering = Gathering {
        store,
        before: GATHERED.replace(gathered),
    };
    work();
    gathering.end()
}
