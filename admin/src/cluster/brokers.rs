//! Brokers: who is registered, what they say of themselves, their settings.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_protocol::body::{BrokerStatsData, ClusterInfo, KvTable};
use sluice_protocol::code::request as code;
use sluice_protocol::java_properties;

use super::{Answer, Cluster, MASTER, Member, Server, request};
use crate::args::Scope;
use crate::error::AdminError;

/// Settings or runtime values by name.
pub(crate) type Values = BTreeMap<String, String>;

/// A broker, and what it says of itself; nothing if it does not answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) cluster: String,
    pub(crate) broker: String,
    pub(crate) broker_id: i64,
    pub(crate) address: String,
    pub(crate) answers: bool,
    pub(crate) version: Option<String>,
    pub(crate) in_tps: Option<f64>,
    pub(crate) out_tps: Option<f64>,
    pub(crate) in_today: Option<i64>,
    pub(crate) out_today: Option<i64>,
    pub(crate) in_yesterday: Option<i64>,
    pub(crate) out_yesterday: Option<i64>,
    pub(crate) disk_ratio: Option<f64>,
    pub(crate) earliest_message_ms: Option<i64>,
    pub(crate) boot_ms: Option<i64>,
    pub(crate) dispatch_behind_bytes: Option<i64>,
    /// All of it, as the broker names it.
    pub(crate) values: Values,
}

impl State {
    fn of(member: &Member, values: Option<Values>) -> State {
        let answers = values.is_some();
        let values = values.unwrap_or_default();
        let number = |key: &str| values.get(key)?.trim().parse::<i64>().ok();
        let real = |key: &str| values.get(key)?.trim().parse::<f64>().ok();
        // Means of the last ten seconds, minute and ten minutes.
        let rate = |key: &str| {
            values
                .get(key)?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        };
        let between = |later: &str, earlier: &str| Some(number(later)? - number(earlier)?);
        State {
            cluster: member.cluster.clone(),
            broker: member.server.name.clone(),
            broker_id: member.id,
            address: member.server.address.clone(),
            answers,
            version: values.get("brokerVersionDesc").cloned(),
            in_tps: rate("putTps"),
            // 4.9 spells it with one r.
            out_tps: rate("getTransferredTps").or_else(|| rate("getTransferedTps")),
            in_today: between("msgPutTotalTodayNow", "msgPutTotalTodayMorning"),
            out_today: between("msgGetTotalTodayNow", "msgGetTotalTodayMorning"),
            in_yesterday: between("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"),
            out_yesterday: between("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
            disk_ratio: real("commitLogDiskRatio"),
            earliest_message_ms: number("earliestMessageTimeStamp").filter(|ms| *ms > 0),
            boot_ms: number("bootTimestamp"),
            dispatch_behind_bytes: number("dispatchBehindBytes"),
            values,
        }
    }
}

impl Cluster {
    /// All that are registered.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, AdminError> {
        let answer = self
            .ask_name_server(request(code::GET_BROKER_CLUSTER_INFO, &[]))
            .await?;
        let info: ClusterInfo = answer.body()?;
        let brokers = info.broker_addr_table.values();
        let mut members: Vec<Member> = brokers
            .flat_map(|data| {
                data.broker_addrs.iter().map(|(id, address)| Member {
                    cluster: data.cluster.clone(),
                    server: Server {
                        name: data.broker_name.clone(),
                        address: address.clone(),
                    },
                    id: *id,
                })
            })
            .collect();
        members.sort();
        Ok(members)
    }

