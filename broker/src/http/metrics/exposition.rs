//! The Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

/// What kind of number a family has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
}

/// A page, written family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    /// Labels that each sample of Java's families carries.
    java_labels: String,
}

impl Exposition {
    /// An empty page; these labels go with each sample of Java's families.
    pub(super) fn new(java_labels: &[(&str, &str)]) -> Exposition {
        Exposition {
            text: String::new(),
            java_labels: labels("", java_labels),
        }
    }

    /// A family under Java's name.
    pub(super) fn java(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        let common = self.java_labels.clone();
        self.family(name.to_owned(), common, kind, help)
    }

    /// A family of our own, named without the `sluice_` before it.
    pub(super) fn own(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        self.family(format!("sluice_{name}"), String::new(), kind, help)
    }

    fn family(&mut self, name: String, common: String, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String can't fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            name,
            common,
            text: &mut self.text,
        }
    }

    /// All that was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// One family, to which samples are added.
pub(super) struct Family<'a> {
    name: String,
    common: String,
    text: &'a mut String,
}

impl Family<'_> {
    /// A sample.
    pub(super) fn sample(&mut self, of: &[(&str, &str)], value: impl Display) {
        let labels = labels(&self.common, of);
        self.line("", &labels, value);
    }

    /// The samples of a histogram: counts up to each bound and beyond the last, and the sum of what was
    /// counted.
    pub(super) fn histogram(
        &mut self,
        of: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: impl Display,
    ) {
        let common = labels(&self.common, of);
        let bounds = bounds.iter().map(|bound| bound_text(*bound));
        let mut so_far = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            so_far += count;
            let bucket = labels(&common, &[("le", &bound)]);
            self.line("_bucket", &bucket, so_far);
        }
        self.line("_sum", &common, sum);
        self.line("_count", &common, so_far);
    }

    fn line(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let name = &self.name;
        let _ = match labels {
            "" => writeln!(self.text, "{name}{suffix} {value}"),
            labels => writeln!(self.text, "{name}{suffix}{{{labels}}} {value}"),
        };
    }
}

/// Labels behind others, as they stand between the braces.
fn labels(common: &str, more: &[(&str, &str)]) -> String {
    let mut all = common.to_owned();
    for (name, value) in more {
        if !all.is_empty() {
            all.push(',');
        }
        let _ = write!(all, "{name}=\"{}\"", escaped(value));
    }
    all
}

/// Java writes whole numbers as `1024.0`.
fn bound_text(bound: f64) -> String {
    match bound.fract() == 0.0 {
        true => format!("{bound:.1}"),
        false => bound.to_string(),
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_read_as_prometheus_wants_them() {
        let mut page = Exposition::new(&[("cluster", "c\"1")]);
        let mut family = page.java("rocketmq_topic_number", Kind::Gauge, "Topics.");
        family.sample(&[], 3);
        family.sample(&[("topic", "a\\b\nc")], 0.5);
        page.own("up", Kind::Counter, "Ups.").sample(&[], 1);
        page.java("rocketmq_message_size", Kind::Histogram, "Sizes.")
            .histogram(&[("topic", "t")], &[1024.0, 4096.0], &[2, 0, 1], 9000);
        let expected = [
            "# HELP rocketmq_topic_number Topics.",
            "# TYPE rocketmq_topic_number gauge",
            r#"rocketmq_topic_number{cluster="c\"1"} 3"#,
            r#"rocketmq_topic_number{cluster="c\"1",topic="a\\b\nc"} 0.5"#,
            "# HELP sluice_up Ups.",
            "# TYPE sluice_up counter",
            "sluice_up 1",
            "# HELP rocketmq_message_size Sizes.",
            "# TYPE rocketmq_message_size histogram",
            r#"rocketmq_message_size_bucket{cluster="c\"1",topic="t",le="1024.0"} 2"#,
            r#"rocketmq_message_size_bucket{cluster="c\"1",topic="t",le="4096.0"} 2"#,
            r#"rocketmq_message_size_bucket{cluster="c\"1",topic="t",le="+Inf"} 3"#,
            r#"rocketmq_message_size_sum{cluster="c\"1",topic="t"} 9000"#,
            r#"rocketmq_message_size_count{cluster="c\"1",topic="t"} 3"#,
        ];
        assert_eq!(page.into_text().lines().collect::<Vec<_>>(), expected);
    }
}
