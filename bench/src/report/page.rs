//! One HTML page that needs nothing beside it: no scripts, no fonts, light and dark.

use std::fmt::Write;

/// Numbers in rows.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Names of the columns, units included; the first is not a number.
    pub head: Vec<&'static str>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// For a terminal and for documents.
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|", self.head.join(" | "));
        text += &"---:|".repeat(self.head.len().saturating_sub(1));
        for row in &self.rows {
            write!(text, "\n| {} |", row.join(" | ")).expect("memory takes every write");
        }
        text
    }

    fn html(&self) -> String {
        let cells = |kind: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.map(|cell| format!("<{kind}>{}</{kind}>", escaped(cell)));
            format!("<tr>{}</tr>", cells.collect::<String>())
        };
        let head = cells("th", &mut self.head.iter().copied());
        let rows = self.rows.iter();
        let rows = rows.map(|row| cells("td", &mut row.iter().map(String::as_str)));
        format!(
            "<table><thead>{head}</thead><tbody>{}</tbody></table>",
            rows.collect::<String>()
        )
    }
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// How to read it.
    pub reading: String,
    /// Plots, each one `svg` element.
    pub plots: Vec<String>,
    /// The numbers of the plots.
    pub table: Table,
}

impl Section {
    fn html(&self) -> String {
        let plots = self
            .plots
            .iter()
            .map(|plot| format!("<figure>{plot}</figure>"));
        format!(
            "<section><h2>{}</h2><p>{}</p><div class=\"plots\">{}</div>{}</section>\n",
            escaped(self.title),
            escaped(&self.reading),
            plots.collect::<String>(),
            self.table.html()
        )
    }
}

const STYLE: &str = "\
:root { color-scheme: light dark; --ground: #fff; --ink: #1c1c1c; --soft: #5a5a5a; --grid: #dcdcdc; --n0: #0b5cad; --n1: #b34700; --n2: #3c7a1e; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181b; --ink: #e8e8e8; --soft: #a8a8a8; --grid: #3a3d42; --n0: #6db3f2; --n1: #ff9f5a; --n2: #8fd16a; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p { max-width: 44rem; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; flex: 1 1 24rem; max-width: 30rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; } svg .title { font-size: 14px; font-weight: 600; } svg .label { fill: var(--soft); } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
.grid { stroke: var(--grid); } .axis { stroke: var(--soft); } .beside { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 3 3; } .bar { fill: var(--n0); }
.line { fill: none; stroke-width: 2; } .mark { fill: var(--ground); stroke-width: 2; }
.n0 { stroke: var(--n0); } .n1 { stroke: var(--n1); } .n2 { stroke: var(--n2); } .line.n1 { stroke-dasharray: 7 4; } .line.n2 { stroke-dasharray: 2 3; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; margin: 0.5rem 0; display: block; overflow-x: auto; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--grid); text-align: right; } th:first-child, td:first-child { text-align: left; }
";

/// The whole page: the machine as a table, then the sections.
pub fn page(title: &str, machine: &Table, sections: &[Section]) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><h1>{title}</h1>\n{}\n",
        machine.html()
    );
    page.extend(sections.iter().map(Section::html));
    page + "</body></html>\n"
}

/// Text that is markup neither in an element nor in an attribute.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_in_markdown_and_in_html() {
        let table = Table {
            head: vec!["load", "messages/s"],
            rows: vec![vec!["a & b".to_owned(), "7".to_owned()]],
        };
        assert_eq!(
            table.markdown(),
            "| load | messages/s |\n|---|---:|\n| a & b | 7 |"
        );
        assert!(table.html().contains("<td>a &amp; b</td><td>7</td>"));
    }
}
