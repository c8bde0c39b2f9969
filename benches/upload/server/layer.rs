//! The crate.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::service::TowerToHyperService;
use tower::{Layer, service_fn};
use tower_chunked_upload::store::{Durability, FileCalls, FsStore};
use tower_chunked_upload::{Chunked, ChunkedUploadLayer, Tus, Uploads};

use super::listen;
use crate::setup::{Kind, Setup};

pub(crate) fn serve(listener: TcpListener, setup: Setup, data: &Path) -> io::Result<Infallible> {
    let durability = if setup.sync { Durability::Sync } else { Durability::Process };
    let in_place = setup.server == Kind::CrateInPlace;
    let calls = if in_place { FileCalls::InPlace } else { FileCalls::Pool };
    let store = FsStore::new(data.join("%Y/%m/%d")).durability(durability).file_calls(calls);
    let uploads = Uploads::builder(store).checksum(setup.md5).build().map_err(io::Error::other)?;
    let chunked = Chunked::new().md5_check(setup.md5);
    let layer = ChunkedUploadLayer::new(uploads).chunked(chunked).tus(Tus::new("/files"));
    let inner = service_fn(async |_: Request<_>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
    });
    listen::serve(listener, setup, TowerToHyperService::new(layer.layer(inner)))
}
