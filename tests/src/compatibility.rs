//! One client with the Java broker and with Sluice: the same scenarios must pass, and what is slower
//! by a hold or a timer has missed a wake-up.

use std::fmt::Write as _;
use std::path::Path;

use crate::cluster::{Cluster, Kind};
use crate::scenarios::{Outcome, assert_passed};

/// A scenario that takes this much longer than with the Java broker ended by a time-out.
const MISSED_WAKE_UP_MILLIS: u64 = 5_000;
/// A scenario that takes this long has waited for a timer somewhere; it is repeated, and the better
/// time counts, so that a stall of Java's is no excuse for one of ours.
const STALLED_MILLIS: u64 = 15_000;
/// Scenarios that end with a sample which both brokers take every ten seconds: the moment they begin decides
/// how long they take.
const SAMPLED: &str = "stats_of_";
/// How often a scenario that is late on Sluice is repeated before it counts as late.
const REPEATS: usize = 2;

/// Runs scenarios (none means all) of one client against a cluster.
pub type Run<'a> = dyn Fn(&Cluster, &[&str]) -> Vec<Outcome> + 'a;

/// One client's results with both brokers.
pub struct Comparison {
    /// The client and its version.
    pub client: String,
    /// With the Java broker.
    pub java: Vec<Outcome>,
    /// With Sluice.
    pub sluice: Vec<Outcome>,
}

impl Comparison {
    /// Runs scenarios (none means all) against fresh clusters of both kinds.
    pub fn of(client: &str, names: &[&str], run: &Run<'_>) -> Self {
        let java = best_of(client, &Cluster::start(Kind::Java), Kind::Java, names, run);
        let cluster = Cluster::start(Kind::Sluice);
        let sluice = best_of(client, &cluster, Kind::Sluice, names, run);
        let mut comparison = Self {
            client: client.to_owned(),
            java,
            sluice,
        };
        for _ in 0..REPEATS {
            let late: Vec<String> = comparison.late().map(|o| o.name.clone()).collect();
            if !late.is_empty() {
                let late: Vec<&str> = late.iter().map(String::as_str).collect();
                keep_better(&mut comparison.sluice, run(&cluster, &late));
            }
        }
        comparison
    }

    /// Panics if a scenario fails on Sluice or is late. One that fails on the Java broker itself is
    /// named, and has no time to compare ours with.
    pub fn assert_alike(&self) {
        for outcome in self.java.iter().filter(|o| o.failure.is_some()) {
            eprintln!(
                "{} fails on the Java broker itself: {outcome:?}",
                self.client
            );
        }
        let names: Vec<&str> = self.java.iter().map(|o| o.name.as_str()).collect();
        assert_passed(&format!("{} on Sluice", self.client), &names, &self.sluice);
        let late: Vec<_> = self.late().collect();
        assert!(
            late.is_empty(),
            "{}: 5 s behind Java: {late:?}",
            self.client
        );
    }

    /// The scenarios that passed, but so much later than with Java that a time-out must have ended
    /// them.
    fn late(&self) -> impl Iterator<Item = &Outcome> {
        self.sluice.iter().filter(|ours| {
            ours.failure.is_none()
                && !ours.name.starts_with(SAMPLED)
                && find(&self.java, &ours.name).is_some_and(|java| {
                    java.failure.is_none() && ours.millis >= java.millis + MISSED_WAKE_UP_MILLIS
                })
        })
    }
}

/// One run, and one more of what failed or stalled: clients stall by themselves now and then, with
/// both brokers alike; a broker's fault comes again.
fn best_of(
    client: &str,
    cluster: &Cluster,
    kind: Kind,
    names: &[&str],
    run: &Run<'_>,
) -> Vec<Outcome> {
    let mut outcomes = run(cluster, names);
    let again: Vec<Outcome> = outcomes
        .iter()
        .filter(|o| o.failure.is_some() || o.millis >= STALLED_MILLIS)
        .cloned()
        .collect();
    if !again.is_empty() {
        eprintln!("{client} on {kind:?}, repeated: {again:?}");
        let again: Vec<&str> = again.iter().map(|o| o.name.as_str()).collect();
        keep_better(&mut outcomes, run(cluster, &again));
    }
    outcomes
}

fn keep_better(outcomes: &mut [Outcome], repeated: Vec<Outcome>) {
    let rank = |o: &Outcome| (o.failure.is_some(), o.millis);
    for again in repeated {
        let known = outcomes.iter_mut().find(|o| o.name == again.name);
        if let Some(known) = known.filter(|known| rank(&again) < rank(known)) {
            *known = again;
        }
    }
}

fn find<'a>(outcomes: &'a [Outcome], name: &str) -> Option<&'a Outcome> {
    outcomes.iter().find(|outcome| outcome.name == name)
}

/// With `SLUICE_WRITE_COMPAT` set, replaces the section `title` of `docs/compatibility.md`.
pub fn write_section(title: &str, comparisons: &[Comparison]) {
    if std::env::var_os("SLUICE_WRITE_COMPAT").is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let page = std::fs::read_to_string(&path).expect("docs/compatibility.md");
    let section = format!("## {title}\n\n{}", table(comparisons));
    std::fs::write(&path, with_section(&page, title, &section)).expect("docs/compatibility.md");
}

fn with_section(page: &str, title: &str, section: &str) -> String {
    let Some(start) = page.find(&format!("## {title}\n")) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    let rest = page[start + 3..]
        .find("\n## ")
        .map(|end| &page[start + 3 + end + 1..]);
    match rest {
        Some(rest) => format!("{}{section}\n{rest}", &page[..start]),
        None => format!("{}{section}", &page[..start]),
    }
}

fn table(comparisons: &[Comparison]) -> String {
    let mut table = String::from("| scenario |");
    for comparison in comparisons {
        let _ = write!(table, " {0} on Java | {0} on Sluice |", comparison.client);
    }
    table.push_str("\n|---|");
    table.push_str(&"---:|---:|".repeat(comparisons.len()));
    table.push('\n');
    let mut names: Vec<&str> = comparisons
        .iter()
        .flat_map(|c| c.java.iter().chain(&c.sluice))
        .map(|o| o.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let _ = write!(table, "| {} |", name.replace('_', " "));
        for comparison in comparisons {
            let _ = write!(
                table,
                " {} | {} |",
                cell(&comparison.java, name),
                cell(&comparison.sluice, name)
            );
        }
        table.push('\n');
    }
    table
}

fn cell(outcomes: &[Outcome], name: &str) -> String {
    match find(outcomes, name) {
        Some(Outcome {
            failure: None,
            millis,
            ..
        }) => millis.to_string(),
        Some(_) => "failed".to_owned(),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_section_is_replaced_where_it_stands_or_added() {
        let page = "# P\n\nintro\n\n## A\n\nold\n\n## B\n\nb\n";
        let replaced = with_section(page, "A", "## A\n\nnew\n");
        assert_eq!(replaced, "# P\n\nintro\n\n## A\n\nnew\n\n## B\n\nb\n");
        let last = with_section(&replaced, "B", "## B\n\nc\n");
        assert_eq!(last, "# P\n\nintro\n\n## A\n\nnew\n\n## B\n\nc\n");
        let added = with_section(&last, "C", "## C\n\nd\n");
        assert!(added.ends_with("c\n\n## C\n\nd\n"), "{added}");
    }
}
