//! Which cores a thread may run on, and the processes and threads that it starts from then on.

use std::io;

/// Cores that were given back when this is dropped.
#[derive(Debug)]
pub struct Pinned {
    before: Vec<usize>,
}

impl Pinned {
    /// Only these from now on.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn to(cores: &[usize]) -> io::Result<Pinned> {
        let before = allowed()?;
        pin(cores)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // They were allowed before.
        let _ = pin(&self.before);
    }
}

/// The cores that this thread may run on.
///
/// # Errors
/// The system does not say.
pub fn allowed() -> io::Result<Vec<usize>> {
    let mut set = empty();
    // SAFETY: the set lives through the call, and the size is its own.
    let told = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if told != 0 {
        return Err(io::Error::last_os_error());
    }
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: every number is below the size of a set.
    Ok(all
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = empty();
    for core in cores
        .iter()
        .filter(|core| **core < libc::CPU_SETSIZE as usize)
    {
        // SAFETY: the number is below the size of a set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: the set lives through the call, and the size is its own.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: a set is plain integers; zeroes are the empty one.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_until_it_is_not() {
        let before = allowed().unwrap();
        let pinned = Pinned::to(&before[..1]).unwrap();
        assert_eq!(allowed().unwrap(), before[..1]);
        drop(pinned);
        assert_eq!(allowed().unwrap(), before);
    }
}
