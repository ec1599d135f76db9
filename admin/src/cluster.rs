//! A cluster, asked over remoting: all servers at the same time, each over one connection, and who
//! does not answer in time is remembered and named.

pub(crate) mod brokers;
pub(crate) mod clients;
pub(crate) mod groups;
pub(crate) mod messages;
pub(crate) mod name_servers;
pub(crate) mod offsets;
pub(crate) mod topics;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_client::Admin;
use sluice_protocol::code::{request as code, response};
use sluice_protocol::{RemotingCommand, fastjson};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args::{Scope, Servers};
use crate::error::AdminError;

/// Requests under way at a time: far from what one connection may have unanswered.
const UNDER_WAY: usize = 512;
/// Broker id of masters.
const MASTER: i64 = 0;

/// A name server or broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    /// A broker's name; of a name server its address.
    pub(crate) name: String,
    pub(crate) address: String,
}

impl Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name == self.address {
            true => f.write_str(&self.name),
            false => write!(f, "{} ({})", self.name, self.address),
        }
    }
}

/// A broker that is registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) cluster: String,
    pub(crate) server: Server,
    pub(crate) id: i64,
}

/// Who did not do what was asked, and why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Missing {
    pub(crate) server: String,
    pub(crate) address: String,
    pub(crate) why: String,
    /// It has not answered at all: it is not asked again.
    pub(crate) silent: bool,
}

/// What a server answered, of whatever code.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) server: Server,
    request: i32,
    response: RemotingCommand,
}

