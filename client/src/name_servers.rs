//! The name servers: one is asked until it fails, then the next. Who they are was said, or is asked over
//! HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use sluice_protocol::body::TopicRouteData;
use sluice_protocol::code::{request, response};
use sluice_protocol::{ExtFields, RemotingCommand};
use sluice_remoting::{AddressService, Client};

use crate::body;
use crate::error::ClientError;

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The address service is asked this often, as by Java's clients.
const ASK_AGAIN: Duration = Duration::from_secs(120);

/// Addresses in the order they were given, and which of them answered last.
#[derive(Debug)]
pub(crate) struct NameServers {
    /// Empty until the address service has told them.
    addresses: RwLock<Arc<[String]>>,
    current: AtomicUsize,
    service: Option<AddressService>,
    /// Held while it is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

impl NameServers {
    /// What was set, or else the environment: `NAMESRV_ADDR`, or its address service.
    pub fn find(set: Option<&str>) -> Result<Self, ClientError> {
        let environment = || std::env::var("NAMESRV_ADDR").ok();
        if let Some(list) = set.map(str::to_owned).or_else(environment) {
            return NameServers::parse(&list);
        }
        match AddressService::from_environment() {
            Some(service) => Ok(NameServers::of(Vec::new(), Some(service))),
            None => Err(ClientError::invalid(
                "name server",
                "must be set, or the environment's NAMESRV_ADDR",
            )),
        }
    }

    /// From `host:port`, several separated by `;`, or from the `http://` address of a page that tells
    /// them. Starts at a random one, so that many clients spread over the servers.
    pub fn parse(list: &str) -> Result<Self, ClientError> {
        if list.trim().starts_with("http://") {
            let service = AddressService::at(list.trim());
            return Ok(NameServers::of(Vec::new(), Some(service)));
        }
        Ok(NameServers::of(addresses(list)?, None))
    }

    fn of(addresses: Vec<String>, service: Option<AddressService>) -> Self {
        NameServers {
            current: AtomicUsize::new(random_index(&addresses)),
            addresses: RwLock::new(addresses.into()),
            service,
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// All addresses, joined by `;`.
    pub fn text(&self) -> String {
        self.addresses.read().join(";")
    }

    /// Asks the address service again and again; never ends.
    pub async fn keep_fresh(&self) {
        let Some(service) = &self.service else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            let _one_at_a_time = self.asking.lock().await;
            if let Err(error) = self.ask(service).await {
                tracing::warn!(%error, "the name servers known before are kept");
            }
        }
    }

    /// All addresses, asked for if none is known yet.
    async fn known(&self) -> Result<Arc<[String]>, ClientError> {
        let known = self.addresses.read().clone();
        let Some(service) = self.service.as_ref().filter(|_| known.is_empty()) else {
            return Ok(known);
        };
        let _one_at_a_time = self.asking.lock().await;
        if self.addresses.read().is_empty() {
            self.ask(service).await?;
        }
        Ok(self.addresses.read().clone())
    }

    async fn ask(&self, service: &AddressService) -> Result<(), ClientError> {
        let told = addresses(&service.ask().await?)?;
        let mut known = self.addresses.write();
        if **known != *told {
            tracing::info!(url = service.url(), addresses = ?told, "name servers were found");
            self.current.store(random_index(&told), Ordering::Relaxed);
            *known = told.into();
        }
        Ok(())
    }

    /// Asks the current server; if it does not answer, the others in turn. Tells who answered.
    pub async fn call(
        &self,
        remoting: &Client,
        request: &RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let addresses = self.known().await?;
        let start = self.current.load(Ordering::Relaxed);
        let mut last = ClientError::ShutDown;
        for step in 0..addresses.len() {
            let index = (start + step) % addresses.len();
            let address = &addresses[index];
            let asked = Asked {
                current: &self.current,
                index,
                next: (index + 1) % addresses.len(),
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
            addresses: addresses.to_vec(),
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

fn random_index(addresses: &[String]) -> usize {
    rand::random_range(0..addresses.len().max(1))
}

fn addresses(list: &str) -> Result<Vec<String>, ClientError> {
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
    match addresses.iter().find(|address| !has_port(address)) {
        None => Ok(addresses),
        Some(wrong) => Err(ClientError::invalid(
            format!("name server {wrong:?}"),
            "must be host:port",
        )),
    }
}

/// A server that is being asked. Unless it answers, the next call begins with the one behind it,
/// also when the caller has stopped waiting: else one with little time would never get past it.
struct Asked<'a> {
    current: &'a AtomicUsize,
    index: usize,
    next: usize,
}

impl Asked<'_> {
    fn answered(self) {
        self.current.store(self.index, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.current.store(self.next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use sluice_protocol::RemotingCommand;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

    /// Serves pages one after another, the last again and again.
    async fn address_service(pages: &'static [&'static str]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rocketmq/nsaddr", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for at in 0.. {
                let (mut peer, _) = listener.accept().await.unwrap();
                let page = pages[pages.len().min(at + 1) - 1];
                let mut asked = [0; 2048];
                let _ = peer.read(&mut asked).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
                let _ = peer.write_all(format!("{head}{page}").as_bytes()).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn an_address_service_is_asked_at_first_and_every_two_minutes() {
        let url = address_service(&["127.0.0.1:1", "none", "127.0.0.1:2;127.0.0.1:3"]).await;
        let servers = Arc::new(NameServers::parse(&url).unwrap());
        let remoting = Client::new(ClientOptions::default(), Arc::new(NoRequests)).unwrap();
        let refused = servers.route(&remoting, "T").await.unwrap_err().to_string();
        assert!(refused.contains("127.0.0.1:1"), "{refused}");
        assert_eq!(servers.text(), "127.0.0.1:1");

        tokio::time::pause();
        let kept = servers.clone();
        let keeping = tokio::spawn(async move { kept.keep_fresh().await });
        let begun = tokio::time::Instant::now();
        while servers.text() == "127.0.0.1:1" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(servers.text(), "127.0.0.1:2;127.0.0.1:3");
        // The page in between told none, so the old ones were kept.
        assert!(begun.elapsed() >= Duration::from_secs(240));
        keeping.abort();
    }

    #[tokio::test]
    async fn a_service_that_tells_none_is_named() {
        let url = address_service(&["none"]).await;
        let servers = NameServers::parse(&url).unwrap();
        let remoting = Client::new(ClientOptions::default(), Arc::new(NoRequests)).unwrap();
        let refused = servers.route(&remoting, "T").await.unwrap_err().to_string();
        assert!(refused.contains(&url), "{refused}");
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
