//! salvo's tus with its own settings, at an address and in a folder: `salvo-tus-peer ADDR FOLDER`.

use std::env;
use std::error::Error;

use salvo::conn::TcpListener;
use salvo::tus::Tus;
use salvo::{Listener, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<_> = env::args().skip(1).collect();
    let [addr, folder] = &words[..] else { return Err("an address and a folder are needed".into()) };
    let router = Tus::new().path("/files").storage_root(folder).into_router();
    Server::new(TcpListener::new(addr.clone()).bind().await).serve(router).await;
    Ok(())
}
