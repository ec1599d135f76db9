//! Dead letters, JSON over HTTP: looked at, sent again and dropped by an operator.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sluice_protocol::message::Record;

use super::content::Content;
use super::plugins::Refused;
use super::{Broke, Route, aside};
use crate::Broker;
use crate::dead_letters::{AT_ONCE_MAX, Letter, OfGroup, Outcome, Page, Resending, Selection};

/// Letters or groups listed unless said otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;

pub(super) const ROUTES: [Route; 5] = [
    ("/v1/dead-letters", || get(list)),
    ("/v1/dead-letters/groups", || get(groups)),
    ("/v1/dead-letters/resend", || post(resend)),
    ("/v1/dead-letters/drop", || post(drop_letters)),
    ("/v1/dead-letters/{id}", || get(show)),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: String,
    count: Option<usize>,
}

async fn groups(
    State(broker): Broke,
    Query(wanted): Query<After>,
) -> Result<Json<Vec<OfGroup>>, Refused> {
    aside(broker, move |broker| {
        let count = wanted.count.unwrap_or(LISTED).min(LISTED_MAX);
        Ok(broker.groups_with_letters(&wanted.after, count))
    })
    .await
}

/// Letters of a group, as a query or in a body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    group: String,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    key: Option<String>,
    start: Option<i64>,
    end: Option<i64>,
    count: Option<usize>,
    #[serde(default)]
    all: bool,
}

impl Wanted {
    fn selection(self) -> Selection {
        Selection {
            group: self.group,
            from_ms: self.from_ms.unwrap_or(0),
            to_ms: self.to_ms.unwrap_or(i64::MAX),
            key: self.key,
            start: self.start.unwrap_or(0),
            end: self.end.unwrap_or(i64::MAX),
            count: self.count.unwrap_or(LISTED).min(LISTED_MAX),
            all: self.all,
        }
    }
}

/// Letters, and where the rest begins.
#[derive(Serialize)]
struct Listed {
    letters: Vec<Letter>,
    next: Option<i64>,
    /// Where the last part ends: given with the next part, no letter that comes meanwhile is in it.
    end: i64,
}

async fn list(State(broker): Broke, Query(wanted): Query<Wanted>) -> Result<Json<Listed>, Refused> {
    aside(broker, move |broker| {
        let page = broker.letters(&wanted.selection())?;
        let letter = |bytes: &Bytes| broker.letter(&Record::parse(bytes).ok()?);
        Ok(Listed {
            letters: page.letters.iter().filter_map(letter).collect(),
            next: page.next,
            end: page.end,
        })
    })
    .await
}

/// A letter, with what its message says.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: Letter,
    #[serde(flatten)]
    content: Content,
}

async fn show(State(broker): Broke, Path(id): Path<String>) -> Result<Json<Shown>, Refused> {
    aside(broker, move |broker| {
        let bytes = found(broker, &id)?;
        let shown = Record::parse(&bytes).ok().and_then(|record| {
            Some(Shown {
                letter: broker.letter(&record)?,
                content: Content::of(&record),
            })
        });
        shown.ok_or_else(|| no_letter(&id))
    })
    .await
}

fn found(broker: &Broker, id: &str) -> Result<Bytes, Refused> {
    broker.letter_by_id(id).ok_or_else(|| no_letter(id))
}

fn no_letter(id: &str) -> Refused {
    Refused(
        StatusCode::NOT_FOUND,
        format!("no dead letter has the id {id:?}"),
    )
}

/// Letters by their ids, or those of a group.
#[derive(Deserialize)]
#[serde(untagged)]
enum Which {
    Ids { ids: Vec<String> },
    Of { of: Wanted },
}

impl Which {
    fn letters(self, broker: &Broker) -> Result<Page, Refused> {
        match self {
            Which::Ids { ids } if ids.len() > AT_ONCE_MAX => {
                let text = format!("{} ids, at most {AT_ONCE_MAX} are expected", ids.len());
                Err(Refused(StatusCode::BAD_REQUEST, text))
            }
            Which::Ids { ids } => {
                // One that is named twice is one.
                let ids: BTreeSet<String> = ids.into_iter().collect();
                let letters: Result<_, _> = ids.iter().map(|id| found(broker, id)).collect();
                Ok(Page {
                    letters: letters?,
                    ..Page::default()
                })
            }
            Which::Of { of } => Ok(broker.letters(&of.selection())?),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resend {
    #[serde(flatten)]
    which: Which,
    #[serde(default)]
    to_topic: bool,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    unset: Vec<String>,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    all: bool,
}

/// What became of a part, and where the rest begins.
#[derive(Serialize)]
struct Resent {
    #[serde(flatten)]
    outcome: Outcome,
    next: Option<i64>,
    /// Where the last part ends: given with the next part, no letter that comes meanwhile is in it.
    end: i64,
}

async fn resend(State(broker): Broke, Json(wanted): Json<Resend>) -> Result<Json<Resent>, Refused> {
    aside(broker, move |broker| {
        let resending = Resending {
            to_topic: wanted.to_topic,
            set: wanted.set,
            unset: wanted.unset,
            again: wanted.again,
            all: wanted.all,
        };
        resending.check()?;
        let page = wanted.which.letters(broker)?;
        Ok(Resent {
            outcome: broker.resend(&page.letters, &resending)?,
            next: page.next,
            end: page.end,
        })
    })
    .await
}

#[derive(Deserialize)]
struct Drop {
    #[serde(flatten)]
    which: Which,
    #[serde(default)]
    undo: bool,
}

#[derive(Serialize)]
struct Dropped {
    /// Ids of letters that were not so before.
    changed: Vec<String>,
    next: Option<i64>,
    /// Where the last part ends: given with the next part, no letter that comes meanwhile is in it.
    end: i64,
}

async fn drop_letters(
    State(broker): Broke,
    Json(wanted): Json<Drop>,
) -> Result<Json<Dropped>, Refused> {
    aside(broker, move |broker| {
        let page = wanted.which.letters(broker)?;
        Ok(Dropped {
            changed: broker.drop_letters(&page.letters, wanted.undo)?,
            next: page.next,
            end: page.end,
        })
    })
    .await
}
