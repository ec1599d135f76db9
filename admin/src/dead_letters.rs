//! Dead letters: `list`, `show`, `resend`, `drop`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::args::{DropDlq, Letters, ListDlq, Narrow, OneDlq, ResendDlq};
use crate::connection::{Connection, Shown, escaped};
use crate::content::Content;
use crate::error::AdminError;
use crate::table::{Table, date_of};

/// Letters of one request.
const PAGE: usize = 1000;

/// A dead letter as a broker tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    id: String,
    group: String,
    died_ms: i64,
    reason: Option<String>,
    topic: Option<String>,
    origin_queue_id: Option<i32>,
    origin_offset: Option<i64>,
    origin_id: Option<String>,
    unique_key: Option<String>,
    keys: Option<String>,
    reconsume_times: i32,
    born_ms: i64,
    born_host: String,
    body_size: usize,
    dropped_ms: Option<i64>,
    resent: Option<Resent>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resent {
    times: u32,
    at_ms: i64,
    topic: String,
    id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    /// Each a [`Letter`]; shown as JSON as the broker tells it.
    letters: Vec<serde_json::Value>,
    next: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfGroup {
    group: String,
    letters: i64,
    dropped: usize,
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
}

pub(crate) fn list(broker: &Connection, wanted: &ListDlq) -> Result<Shown, AdminError> {
    match &wanted.group {
        Some(group) => letters(broker, group, wanted),
        None => groups(broker, wanted),
    }
}

fn groups(broker: &Connection, wanted: &ListDlq) -> Result<Shown, AdminError> {
    let path = format!("/v1/dead-letters/groups?count={}", wanted.count);
    let answer = broker.get(&path)?;
    let all: Vec<OfGroup> = answer.read()?;
    let headings = ["GROUP", ">LETTERS", ">DROPPED", "OLDEST", "NEWEST"];
    let mut table = Table::of(&headings);
    for group in all {
        table.row([
            group.group,
            group.letters.to_string(),
            group.dropped.to_string(),
            group.oldest_ms.map(date_of).unwrap_or_default(),
            group.newest_ms.map(date_of).unwrap_or_default(),
        ]);
    }
    let text = match table.is_empty() {
        true => "No group has dead letters.".to_owned(),
        false => table.to_string(),
    };
    Ok(Shown {
        json: answer.text,
        text,
    })
}

fn letters(broker: &Connection, group: &str, wanted: &ListDlq) -> Result<Shown, AdminError> {
    let mut letters: Vec<serde_json::Value> = Vec::new();
    let mut next = Some(wanted.start);
    // A part may be empty, when others' letters lie between.
    while let Some(start) = next.filter(|_| letters.len() < wanted.count) {
        let left = wanted.count - letters.len();
        let page: Listed = broker.get(&query(group, wanted, start, left))?.read()?;
        letters.extend(page.letters);
        next = page.next;
    }
    let listed = Listed { letters, next };
    let headings = ["ID", "DIED", "TOPIC", "KEYS", ">TRIES", "WHY", "SINCE THEN"];
    let mut table = Table::of(&headings);
    for letter in &listed.letters {
        let letter = Letter::deserialize(letter).map_err(unexpected)?;
        let since = since(&letter);
        table.row([
            letter.id,
            date_of(letter.died_ms),
            letter.topic.unwrap_or_default(),
            letter.keys.or(letter.unique_key).unwrap_or_default(),
            letter.reconsume_times.to_string(),
            letter.reason.unwrap_or_default(),
            since,
        ]);
    }
    let mut text = match table.is_empty() {
        true => "No dead letters.\n".to_owned(),
        false => table.to_string(),
    };
    if let Some(next) = listed.next {
        let _ = writeln!(text, "There may be more: --start {next}");
    }
    Ok(Shown {
        json: json(&listed)?,
        text,
    })
}

fn query(group: &str, wanted: &ListDlq, start: i64, count: usize) -> String {
    let mut path = format!(
        "/v1/dead-letters?group={}&count={count}&start={start}&all={}",
        escaped(group),
        wanted.all
    );
    let Narrow { from, to, key } = &wanted.narrow;
    for (name, time) in [("fromMs", from), ("toMs", to)] {
        if let Some(time) = time {
            let _ = write!(path, "&{name}={time}");
        }
    }
    if let Some(key) = key {
        let _ = write!(path, "&key={}", escaped(key));
    }
    path
}

/// What an operator has done with it.
fn since(letter: &Letter) -> String {
    match (&letter.dropped_ms, &letter.resent) {
        (Some(at), _) => format!("dropped {}", date_of(*at)),
        (None, Some(resent)) if resent.id.is_some() => format!("resent {}", date_of(resent.at_ms)),
        (None, Some(_)) => "perhaps resent".to_owned(),
        (None, None) => String::new(),
    }
}

pub(crate) fn show(broker: &Connection, wanted: &OneDlq) -> Result<Shown, AdminError> {
    let answer = broker.get(&format!("/v1/dead-letters/{}", escaped(&wanted.id)))?;
    let letter: Letter = answer.read()?;
    let content: Content = answer.read()?;
    Ok(Shown {
        text: format!(
            "{}{}",
            describe(&letter),
            content.describe(letter.body_size)
        ),
        json: answer.text,
    })
}

/// Writing to a String can't fail.
fn describe(letter: &Letter) -> String {
    let mut text = String::new();
    let reason = letter.reason.as_deref();
    let _ = writeln!(text, "dead letter {} of group {}", letter.id, letter.group);
    let _ = writeln!(
        text,
        "died at {}, tried {}: {}",
        date_of(letter.died_ms),
        times(i64::from(letter.reconsume_times)),
        reason.unwrap_or("nothing says why")
    );
    let known = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
    let _ = writeln!(
        text,
        "first in {} queue {} offset {}, as {}",
        letter.topic.as_deref().unwrap_or("?"),
        known(letter.origin_queue_id.map(i64::from)),
        known(letter.origin_offset),
        letter.origin_id.as_deref().unwrap_or("?")
    );
    let _ = writeln!(
        text,
        "sent by {} at {}, unique key {}",
        letter.born_host,
        date_of(letter.born_ms),
        letter.unique_key.as_deref().unwrap_or("-")
    );
    if let Some(at) = letter.dropped_ms {
        let _ = writeln!(text, "dropped at {}", date_of(at));
    }
    if let Some(resent) = &letter.resent {
        let as_what = match &resent.id {
            Some(id) => format!("as {id}"),
            None => "if the broker came to it before it ended".to_owned(),
        };
        let _ = writeln!(
            text,
            "sent again {}, last at {} to {} {as_what}",
            times(i64::from(resent.times)),
            date_of(resent.at_ms),
            resent.topic
        );
    }
    text
}

fn times(count: i64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Letters in a request's body.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Which {
    Ids { ids: Vec<String> },
    Of { of: Of },
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    group: String,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    key: Option<String>,
    start: Option<i64>,
    end: Option<i64>,
    count: usize,
    all: bool,
}

impl Which {
    fn of(letters: &Letters, all: bool) -> Which {
        match &letters.group {
            None => Which::Ids {
                ids: letters.ids.clone(),
            },
            Some(group) => Which::Of {
                of: Of {
                    group: group.clone(),
                    from_ms: letters.narrow.from,
                    to_ms: letters.narrow.to,
                    key: letters.narrow.key.clone(),
                    start: None,
                    end: None,
                    count: PAGE,
                    all,
                },
            },
        }
    }

    /// The rest of those that were there at first.
    fn rest(mut self, next: i64, end: i64) -> Which {
        if let Which::Of { of } = &mut self {
            (of.start, of.end) = (Some(next), Some(end));
        }
        self
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resend<'a> {
    #[serde(flatten)]
    which: Which,
    to_topic: bool,
    set: BTreeMap<&'a str, &'a str>,
    unset: &'a [String],
    again: bool,
    all: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Resending {
    resent: Vec<Sent>,
    left: Vec<Left>,
    #[serde(skip_serializing)]
    next: Option<i64>,
    #[serde(skip_serializing)]
    end: i64,
    /// Why the rest was not asked for.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    id: String,
    topic: String,
    queue_id: i32,
    new_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Left {
    id: String,
    why: String,
}

/// Letters that come while others are sent again are not among them.
pub(crate) fn resend(
    broker: &Connection,
    wanted: &ResendDlq,
) -> Result<(Shown, Outcome), AdminError> {
    let set = wanted.set.iter();
    let mut request = Resend {
        which: Which::of(&wanted.letters, wanted.all),
        to_topic: wanted.topic,
        set: set.map(|(name, value)| (&**name, &**value)).collect(),
        unset: &wanted.unset,
        again: wanted.again,
        all: wanted.all,
    };
    let ask = |request: &Resend<'_>| -> Result<Resending, AdminError> {
        broker.post("/v1/dead-letters/resend", request)?.read()
    };
    let mut done = ask(&request)?;
    while let Some(next) = done.next {
        request.which = request.which.rest(next, done.end);
        // What was sent is sent: a broker that fails now must not hide it.
        let page = match ask(&request) {
            Ok(page) => page,
            Err(error) => {
                done.stopped = Some(error.to_string());
                break;
            }
        };
        done.resent.extend(page.resent);
        done.left.extend(page.left);
        (done.next, done.end) = (page.next, page.end);
    }
    let mut text = String::new();
    for sent in &done.resent {
        let _ = writeln!(text, "{} to {} as {}", sent.id, sent.topic, sent.new_id);
    }
    for left in &done.left {
        let _ = writeln!(text, "{} not sent: {}", left.id, left.why);
    }
    let _ = writeln!(
        text,
        "{} sent again, {} not",
        done.resent.len(),
        done.left.len()
    );
    if let Some(why) = &done.stopped {
        let _ = writeln!(text, "stopped before the rest: {why}");
    }
    let outcome = match done.left.is_empty() && done.stopped.is_none() {
        true => Outcome::Well,
        false => Outcome::Wrong,
    };
    let shown = Shown {
        json: json(&done)?,
        text,
    };
    Ok((shown, outcome))
}

#[derive(Serialize)]
struct Drop {
    #[serde(flatten)]
    which: Which,
    undo: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Dropped {
    changed: Vec<String>,
    #[serde(skip_serializing)]
    next: Option<i64>,
    #[serde(skip_serializing)]
    end: i64,
}

pub(crate) fn drop_letters(broker: &Connection, wanted: &DropDlq) -> Result<Shown, AdminError> {
    let mut request = Drop {
        which: Which::of(&wanted.letters, wanted.undo),
        undo: wanted.undo,
    };
    let mut done = Dropped::default();
    loop {
        let answer = broker.post("/v1/dead-letters/drop", &request)?;
        let page: Dropped = answer.read()?;
        done.changed.extend(page.changed);
        let Some(next) = page.next else { break };
        request.which = request.which.rest(next, page.end);
    }
    let what = match wanted.undo {
        true => "shown again",
        false => "dropped: no longer shown, in the log until it expires",
    };
    Ok(Shown {
        text: format!("{} {what}", done.changed.len()),
        json: json(&done)?,
    })
}

fn json(value: &impl Serialize) -> Result<String, AdminError> {
    serde_json::to_string(value).map_err(unexpected)
}

fn unexpected(error: serde_json::Error) -> AdminError {
    AdminError::Command(format!("a dead letter is not understood: {error}"))
}
