//! Three servers on one bucket, and a balancer in front that sends each request to the next server:
//! the chunks of a file arrive through all three, and so does its completion.
//!
//!     cargo run -p servers --example cluster
//!
//! Then open http://127.0.0.1:3000 and drop a file; `x-node` in each response says which server
//! sent it. Kill servers as you like: the others continue, and a dead one is restarted. The
//! settings are environment variables, with these defaults:
//!
//! - `BUCKET`, which must be set: `s3://bucket`, `az://container` or `gs://bucket`, or `bucket`
//!   alone for S3. Finished files go to `media/` in it.
//! - Its account and address, in the variables of the service's own tools: `AWS_ACCESS_KEY_ID`,
//!   `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` (one for each server, separated by
//!   commas), `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_APPLICATION_CREDENTIALS` and so on
//! - `ADDR`: the address of the balancer; `127.0.0.1:3000`. The servers listen on free ports.
//! - `MAX_BYTES`: the largest file; 20 GiB
//! - `EXPIRES_AFTER`: how long an upload may take, in seconds; a day
//! - `HEAD_TIMEOUT`: how long a client may be silent before and between its requests, in seconds;
//!   10

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use page::{form, list, user};
use serde_json::{Value, json};
use serve::Server;
use tokio::net::TcpListener;
use tower_chunked_upload::store::BucketStore;
use tower_chunked_upload::{Chunked, ChunkedUploadLayer, CompletedUpload, Uploads};

use self::nodes::{Nodes, told_to_end};

#[path = "cluster/balancer.rs"]
mod balancer;
#[path = "cluster/bucket.rs"]
mod bucket;
#[path = "cluster/nodes.rs"]
mod nodes;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    serve::log_errors();
    // This fails only if there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = match (env::var("BUCKET"), nodes::own_number()) {
        (Err(_), _) => Err(HELP.into()),
        (Ok(bucket), Some(number)) => node(&bucket, number).await,
        (Ok(_), None) => balance().await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                // Some errors include their source.
                if !text.contains(&error.to_string()) {
                    text = format!("{text}: {error}");
                }
                source = error.source();
            }
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the servers, and balances between them.
async fn balance() -> Result<(), BoxError> {
    let nodes = Nodes::start(NODES).await?;
    let listener = TcpListener::bind(setting("ADDR", "127.0.0.1:3000")).await?;
    println!("drop files at http://{}", listener.local_addr()?);
    let server = Server::new(head_timeout()?);
    let connections = balancer::serve(&server, listener, nodes.addresses(), told_to_end()).await;
    tokio::join!(nodes.stop(), async {
        // A client that keeps an idle connection open must not keep the balancer running.
        drop(tokio::time::timeout(2 * PATIENCE, connections.shutdown()).await);
    });
    Ok(())
}

/// One of the servers.
async fn node(bucket: &str, number: usize) -> Result<(), BoxError> {
    let store = BucketStore::builder(bucket::open(bucket, number)?).connect().await?;
    let uploads = Uploads::builder(store)
        .max_bytes(setting("MAX_BYTES", "21474836480").parse()?)
        .expires_after(Duration::from_secs(setting("EXPIRES_AFTER", "86400").parse()?))
        .build()?;
    // Each sweep costs requests, and one node is enough.
    let sweeper = (number == 1).then(|| uploads.sweep_every(SWEEP));

    let layer = ChunkedUploadLayer::new(uploads.clone()).policy(user::ByCookie);
    let takes_files = Router::new().route("/api/chunked_upload_complete", post(done));
    // A form without JavaScript cannot compute a checksum.
    let takes_forms =
        layer.clone().chunked(Chunked::new().md5_check(false)).around(takes_files.clone());
    let takes_forms = Router::new().fallback_service(takes_forms);
    let routes = takes_files
        .route("/api/chunked_upload_form", form::route(takes_forms))
        .route("/api/uploads", get(list::mine).with_state(uploads.clone()))
        .merge(page::pages());
    let app = Router::new().fallback_service(layer.around(routes));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    nodes::listens_at(listener.local_addr()?);
    let server = Server::new(head_timeout()?);
    let connections = server.serve(listener, app, told_to_end()).await;
    tokio::join!(uploads.shutdown(PATIENCE), async {
        // Responses are still sent, and an idle connection must not keep the node running.
        drop(tokio::time::timeout(2 * PATIENCE, connections.shutdown()).await);
    });
    if let Some(sweeper) = sweeper {
        sweeper.stop().await;
    }
    Ok(())
}

/// Takes a finished file.
async fn done(upload: CompletedUpload) -> Result<Json<Value>, StatusCode> {
    // The user's list tells it again after a reload of the page.
    let saved_as = list::saved_as(upload.record());
    // The layer logs the cause.
    upload
        .persist(format!("media/{saved_as}"))
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({
        "name": upload.raw_filename(),
        "saved": upload.filename(),
        "saved_as": saved_as,
        "size": upload.size(),
        "md5": upload.digest().map(|digest| digest.to_hex()),
    })))
}

fn head_timeout() -> Result<Duration, BoxError> {
    Ok(Duration::from_secs(setting("HEAD_TIMEOUT", "10").parse()?))
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const SWEEP: Duration = Duration::from_secs(10 * 60);
const HELP: &str = "BUCKET is not set. Set it to the bucket for the uploads, and the variables of its \
service, as in

    export BUCKET=s3://my-uploads AWS_REGION=eu-central-1
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...

or az://container or gs://bucket with AZURE_... or GOOGLE_.... To try it on this machine alone, with a
bucket in memory:

    python3 -m venv target/moto && target/moto/bin/pip install 'moto[s3]' flask flask-cors
    target/moto/bin/moto_server -H 127.0.0.1 -p 5000 &
    curl --retry 9 --retry-connrefused -X PUT http://127.0.0.1:5000/uploads
    export BUCKET=s3://uploads AWS_ENDPOINT_URL=http://127.0.0.1:5000 AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any";
