//! A view of two sides: what the cluster says over remoting, and what one broker says over HTTP.
//!
//! Who names name servers gets the cluster's view, who names a broker gets that broker's; who names
//! both gets both. Who names neither gets both of this machine, as far as they are there.

use std::io::Write;

use clap::Args;

use crate::Outcome;
use crate::args::{Both, Broker};
use crate::cluster::Cluster;
use crate::connection::{Connection, Shown};
use crate::error::AdminError;
use crate::page::{Page, seen, show};

/// Where a broker's HTTP side is when nothing is said.
const HTTP: &str = "http://127.0.0.1:10915";

impl<T: Args> Both<T> {
    /// Asks whom it was wanted of, and prints it.
    pub(crate) async fn show(
        &self,
        out: &mut dyn Write,
        mut of_cluster: impl AsyncFnMut(&Cluster, &T) -> Result<Page, AdminError>,
        of_broker: impl Fn(&Connection, &T) -> Result<Shown, AdminError>,
    ) -> Result<Outcome, AdminError> {
        let names_cluster = self.sides.namesrv_addr.is_some();
        let names_broker = self.sides.broker.is_some();
        let cluster = match names_cluster || !names_broker {
            true => Some(Cluster::of(&self.servers())?),
            false => None,
        };
        let broker = match names_broker || !names_cluster {
            true => Some(Connection::to(&self.http())?),
            false => None,
        };
        let one_is_enough = !names_cluster && !names_broker;
        show(self.sides.json, &self.watch, out, async || {
            let cluster = match &cluster {
                Some(cluster) => Some(seen(cluster, &self.of, &mut of_cluster).await),
                None => None,
            };
            let broker = broker.as_ref().map(|broker| of_broker(broker, &self.of));
            joined(cluster, broker, one_is_enough)
        })
        .await
    }

    fn http(&self) -> Broker {
        Broker {
            address: self.sides.broker.clone().unwrap_or(HTTP.to_owned()),
            token: self.sides.token.clone(),
            json: self.sides.json,
        }
    }
}

/// What there is of both. Where one is not to be had, the other says so; if that was named, it is wrong.
fn joined(
    cluster: Option<Result<Page, AdminError>>,
    broker: Option<Result<Shown, AdminError>>,
    one_is_enough: bool,
) -> Result<Page, AdminError> {
    let lacking = |page: Page, what: &str, error: AdminError| {
        let page = page.line(format!("{what} is not shown: {error}"));
        if one_is_enough { page } else { page.wrong() }
    };
    match (cluster, broker) {
        (Some(cluster), None) => cluster,
        (None, Some(broker)) => broker?.page(),
        (Some(Ok(cluster)), Some(Ok(broker))) => {
            let page = broker.page()?;
            let json = page.json().clone();
            let page = match json.is_object() {
                true => Page::of(&json).with("cluster", cluster.json()),
                false => Page::of(cluster.json()).with("broker", json),
            };
            Ok(page
                .and(cluster)
                .line("")
                .line("At one broker:")
                .line(broker.text))
        }
        (Some(Ok(cluster)), Some(Err(error))) => {
            Ok(lacking(cluster, "What one broker knows beyond this", error))
        }
        (Some(Err(error)), Some(Ok(broker))) => {
            Ok(lacking(broker.page()?, "The rest of the cluster", error))
        }
        // A side that answers, and says no, says more than one that does not answer.
        (Some(Err(_)), Some(Err(refused @ AdminError::Refused(_)))) => Err(refused),
        (Some(Err(error)), Some(Err(_))) => Err(error),
        (None, None) => Err(AdminError::Command("nobody is asked".to_owned())),
    }
}

impl Shown {
    /// As a page.
    fn page(&self) -> Result<Page, AdminError> {
        let json: serde_json::Value =
            serde_json::from_str(&self.json).map_err(|error| AdminError::Answer {
                address: "the broker".to_owned(),
                cause: error.to_string(),
            })?;
        Ok(Page::of(&json).line(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused() -> AdminError {
        AdminError::Refused("no".to_owned())
    }

    fn broker() -> Shown {
        Shown {
            json: r#"{"lag":1}"#.to_owned(),
            text: "lag 1".to_owned(),
        }
    }

    #[test]
    fn both_sides_are_shown_and_the_broker_s_fields_stay_where_they_were() {
        let page = joined(
            Some(Ok(Page::of(&json!({"lag": 2})))),
            Some(Ok(broker())),
            true,
        );
        assert_eq!(
            *page.unwrap().json(),
            json!({"lag": 1, "cluster": {"lag": 2}})
        );
    }

    #[test]
    fn one_side_is_enough_if_none_was_named() {
        let page = joined(Some(Err(refused())), Some(Ok(broker())), true).unwrap();
        assert_eq!(page.outcome(), Outcome::Well);
        let page = joined(Some(Err(refused())), Some(Ok(broker())), false).unwrap();
        assert_eq!(page.outcome(), Outcome::Wrong);
        assert!(joined(Some(Err(refused())), Some(Err(refused())), true).is_err());
    }
}
