//! Allocation strategies of plugins.

use crate::binding::Bound;
use crate::error::CallError;
use crate::instance::MessageQueue;

impl Bound {
    /// Indexes into `queues` that belong to `current`.
    ///
    /// # Errors
    /// It failed, refused, is out of service for now, or answered a queue that there is not; the
    /// caller falls back to the average strategy.
    pub fn allocate(
        &self,
        group: &str,
        current: &str,
        queues: Vec<MessageQueue>,
        clients: Vec<String>,
    ) -> Result<Vec<usize>, String> {
        let versions = self.versions();
        let guest = versions
            .current
            .as_ref()
            .ok_or("the plugin could not be started")?;
        if !self.admit() {
            return Err(format!(
                "{} failed too often and is not asked for now",
                guest.label
            ));
        }
        let count = queues.len();
        let asked = guest.allocate(group, current, queues, clients);
        if let Err(error @ CallError::NoRoom) = &asked {
            return Err(error.to_string());
        }
        let answer = asked
            .map_err(|error| error.to_string())
            .and_then(|answer| answer)
            .and_then(|chosen| checked(chosen, count));
        self.note(answer.as_ref().err().map(String::as_str));
        answer
    }
}

fn checked(chosen: Vec<u32>, count: usize) -> Result<Vec<usize>, String> {
    let mut seen = vec![false; count];
    let mut queues = Vec::with_capacity(chosen.len());
    for index in chosen {
        let index = index as usize;
        match seen.get_mut(index) {
            None => return Err(format!("it chose queue {index} of {count}")),
            Some(true) => return Err(format!("it chose queue {index} twice")),
            Some(seen) => *seen = true,
        }
        queues.push(index);
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queues_that_there_are_and_each_once() {
        assert_eq!(checked(vec![2, 0], 3), Ok(vec![2, 0]));
        assert!(checked(vec![3], 3).unwrap_err().contains("queue 3 of 3"));
        assert!(checked(vec![1, 1], 3).unwrap_err().contains("twice"));
    }
}
