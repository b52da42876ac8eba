//! How far the source has got: asked each second, forgotten when it does not answer.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::watch;

const PERIOD: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// A head this old says nothing any more.
const OLD: Duration = Duration::from_secs(5);

/// The newest event of the source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Head {
    pub last_offset: i64,
    pub epoch: Option<String>,
}

/// What is known of the source; nothing without an address.
#[derive(Clone)]
pub struct Source(Option<watch::Receiver<Option<(Instant, Head)>>>);

impl Source {
    /// Asks `address` from now on, if there is one.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn watch(address: Option<&str>) -> Result<Self, reqwest::Error> {
        let Some(address) = address else {
            return Ok(Self(None));
        };
        let client = reqwest::Client::builder().timeout(TIMEOUT);
        let client = if address.starts_with("https:") {
            client
        } else {
            // A machine without root certificates can still ask plain http.
            client.tls_certs_only([])
        };
        let client = client.build()?;
        let url = format!("{address}/health");
        let (heads, receiver) = watch::channel(None);
        tokio::spawn(async move {
            while !heads.is_closed() {
                match ask(&client, &url).await {
                    Ok(head) => drop(heads.send_replace(Some((Instant::now(), head)))),
                    Err(error) => tracing::debug!("the source does not answer: {error}"),
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        Ok(Self(Some(receiver)))
    }

    /// Whether the source answers; `None` if nobody asks it.
    pub fn reachable(&self) -> Option<bool> {
        self.0.as_ref().map(|_| self.head().is_some())
    }

    pub fn head(&self) -> Option<Head> {
        let (at, head) = self.0.as_ref()?.borrow().clone()?;
        (at.elapsed() < OLD).then_some(head)
    }
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
) -> Result<Head, Box<dyn std::error::Error + Send + Sync>> {
    let answer = client.get(url).send().await?;
    // Also a source that is not well says where it stands.
    Ok(serde_json::from_slice(&answer.bytes().await?)?)
}
