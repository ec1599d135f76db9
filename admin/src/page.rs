//! What a command says: lines and tables for people, the same as JSON for programs.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::Outcome;
use crate::args::{Both, Change, Look, Servers, Watch};
use crate::cluster::{Cluster, Missing};
use crate::error::AdminError;
use crate::table::Table;
use crate::visible::visible;

enum Part {
    Text(String),
    Table(Table),
}

/// Lines and tables, and the same as JSON.
pub(crate) struct Page {
    parts: Vec<Part>,
    json: Value,
    outcome: Outcome,
}

impl Page {
    /// A page that says `json` to programs; people have still to be told.
    ///
    /// # Panics
    /// Never: what is shown here are plain structs, which serialise.
    pub(crate) fn of(json: &impl Serialize) -> Page {
        Page {
            parts: Vec::new(),
            json: serde_json::to_value(json).expect("plain data serialises"),
            outcome: Outcome::Well,
        }
    }

    pub(crate) fn line(mut self, text: impl Display) -> Page {
        self.parts.push(Part::Text(text.to_string()));
        self
    }

    /// An empty table is left out.
    pub(crate) fn table(mut self, table: Table) -> Page {
        if !table.is_empty() {
            self.parts.push(Part::Table(table));
        }
        self
    }

    /// What programs are told.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// All of another page behind this one; this one's JSON.
    pub(crate) fn and(mut self, other: Page) -> Page {
        self.parts.extend(other.parts);
        self
    }

    /// It ends with 1.
    pub(crate) fn wrong(mut self) -> Page {
        self.outcome = Outcome::Wrong;
        self
    }

    /// How the command ends that shows it.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// A field more for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Page {
        if let (Value::Object(fields), Ok(value)) = (&mut self.json, serde_json::to_value(value)) {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    /// Who did not answer is said in both.
    fn with_missing(self, missing: &[Missing]) -> Page {
        let mut page = self.with("missing", missing);
        for one in missing {
            let name = match one.server == one.address {
                true => one.address.clone(),
                false => format!("{} ({})", one.server, one.address),
            };
            let what = if one.silent { "MISSING" } else { "NOT DONE" };
            page = page.line(format!("{what}: {name}: {}", one.why)).wrong();
        }
        page
    }

    /// As it is printed; a line has `width` characters at most.
    fn text(&self, as_json: bool, width: Option<usize>) -> String {
        if as_json {
            return self.json.to_string();
        }
        let mut text = String::new();
        let mut after_table = false;
        for part in &self.parts {
            let (shown, is_table) = match part {
                Part::Text(shown) => (format!("{}\n", visible(shown.trim_end())), false),
                Part::Table(table) => (table.fitted(width), true),
            };
            if !text.is_empty() && (is_table || after_table) {
                text.push('\n');
            }
            text.push_str(&shown);
            after_table = is_table;
        }
        text
    }
}

/// Columns and lines of the terminal on standard output, if it is one.
fn terminal() -> Option<(usize, usize)> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Shows a page once, or again and again.
pub(crate) async fn show(
    json: bool,
    watch: &Watch,
    out: &mut dyn Write,
    mut ask: impl AsyncFnMut() -> Result<Page, AdminError>,
) -> Result<Outcome, AdminError> {
    let Some(every) = watch.every else {
        let page = ask().await?;
        let width = terminal().map(|(columns, _)| columns);
        write!(out, "{}", ended(page.text(json, width)))?;
        return Ok(page.outcome());
    };
    let mut outcome = Outcome::Well;
    let mut left = watch.times;
    loop {
        let text = tokio::select! {
            asked = ask() => match asked {
                Ok(page) => {
                    outcome = page.outcome();
                    page.text(json, terminal().map(|(columns, _)| columns))
                }
                Err(error) => {
                    outcome = Outcome::Wrong;
                    format!("{}\n", visible(&error.to_string()))
                }
            },
            _ = tokio::signal::ctrl_c() => return Ok(outcome),
        };
        redraw(out, &text)?;
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            return Ok(outcome);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(every)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(outcome),
        }
    }
}

