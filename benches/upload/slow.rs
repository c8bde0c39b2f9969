//! Uploads that hardly move: what each of them holds in the server's memory.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::content::Content;
use crate::dialect;
use crate::http1;
use crate::process::Server;
use crate::row::Row;
use crate::run::Sample;

/// Above what the same connections hold while they are idle.
pub(crate) fn measure(row: &Row, content: &Content) -> Sample {
    allow_descriptors();
    let server = Server::start(&row.setup);
    let mut clients: Vec<_> =
        (0..row.work.files).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    let idle = settled(|| server.resident());
    server.forget_peak();
    let place = 0..row.work.chunk;
    for (number, client) in clients.iter_mut().enumerate() {
        client.set_nodelay(true).unwrap();
        let bytes = content.slice(place.clone());
        let request = dialect::chunk(row, &format!("f{number}"), None, &place, bytes);
        client.write_all(&http1::head(&request)).unwrap();
        client.write_all(&request.body[0]).unwrap();
    }
    let mut sent = 0;
    let pieces = std::iter::repeat_n(PIECE, BURST / PIECE).chain(std::iter::repeat_n(1, TRICKLE));
    for length in pieces {
        let piece = content.slice(sent..sent + length as u64);
        clients.iter_mut().for_each(|client| client.write_all(&piece).unwrap());
        sent += length as u64;
        thread::sleep(PAUSE);
    }
    let held = settled(|| server.resident()).saturating_sub(idle);
    let peak = server.peak();
    // Before the clients leave in the midst of their uploads, which it would report.
    drop(server);
    Sample { peak, held: Some(held as f64 / row.work.files as f64), ..Sample::default() }
}

/// A number when it does not change any more.
fn settled(number: impl Fn() -> u64) -> u64 {
    let (mut last, mut same) = (0, 0);
    while same < 10 {
        let now = number();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        thread::sleep(PAUSE);
    }
    last
}

/// As many as the system gives: the server gets the same.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// What comes at once, and how it is cut.
const BURST: usize = 64 << 10;
const PIECE: usize = 4 << 10;
/// How many single bytes follow.
const TRICKLE: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