    /// Those of them that are meant. An address that is not registered stands for itself.
    pub(crate) async fn members_in(&self, scope: &Scope) -> Result<Vec<Member>, AdminError> {
        let members = match self.members().await {
            // Whoever names addresses needs no name server.
            Err(_) if scope.cluster.is_none() && names_addresses_alone(scope) => Vec::new(),
            members => members?,
        };
        for on in &scope.on {
            let known = members
                .iter()
                .any(|member| member.server.name == *on || member.server.address == *on);
            if !known && !on.contains(':') {
                let names = members.iter().map(|member| &*member.server.name);
                return Err(unknown("broker", on, names, "sluice cluster show"));
            }
        }
        if let Some(cluster) = &scope.cluster
            && !members.iter().any(|member| member.cluster == *cluster)
        {
            let names = members.iter().map(|member| &*member.cluster);
            return Err(unknown("cluster", cluster, names, "sluice cluster show"));
        }
        let strangers = scope.on.iter().filter(|on| {
            let known =
                |member: &Member| member.server.name == **on || member.server.address == **on;
            !members.iter().any(known)
        });
        let strangers: Vec<Member> = strangers.map(|address| stranger(address)).collect();
        let mut meant: Vec<Member> = members.into_iter().filter(|it| scope.has(it)).collect();
        meant.extend(strangers);
        if meant.is_empty() {
            return Err(AdminError::Command(format!(
                "no broker is registered at {}: is one running, and does its namesrvAddr name this server?",
                self.addresses()
            )));
        }
        Ok(meant)
    }

    /// The masters that are meant. A broker without one is named: nothing can be asked of it.
    pub(crate) async fn masters(&self, scope: &Scope) -> Result<Vec<Server>, AdminError> {
        Ok(self.masters_of(self.members_in(scope).await?))
    }

    /// The masters of a change: whoever has several clusters says which one is meant.
    pub(crate) async fn masters_of_one(&self, scope: &Scope) -> Result<Vec<Server>, AdminError> {
        let members = self.members_in(scope).await?;
        let mut clusters: Vec<&str> = members.iter().map(|member| &*member.cluster).collect();
        clusters.dedup();
        if scope.is_all() && clusters.len() > 1 {
            return Err(AdminError::Command(format!(
                "there are several clusters, {}: say which one with --cluster",
                clusters.join(" and ")
            )));
        }
        Ok(self.masters_of(members))
    }

    fn masters_of(&self, members: Vec<Member>) -> Vec<Server> {
        let mut masters = Vec::new();
        let mut headless: BTreeMap<String, Server> = BTreeMap::new();
        for member in members {
            match member.id == MASTER {
                true => {
                    headless.remove(&member.server.name);
                    masters.push(member.server);
                }
                false => {
                    let name = member.server.name.clone();
                    if !masters.iter().any(|master| master.name == name) {
                        headless.insert(name, member.server);
                    }
                }
            }
        }
        for server in headless.values() {
            self.note(
                server,
                "it has no master: replicas are not changed and not asked",
            );
        }
        masters
    }

    /// What brokers say of themselves.
    pub(crate) async fn states(&self, members: &[Member]) -> Vec<State> {
        let servers: Vec<Server> = members.iter().map(|member| member.server.clone()).collect();
        let asked = request(code::GET_BROKER_RUNTIME_INFO, &[]);
        let told = self
            .ask_each(&servers, &asked, Answer::body::<KvTable>)
            .await;
        let state = |member: &Member| {
            let told = told.iter().find(|(server, _)| *server == member.server);
            State::of(member, told.map(|(_, info)| info.table.clone()))
        };
        members.iter().map(state).collect()
    }

    /// Settings of brokers.
    pub(crate) async fn broker_configs(&self, servers: &[Server]) -> Vec<(Server, Values)> {
        let asked = request(code::GET_BROKER_CONFIG, &[]);
        self.ask_each(servers, &asked, |answer| {
            Ok(read_properties(&answer.text()?))
        })
        .await
    }

    /// Changes settings of brokers; the remark says when a change does not last.
    pub(crate) async fn set_broker_config(
        &self,
        servers: &[Server],
        settings: &[(String, String)],
    ) -> Vec<(Server, String)> {
        let asked = request(code::UPDATE_BROKER_CONFIG, &[]).with_body(properties(settings));
        self.ask_each(servers, &asked, |answer| {
            Ok(answer.succeeded()?.remark().to_owned())
        })
        .await
    }