/// On a terminal over what stood there, and no more than fits; elsewhere behind it.
fn redraw(out: &mut dyn Write, text: &str) -> Result<(), AdminError> {
    match terminal() {
        None => writeln!(out, "{}", text.trim_end())?,
        Some((_, rows)) => {
            let lines: Vec<&str> = text.lines().collect();
            let fits = rows.saturating_sub(1);
            write!(out, "\x1b[H\x1b[2J")?;
            for line in lines.iter().take(fits) {
                writeln!(out, "{line}")?;
            }
            if lines.len() > fits {
                write!(out, "... {} more lines", lines.len() - fits)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Asks a cluster for a page, and has it say who is missing.
pub(crate) async fn seen<T>(
    cluster: &Cluster,
    of: &T,
    ask: &mut impl AsyncFnMut(&Cluster, &T) -> Result<Page, AdminError>,
) -> Result<Page, AdminError> {
    let page = ask(cluster, of).await?;
    Ok(page.with_missing(&cluster.take_missing()))
}

impl<T: clap::Args> Look<T> {
    /// Asks, and prints as it was wanted.
    pub(crate) async fn show(
        &self,
        out: &mut dyn Write,
        mut ask: impl AsyncFnMut(&Cluster, &T) -> Result<Page, AdminError>,
    ) -> Result<Outcome, AdminError> {
        let cluster = Cluster::of(&self.servers)?;
        show(self.servers.json, &self.watch, out, async || {
            seen(&cluster, &self.of, &mut ask).await
        })
        .await
    }
}

impl<T: clap::Args> Change<T> {
    /// Does it, and prints what was done.
    pub(crate) async fn carry_out(
        &self,
        out: &mut dyn Write,
        mut ask: impl AsyncFnMut(&Cluster, &T) -> Result<Page, AdminError>,
    ) -> Result<Outcome, AdminError> {
        let cluster = Cluster::of(&self.servers)?;
        show(self.servers.json, &Watch::default(), out, async || {
            seen(&cluster, &self.of, &mut ask).await
        })
        .await
    }
}

impl<T: clap::Args> Both<T> {
    /// The options of the cluster's side.
    pub(crate) fn servers(&self) -> Servers {
        Servers {
            namesrv_addr: self.sides.namesrv_addr.clone(),
            timeout: self.sides.timeout,
            json: self.sides.json,
        }
    }
}

/// Asks on the terminal whether to go on. Where nobody can be asked, `--yes` is wanted.
pub(crate) fn confirmed(sure: bool, question: &str) -> Result<bool, AdminError> {
    if sure {
        return Ok(true);
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(AdminError::Command(format!(
            "{question} Nobody can be asked here: say --yes"
        )));
    }
    eprint!("{} [y/N] ", visible(question));
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page() -> Page {
        let mut table = Table::of(&["TOPIC", ">QUEUES"]);
        table.row(["orders".to_owned(), "8".to_owned()]);
        Page::of(&json!({"topics": 1}))
            .line("one topic")
            .table(table)
            .line("end")
    }

    #[test]
    fn tables_stand_apart_from_lines() {
        let expected = "one topic\n\nTOPIC   QUEUES\norders       8\n\nend\n";
        assert_eq!(page().text(false, None), expected);
        assert_eq!(page().text(true, None), r#"{"topics":1}"#);
    }

    #[test]
    fn no_line_steers_the_terminal() {
        let page = Page::of(&json!(null)).line("body:\n\x1b[2Jgone");
        assert_eq!(page.text(false, None), "body:\n\\u{1b}[2Jgone\n");
    }

    #[tokio::test]
    async fn who_is_watched_is_shown_so_many_times() {
        let watch = Watch {
            every: Some(1),
            times: Some(2),
        };
        let mut out = Vec::new();
        tokio::time::pause();
        let done = show(true, &watch, &mut out, async || Ok(page())).await;
        assert_eq!(done.unwrap(), Outcome::Well);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"topics\":1}\n".repeat(2)
        );
    }
}
