//! What is measured, and what with what is compared.

use crate::args::Args;
use crate::row::{Row, Shape, Work};
use crate::setup::{Http, Kind, Windows};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<Row>,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Uploads,
    Chunks,
    /// It is no rate: what is measured is what uploads hold that hardly move.
    Memory,
}

impl Unit {
    pub(crate) fn rate(self) -> &'static str {
        match self {
            Self::Bytes => "MiB/s",
            Self::Uploads => "uploads/s",
            Self::Chunks => "chunks/s",
            Self::Memory => "",
        }
    }

    pub(crate) fn cost(self) -> &'static str {
        match self {
            Self::Bytes => "CPU s/GiB",
            Self::Uploads => "CPU µs/upload",
            Self::Chunks => "CPU µs/chunk",
            Self::Memory => "",
        }
    }

    pub(crate) fn switches(self) -> &'static str {
        match self {
            Self::Bytes => "switches/GiB",
            Self::Uploads => "switches/upload",
            Self::Chunks => "switches/chunk",
            Self::Memory => "",
        }
    }

    /// How many units of a rate are in the work.
    pub(crate) fn amount(self, work: &Work) -> f64 {
        let bytes = (work.files * work.size) as f64;
        match self {
            Self::Bytes | Self::Memory => bytes / MIB as f64,
            Self::Uploads => work.files as f64,
            Self::Chunks => (work.files * work.size.div_ceil(work.chunk)) as f64,
        }
    }
}

/// Those that are asked for.
pub(crate) fn chosen(args: &Args) -> Vec<Scenario> {
    let mut scenarios = all(args.windows);
    scenarios.retain_mut(|scenario| {
        scenario.rows.retain(|row| args.wants_row(row));
        args.wants(scenario) && !scenario.rows.is_empty()
    });
    scenarios
}

fn all(windows: Windows) -> Vec<Scenario> {
    let work = |files, size, chunk, connections| Work { files, size, chunk, connections };
    let one = work(1, GIB, 8 * MIB, 1);
    let four = work(4, 512 * MIB, 8 * MIB, 4);
    let some = work(64, 16 * MIB, MIB, 16);
    let small = work(2_000, 16 * KIB, 16 * KIB, 32);
    let chunks = work(8, 64 * MIB, 64 * KIB, 1);
    let slow = work(500, 4 * MIB, 4 * MIB, 500);
    use Unit::{Bytes, Chunks, Memory, Uploads};
    let scenario = |name, title, unit, rows| Scenario { name, title, unit, rows };
    vec![
        scenario(
            "a",
            "one file of 1 GiB in chunks of 8 MiB",
            Bytes,
            [peers(one), both(one, plain)].concat(),
        ),
        scenario(
            "a4",
            "four files of 512 MiB at once in chunks of 8 MiB",
            Bytes,
            both(four, plain),
        ),
        scenario(
            "b",
            "64 files of 16 MiB in chunks of 1 MiB, 16 at once",
            Bytes,
            [peers(some), both(some, plain)].concat(),
        ),
        scenario(
            "c",
            "2,000 files of 16 KiB, 32 at once",
            Uploads,
            [twice(Row::new(Kind::Nginx, small)), both(small, small_files)].concat(),
        ),
        scenario(
            "d",
            "8 × 64 MiB in chunks of 64 KiB, one after the other",
            Chunks,
            [peers(chunks), both(chunks, plain)].concat(),
        ),
        scenario("e", "completion of a file", Bytes, completions()),
        scenario("f", "500 slow uploads after 64 KiB of 4 MiB", Memory, both(slow, slow_uploads)),
        scenario("a-h2", "(a) over HTTP/2", Bytes, http2(one, windows)),
        scenario("b-h2", "(b) over HTTP/2, a connection each", Bytes, http2(some, windows)),
        scenario("a-sync", "(a), each chunk synced", Bytes, synced(one)),
        scenario("b-sync", "(b), each chunk synced", Bytes, synced(some)),
    ]
}

