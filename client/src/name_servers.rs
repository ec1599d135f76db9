//! The name servers: one is asked until it fails, then the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sluice_protocol::body::TopicRouteData;
use sluice_protocol::code::{request, response};
use sluice_protocol::{ExtFields, RemotingCommand};
use sluice_remoting::Client;

use crate::body;
use crate::error::ClientError;

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses in the order they were given, and which of them answered last.
#[derive(Debug)]
pub(crate) struct NameServers {
    addresses: Vec<String>,
    current: AtomicUsize,
}

impl NameServers {
    /// From `host:port`, several separated by `;`. Starts at a random one, so that many clients
    /// spread over the servers.
    pub fn parse(list: &str) -> Result<Self, ClientError> {
        let parts = list
            .split([';', ','])
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let addresses: Vec<String> = parts.map(str::to_owned).collect();
        if addresses.is_empty() {
            return Err(ClientError::invalid(
                format!("name server {list:?}"),
                "must be host:port, several separated by ';'",
            ));
        }
        let has_port = |address: &String| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if let Some(wrong) = addresses.iter().find(|address| !has_port(address)) {
            return Err(ClientError::invalid(
                format!("name server {wrong:?}"),
                "must be host:port",
            ));
        }
        let current = AtomicUsize::new(rand::random_range(0..addresses.len()));
        Ok(NameServers { addresses, current })
    }

    /// All addresses, joined by `;`.
    pub fn text(&self) -> String {
        self.addresses.join(";")
    }

    /// Asks the current server; if it does not answer, the others in turn. Tells who answered.
    pub async fn call(
        &self,
        remoting: &Client,
        request: &RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let start = self.current.load(Ordering::Relaxed);
        let mut last = ClientError::ShutDown;
        for step in 0..self.addresses.len() {
            let index = (start + step) % self.addresses.len();
            let address = &self.addresses[index];
            let asked = Asked {
                servers: self,
                index,
            };
            match remoting.call(address, request.clone(), TIMEOUT).await {
                Ok(response) => {
                    asked.answered();
                    return Ok((address.clone(), response));
                }
                Err(error) => {
                    remoting.close(address);
                    last = error.into();
                }
            }
        }
        Err(ClientError::NameServers {
            addresses: self.addresses.clone(),
            last: Box::new(last),
        })
    }

    /// The route of a topic; [`ClientError::NoRoute`] when it has none.
    pub async fn route(
        &self,
        remoting: &Client,
        topic: &str,
    ) -> Result<TopicRouteData, ClientError> {
        let mut request = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC, 0);
        request.ext = ExtFields::from_iter([("topic", topic), ("acceptStandardJsonOnly", "true")]);
        let (address, response) = self.call(remoting, &request).await?;
        match response.code {
            response::SUCCESS => body::read(&response.body).map_err(|what| ClientError::Response {
                address,
                code: request.code,
                what,
            }),
            response::TOPIC_NOT_EXIST => Err(ClientError::NoRoute {
                topic: topic.to_owned(),
            }),
            code => Err(ClientError::Refused {
                address,
                code,
                remark: response.remark().to_owned(),
            }),
        }
    }
}

/// A server that is being asked. Unless it answers, the next call begins with the one behind it,
/// also when the caller has stopped waiting: else one with little time would never get past it.
struct Asked<'a> {
    servers: &'a NameServers,
    index: usize,
}

impl Asked<'_> {
    fn answered(self) {
        self.servers.current.store(self.index, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let next = (self.index + 1) % self.servers.addresses.len();
        self.servers.current.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use sluice_protocol::RemotingCommand;
    use sluice_remoting::{Client, ClientOptions, Connection, Handler, Responder};

    use super::NameServers;

    struct NoRequests;

    impl Handler for NoRequests {
        fn handle(&self, _: &Arc<Connection>, _: RemotingCommand, _: Responder) {}
    }

    #[tokio::test]
    async fn a_silent_server_is_passed_over_though_nobody_waited_for_it() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().unwrap();
        let servers = NameServers::parse(&format!("{silent};127.0.0.1:1")).unwrap();
        servers.current.store(0, Ordering::Relaxed);
        let remoting = Client::new(ClientOptions::default(), Arc::new(NoRequests)).unwrap();
        let route = servers.route(&remoting, "T");
        let given_up = tokio::time::timeout(Duration::from_millis(50), route).await;
        assert!(given_up.is_err(), "it is silent");
        assert_eq!(servers.current.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn lists_are_split_and_checked() {
        let servers = NameServers::parse(" a:1; b:2 ;").unwrap();
        assert_eq!(servers.text(), "a:1;b:2");
        for wrong in ["", ";", "host", "host:port", ":9876", "h:99999"] {
            assert!(NameServers::parse(wrong).is_err(), "{wrong}");
        }
    }
}
