//! A way to the database that can be cut, for good or without a word.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections end, and new ones end at once.
    Cut,
    /// Nothing arrives any more, and nobody says so.
    Silent,
}

pub(crate) struct Proxy {
    pub(crate) address: String,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    pub(crate) async fn to(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let sender = Arc::clone(&way);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, address.clone(), sender.subscribe()));
            }
        });
        Self { address: own, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn carry(client: TcpStream, address: String, way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(copy(from_client, to_server, way.clone()), copy(from_server, to_client, way));
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = tokio::select! {
            count = from.read(&mut buffer) => count.unwrap_or(0),
            _ = way.wait_for(|way| *way == Way::Cut) => return,
        };
        if count == 0 {
            return;
        }
        // What came in silence is gone: the connection cannot go on when it ends.
        if *way.borrow() == Way::Silent {
            let _ = way.wait_for(|way| *way != Way::Silent).await;
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