/// Without MD5 and with it.
fn both(work: Work, rows: impl Fn(Work) -> Vec<Row>) -> Vec<Row> {
    let plain = rows(work);
    let hashed: Vec<_> = plain.iter().map(|row| row.with(|setup| setup.md5 = true)).collect();
    [plain, hashed].concat()
}

/// Those that run only if they are named. They compute no MD5.
fn peers(work: Work) -> Vec<Row> {
    let [nginx, rustus, salvo] =
        [Kind::Nginx, Kind::Rustus, Kind::SalvoTus].map(|server| Row::new(server, work));
    vec![nginx, rustus.shaped(Shape::Tus), salvo.shaped(Shape::Tus)]
}

fn plain(work: Work) -> Vec<Row> {
    let shapes = |layer: Row| [Shape::Raw, Shape::Multipart, Shape::Tus].map(|s| layer.shaped(s));
    let layers = LAYERS.map(|server| Row::new(server, work));
    let references = REFERENCES.map(|server| Row::new(server, work));
    references.into_iter().chain(layers.into_iter().flat_map(shapes)).collect()
}

fn small_files(work: Work) -> Vec<Row> {
    let shapes = |layer: Row| {
        let two = [Shape::Raw, Shape::Multipart, Shape::Tus];
        let two = two.map(|shape| layer.shaped(shape).two_requests());
        two.into_iter().chain([layer.shaped(Shape::TusWithUpload)])
    };
    let layers = LAYERS.map(|server| Row::new(server, work));
    let references = REFERENCES.map(|server| Row::new(server, work));
    let references = references.into_iter().flat_map(twice);
    references.chain(layers.into_iter().flat_map(shapes)).collect()
}

/// A reference for an upload of one request, and for one of two.
fn twice(row: Row) -> Vec<Row> {
    vec![row, row.two_requests()]
}

fn completions() -> Vec<Row> {
    let sizes = [(500, MIB, "1 MiB"), (20, 64 * MIB, "64 MiB"), (5, GIB, "1 GiB")];
    let row = |(files, size, name)| {
        let work = Work { files, size, chunk: size.min(8 * MIB), connections: 1 };
        Row { note: Some(name), ..Row::new(Kind::Crate, work) }
    };
    [false, true]
        .into_iter()
        .flat_map(|md5| sizes.map(|size| row(size).with(|setup| setup.md5 = md5)))
        .collect()
}

fn slow_uploads(work: Work) -> Vec<Row> {
    let narrow = |row: Row| row.with(|setup| setup.read_buffer = Some(8 << 10));
    let [std, hyper, pool, layer, in_place] = SERVERS.map(|server| Row::new(server, work));
    let forms = [layer, in_place].map(|layer| layer.shaped(Shape::Multipart));
    let narrow = [hyper, pool, layer, in_place].map(narrow);
    [&[std, hyper, pool, layer, in_place], &forms[..], &narrow[..]].concat()
}

fn http2(work: Work, windows: Windows) -> Vec<Row> {
    let row =
        |server, windows| Row::new(server, work).with(|setup| setup.http = Http::Two(windows));
    [None, Some(windows)]
        .into_iter()
        // `std` speaks only HTTP/1.
        .flat_map(|windows| SERVERS[1..].iter().map(move |server| row(*server, windows)))
        .collect()
}

fn synced(work: Work) -> Vec<Row> {
    [Kind::Std, Kind::Crate]
        .map(|server| Row::new(server, work).with(|setup| setup.sync = true))
        .to_vec()
}

/// Those that run unless others are named.
pub(crate) const SERVERS: [Kind; 5] =
    [Kind::Std, Kind::Hyper, Kind::HyperPool, Kind::Crate, Kind::CrateInPlace];
const REFERENCES: [Kind; 3] = [Kind::Std, Kind::Hyper, Kind::HyperPool];
const LAYERS: [Kind; 2] = [Kind::Crate, Kind::CrateInPlace];
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
