//! Finding name servers over HTTP, as Java's clients and brokers do: a page whose first line is
//! `host:port;host:port`.

use std::time::Duration;

/// Most time for an answer, as in Java.
const TIMEOUT: Duration = Duration::from_secs(3);
/// An answer longer than this is none: no list of name servers is.
const ANSWER_MAX: u64 = 64 * 1024;

/// Where name servers are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressService {
    url: String,
}

/// The address service told no name servers.
#[derive(Debug, thiserror::Error)]
#[error("name servers can't be asked for at {url}: {what}")]
pub struct NoAddresses {
    url: String,
    what: String,
}

impl AddressService {
    /// `http://<domain>:8080/rocketmq/<subgroup>`; a domain that names its port keeps it.
    pub fn of(domain: &str, subgroup: &str) -> AddressService {
        let port = if domain.contains(':') { "" } else { ":8080" };
        AddressService::at(format!("http://{domain}{port}/rocketmq/{subgroup}"))
    }

    /// The one whose domain the environment names in `ROCKETMQ_NAMESRV_DOMAIN`, with its subgroup in
    /// `ROCKETMQ_NAMESRV_DOMAIN_SUBGROUP`.
    pub fn from_environment() -> Option<AddressService> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let domain = variable("ROCKETMQ_NAMESRV_DOMAIN")?;
        let subgroup = variable("ROCKETMQ_NAMESRV_DOMAIN_SUBGROUP");
        let subgroup = subgroup.as_deref().unwrap_or("nsaddr");
        Some(AddressService::of(&domain, subgroup))
    }

    /// A page of its own.
    pub fn at(url: impl Into<String>) -> AddressService {
        AddressService { url: url.into() }
    }

    /// The page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first line of the page, which names at least one address.
    ///
    /// # Errors
    /// There is no page, or its first line is not addresses with `;` between them.
    pub async fn ask(&self) -> Result<String, NoAddresses> {
        let url = self.url.clone();
        let asked = tokio::task::spawn_blocking(move || fetch(&url)).await;
        asked
            .map_err(|error| error.to_string())
            .and_then(|answer| answer)
            .map_err(|what| NoAddresses {
                url: self.url.clone(),
                what,
            })
    }
}

fn fetch(url: &str) -> Result<String, String> {
    let config = ureq::Agent::config_builder()
        // It is in the operator's own network; a proxy for the web knows neither.
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .build();
    let agent: ureq::Agent = config.into();
    let asked = agent
        .get(url)
        .header(
            "Content-Type",
            "application/x-www-form-urlencoded;charset=UTF-8",
        )
        .call();
    let mut answer = asked.map_err(|error| error.to_string())?;
    let page = answer.body_mut().with_config().limit(ANSWER_MAX);
    let page = page.read_to_string().map_err(|error| error.to_string())?;
    let line = page.trim().lines().next().unwrap_or_default().trim();
    if line.contains(':') && are_addresses(line) {
        Ok(line.to_owned())
    } else {
        Err(format!(
            "{line:?} is not addresses of name servers, host:port;host:port"
        ))
    }
}

/// Whether a text is addresses of name servers: `host:port`, several with `;` between them. Blanks
/// round an address and empty entries are allowed.
pub fn are_addresses(text: &str) -> bool {
    let is_address = |address: &str| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    text.split(';')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .all(is_address)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one answer; hands out the address, and what was asked.
    async fn page(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = peer.read(&mut asked).await.unwrap();
            peer.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (address, served)
    }

    #[tokio::test]
    async fn the_first_line_counts() {
        let (address, served) =
            page("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n\n10.0.0.1:9876;b:1 \r\nbehind it")
                .await;
        let service = AddressService::of(&address, "nsaddr-shop?nofix=1");
        assert_eq!(service.ask().await.unwrap(), "10.0.0.1:9876;b:1");
        let asked = served.await.unwrap();
        assert!(
            asked.starts_with("GET /rocketmq/nsaddr-shop?nofix=1 HTTP/1.1\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn what_is_no_list_is_refused_with_the_page() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n;",
            "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n",
            "no HTTP",
        ] {
            let (address, _served) = page(answer).await;
            let refused = AddressService::of(&address, "nsaddr").ask().await;
            let said = refused.expect_err(answer).to_string();
            assert!(
                said.contains(&format!("http://{address}/rocketmq/nsaddr")),
                "{said}"
            );
        }
    }

    #[test]
    fn a_domain_without_a_port_has_8080() {
        assert_eq!(
            AddressService::of("jmenv.tbsite.net", "nsaddr").url(),
            "http://jmenv.tbsite.net:8080/rocketmq/nsaddr"
        );
        assert_eq!(
            AddressService::of("a:80", "nsaddr").url(),
            "http://a:80/rocketmq/nsaddr"
        );
    }
}