    /// One count over the last minute, hour and day, summed over brokers; those that have not counted
    /// it have none.
    pub(crate) async fn counted(
        &self,
        servers: &[Server],
        counts: &[(&'static str, String)],
    ) -> Vec<BrokerStatsData> {
        let asked = counts.iter().flat_map(|(name, key)| {
            servers.iter().map(move |server| {
                let fields: [(&'static str, &dyn std::fmt::Display); 2] =
                    [("statsName", name), ("statsKey", key)];
                let request = request(code::VIEW_BROKER_STATS_DATA, &fields);
                (server.clone(), request)
            })
        });
        let answers = self.ask_all(asked.collect()).await;
        let mut sums = vec![BrokerStatsData::default(); counts.len()];
        for (at, answer) in answers.into_iter().enumerate() {
            if let Some(Ok(data)) = answer.map(Answer::body::<BrokerStatsData>) {
                add(&mut sums[at / servers.len()], &data);
            }
        }
        sums
    }
}

fn add(sum: &mut BrokerStatsData, data: &BrokerStatsData) {
    for (sum, item) in [
        (&mut sum.stats_minute, data.stats_minute),
        (&mut sum.stats_hour, data.stats_hour),
        (&mut sum.stats_day, data.stats_day),
    ] {
        sum.sum = sum.sum.saturating_add(item.sum);
        sum.tps += item.tps;
    }
}

fn names_addresses_alone(scope: &Scope) -> bool {
    !scope.on.is_empty() && scope.on.iter().all(|on| on.contains(':'))
}

fn stranger(address: &str) -> Member {
    Member {
        cluster: String::new(),
        server: Server {
            name: address.to_owned(),
            address: address.to_owned(),
        },
        id: MASTER,
    }
}

/// A name that nobody has, and the one that may be meant.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str>,
    list: &str,
) -> AdminError {
    let meant = match java_properties::nearest(names, name) {
        Some(nearest) if nearest != name => format!("; did you mean {nearest}?"),
        _ => ":".to_owned(),
    };
    AdminError::Command(format!("no {what} {name}{meant} `{list}` shows all"))
}

/// Settings as `key=value` lines, in Java's form: what would be read otherwise is escaped.
pub(crate) fn properties(settings: &[(String, String)]) -> Vec<u8> {
    let lines = settings.iter().map(|(key, value)| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        format!("{key}={value}\n")
    });
    lines.collect::<String>().into_bytes()
}

/// The same read.
pub(crate) fn read_properties(text: &str) -> Values {
    let read = java_properties::parse(text).into_iter();
    read.map(|property| (property.key, property.value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings = [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "c:\\d".to_owned()),
        ];
        let text = String::from_utf8(properties(&settings)).unwrap();
        assert_eq!(read_properties(&text), Values::from(settings));
    }

    #[test]
    fn rates_and_days_are_read_from_what_a_broker_tells() {
        let member = stranger("127.0.0.1:1");
        let told = [
            ("putTps", "1.5 2 3"),
            ("getTransferedTps", "4.0 5 6"),
            ("msgPutTotalTodayNow", "30"),
            ("msgPutTotalTodayMorning", "10"),
            ("earliestMessageTimeStamp", "-1"),
        ];
        let values = told.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let state = State::of(&member, Some(Values::from(values)));
        assert_eq!((state.in_tps, state.out_tps), (Some(1.5), Some(4.0)));
        assert_eq!((state.in_today, state.out_today), (Some(20), None));
        assert_eq!(state.earliest_message_ms, None);
        assert!(!State::of(&member, None).answers);
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let names = ["orders", "payments"];
        let error = unknown("topic", "ordres", names.into_iter(), "sluice topic list");
        let expected = "no topic ordres; did you mean orders? `sluice topic list` shows all";
        assert_eq!(error.to_string(), expected);
    }
}