/// A request with header fields.
pub(crate) fn request(code: i32, fields: &[(&'static str, &dyn Display)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code, 0);
    for (name, value) in fields {
        request.ext.put(*name, value.to_string());
    }
    request
}

impl Answer {
    /// Whether it has this response code.
    pub(crate) fn is(&self, code: i32) -> bool {
        self.response.code == code
    }

    /// Itself, unless the server refuses.
    pub(crate) fn succeeded(self) -> Result<Answer, AdminError> {
        match self.response.code {
            response::SUCCESS => Ok(self),
            refused => Err(AdminError::Refused(format!(
                "{} refuses: {} (code {refused} {})",
                self.server,
                reason(self.response.remark()),
                response::name(refused).unwrap_or("unknown")
            ))),
        }
    }

    /// What a server adds to its success.
    pub(crate) fn remark(&self) -> &str {
        self.response.remark()
    }

    /// The body of a success.
    pub(crate) fn body<T: DeserializeOwned>(self) -> Result<T, AdminError> {
        let answer = self.succeeded()?;
        fastjson::from_slice(&answer.response.body)
            .map_err(|error| answer.not_understood(error.to_string()))
    }

    /// The body of a success, as text.
    pub(crate) fn text(self) -> Result<String, AdminError> {
        let answer = self.succeeded()?;
        Ok(String::from_utf8_lossy(&answer.response.body).into_owned())
    }

    /// A header field of an answer.
    pub(crate) fn field<T: FromStr>(&self, name: &str) -> Result<T, AdminError> {
        let text = self.response.ext.get(name);
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.not_understood(format!("field {name} is {text:?}")))
    }

    pub(crate) fn bytes(&self) -> &bytes::Bytes {
        &self.response.body
    }

    pub(crate) fn not_understood(&self, what: String) -> AdminError {
        AdminError::Answer {
            address: self.server.to_string(),
            cause: format!(
                "to {}: {what}",
                code::name(self.request).unwrap_or("a request")
            ),
        }
    }
}

/// What a refusal says, without Java's class names and links.
fn reason(remark: &str) -> &str {
    let first = remark.lines().next().unwrap_or_default().trim();
    match first {
        "" => "it gives no reason",
        first => first,
    }
}

/// Name servers, and the brokers that they know.
pub(crate) struct Cluster {
    admin: Admin,
    name_servers: Vec<Server>,
    timeout: Duration,
    missing: RefCell<BTreeMap<String, Missing>>,
}

impl Cluster {
    /// Nothing is dialled before the first request.
    pub(crate) fn of(servers: &Servers) -> Result<Cluster, AdminError> {
        let addresses = servers.namesrv_addr.as_deref().unwrap_or(Servers::DEFAULT);
        let admin = Admin::builder().name_server(addresses).build()?;
        let parts = addresses.split([';', ',']).map(str::trim);
        let name_servers = parts.filter(|part| !part.is_empty()).map(|part| Server {
            name: part.to_owned(),
            address: part.to_owned(),
        });
        Ok(Cluster {
            admin,
            name_servers: name_servers.collect(),
            timeout: Duration::from_secs(servers.timeout),
            missing: RefCell::default(),
        })
    }

    pub(crate) fn name_servers(&self) -> &[Server] {
        &self.name_servers
    }

    /// Time for an answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Joined by `;`, as clients take them.
    pub(crate) fn addresses(&self) -> String {
        let addresses = self.name_servers.iter().map(|server| &*server.address);
        addresses.collect::<Vec<_>>().join(";")
    }

    /// Who did not answer or refused until now; forgets them.
    pub(crate) fn take_missing(&self) -> Vec<Missing> {
        self.missing.take().into_values().collect()
    }

    /// Remembers who can't be counted on.
    pub(crate) fn note(&self, server: &Server, why: impl Display) {
        let why = why.to_string();
        // Its name stands before it.
        let why = why.strip_prefix(&format!("{server} ")).unwrap_or(&why);
        self.remember(server, why.to_owned(), false);
    }

    fn remember(&self, server: &Server, why: String, silent: bool) {
        let missing = Missing {
            server: server.name.clone(),
            address: server.address.clone(),
            why,
            silent,
        };
        self.missing
            .borrow_mut()
            .insert(server.address.clone(), missing);
    }

    fn is_silent(&self, server: &Server) -> bool {
        let missing = self.missing.borrow();
        missing.get(&server.address).is_some_and(|it| it.silent)
    }

    /// Asks all at the same time. What a server that does not answer was asked has no answer; it is
    /// remembered, and not asked again.
    pub(crate) async fn ask_all(
        &self,
        asked: Vec<(Server, RemotingCommand)>,
    ) -> Vec<Option<Answer>> {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        let mut answers: Vec<Option<Answer>> = asked.iter().map(|_| None).collect();
        let mut tasks = JoinSet::new();
        for (at, (server, request)) in asked.into_iter().enumerate() {
            if self.is_silent(&server) {
                continue;
            }
            let (admin, timeout, room) = (self.admin.clone(), self.timeout, room.clone());
            tasks.spawn(async move {
                let _permit = room.acquire_owned().await;
                let code = request.code;
                let answered = admin.call(&server.address, request, timeout).await;
                (at, code, server, answered)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let Ok((at, request, server, answered)) = done else {
                continue;
            };
            match answered {
                Ok(response) => {
                    answers[at] = Some(Answer {
                        server,
                        request,
                        response,
                    });
                }
                Err(error) => self.remember(&server, error.to_string(), true),
            }
        }
        answers
    }

    /// Asks one server.
    pub(crate) async fn ask(
        &self,
        server: &Server,
        request: RemotingCommand,
    ) -> Result<Answer, AdminError> {
        let code = request.code;
        let response = self
            .admin
            .call(&server.address, request, self.timeout)
            .await?;
        Ok(Answer {
            server: server.clone(),
            request: code,
            response,
        })
    }

    /// Asks the same of all, and reads the answers; a refusal is remembered.
    pub(crate) async fn ask_each<T>(
        &self,
        servers: &[Server],
        request: &RemotingCommand,
        read: impl Fn(Answer) -> Result<T, AdminError>,
    ) -> Vec<(Server, T)> {
        let asked = servers
            .iter()
            .map(|server| (server.clone(), request.clone()));
        let answers = self.ask_all(asked.collect()).await;
        let read = answers.into_iter().flatten().filter_map(|answer| {
            let server = answer.server.clone();
            match read(answer) {
                Ok(value) => Some((server, value)),
                Err(error) => {
                    self.note(&server, error);
                    None
                }
            }
        });
        read.collect()
    }

    /// Asks the name servers; the first that answers counts.
    pub(crate) async fn ask_name_server(
        &self,
        request: RemotingCommand,
    ) -> Result<Answer, AdminError> {
        let mut tasks = JoinSet::new();
        for server in self.name_servers.clone() {
            let (admin, timeout, request) = (self.admin.clone(), self.timeout, request.clone());
            tasks.spawn(async move {
                let answered = admin.call(&server.address, request, timeout).await;
                (server, answered)
            });
        }
        let mut causes = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((server, Ok(response))) => {
                    return Ok(Answer {
                        server,
                        request: request.code,
                        response,
                    });
                }
                Ok((_, Err(error))) => causes.push(error.to_string()),
                Err(_) => {}
            }
        }
        Err(AdminError::NoNameServer {
            addresses: self.addresses(),
            cause: causes.join("; "),
        })
    }
}

impl Scope {
    /// Whether all brokers are meant.
    pub(crate) fn is_all(&self) -> bool {
        self.cluster.is_none() && self.on.is_empty()
    }

    fn has(&self, member: &Member) -> bool {
        let named = |on: &String| *on == member.server.name || *on == member.server.address;
        let of_cluster = self.cluster.as_ref().is_none_or(|c| *c == member.cluster);
        of_cluster && (self.on.is_empty() || self.on.iter().any(named))
    }
}
