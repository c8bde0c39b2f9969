//! What a chunk costs in a bucket, beside a bare `put_opts` of the same bytes: `cargo bench -p benches --bench bucket`.
//!
//! `BUCKET=s3://name` and the variables of the AWS tools say where (`AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`); without it, it is the memory of this process.
//! Rows take turns in each round, so machine and moment are the same for all.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tower_chunked_upload::store::BucketStore;
use tower_chunked_upload::{AppendMode, NewUpload, UploadId, Uploads};

#[tokio::main]
async fn main() {
    let test = !std::env::args().any(|word| word == "--bench");
    let (rounds, sizes): (usize, &[usize]) =
        if test { (2, &[1, 1 << 20]) } else { (40, &[64 << 10, 1 << 20, 8 << 20, 32 << 20]) };
    let counter = Counter {
        objects: objects(),
        puts: Arc::default(),
        gets: Arc::default(),
        lists: Arc::default(),
    };
    println!("| chunk | row | p50 ms | p90 ms | to `put_opts` | PUT | GET and HEAD | LIST |");
    println!("|---|---|---|---|---|---|---|---|");
    for &size in sizes {
        table(&counter, size, if size > 1 << 23 { rounds / 4 + 1 } else { rounds }).await;
    }
}

async fn table(counter: &Counter, size: usize, rounds: usize) {
    let mut nodes = Vec::new();
    for node in 0..5 {
        let store = BucketStore::builder(Arc::new(counter.clone())).prefix("bench").connect();
        let uploads = Uploads::builder(store.await.unwrap()).checksum(node == HASHES);
        nodes.push(uploads.build().unwrap());
    }
    let bytes = Bytes::from(vec![7; size]);
    let mut uploads = Vec::new();
    for node in [&nodes[0], &nodes[1], &nodes[HASHES]] {
        uploads.push(
            node.for_owner(None).create(NewUpload::new()).await.unwrap().commit().await.unwrap().id,
        );
    }
    let mut rows = [
        Row::new("`put_opts`, create-only"),
        Row::new("the same node"),
        Row::new("three nodes in turn"),
        Row::new("the same node, with an MD5"),
    ];
    // Once without being counted, for connections and what nodes remember.
    for round in 0..=rounds + 3 {
        let counted = round > 3;
        for at in 0..rows.len() {
            let row = (at + round) % rows.len();
            counter.reset();
            let raw = Path::from(format!("bench/raw/{}", UploadId::random()));
            let start = Instant::now();
            match row {
                0 => {
                    let options = PutOptions::from(PutMode::Create);
                    counter.put_opts(&raw, bytes.clone().into(), options).await.unwrap();
                }
                1 => append(&nodes[0], &uploads[0], round * size, &bytes).await,
                3 => append(&nodes[HASHES], &uploads[2], round * size, &bytes).await,
                _ => append(&nodes[1 + round % 3], &uploads[1], round * size, &bytes).await,
            }
            let time = start.elapsed();
            if counted {
                rows[row].add(time, counter);
            }
            if row == 0 {
                counter.objects.delete(&raw).await.unwrap();
            }
        }
    }
    let raw = rows[0].quantile(0.5);
    for row in &mut rows {
        row.print(size, raw);
    }
    for id in &uploads {
        nodes[0].for_operator().cancel(id).await.unwrap();
    }
}

async fn append(node: &Uploads, id: &UploadId, at: usize, bytes: &Bytes) {
    let mut append =
        node.for_operator().append(id, at as u64, AppendMode::AllOrNothing).await.unwrap();
    append.write(bytes.clone()).await.unwrap();
    append.commit().await.unwrap();
}

struct Row {
    name: &'static str,
    times: Vec<Duration>,
    calls: [u64; 3],
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new(), calls: [0; 3] }
    }

    fn add(&mut self, time: Duration, counter: &Counter) {
        self.times.push(time);
        for (sum, now) in self.calls.iter_mut().zip(counter.reset()) {
            *sum += now;
        }
    }

    fn quantile(&mut self, part: f64) -> f64 {
        self.times.sort_unstable();
        let at = (self.times.len() - 1) as f64 * part;
        self.times[at as usize].as_secs_f64() * 1e3
    }

    fn print(&mut self, size: usize, raw: f64) {
        let (half, most) = (self.quantile(0.5), self.quantile(0.9));
        let each = self.calls.map(|calls| calls as f64 / self.times.len() as f64);
        let [puts, gets, lists] = each;
        println!(
            "| {} KiB | {} | {half:.2} | {most:.2} | {:.2} | {puts:.1} | {gets:.1} | {lists:.1} |",
            size >> 10,
            self.name,
            half / raw,
        );
    }
}

fn objects() -> Arc<dyn ObjectStore> {
    let Ok(url) = std::env::var("BUCKET") else {
        return Arc::new(object_store::memory::InMemory::new());
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    let variables = std::env::vars().map(|(name, value)| (name.to_lowercase(), value));
    let (objects, _) = object_store::parse_url_opts(&url.parse().unwrap(), variables).unwrap();
    Arc::from(objects)
}

/// Counts requests by what they cost.
#[derive(Clone, Debug)]
struct Counter {
    objects: Arc<dyn ObjectStore>,
    puts: Arc<AtomicU64>,
    gets: Arc<AtomicU64>,
    lists: Arc<AtomicU64>,
}

impl Counter {
    fn reset(&self) -> [u64; 3] {
        [&self.puts, &self.gets, &self.lists].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counter {
    async fn put_opts(
        &self,
        key: &Path,
        bytes: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.objects.put_opts(key, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.objects.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.objects.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// The node of the row with an MD5.
const HASHES: usize = 4;
