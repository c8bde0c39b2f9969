//! Object stores as they are in the world, each a process of its own on a free port, in a folder of
//! its own, and gone with its handle or with this process.
//!
//! Ceph is found by `PATH`; moto and the others are where `tests/run` installs them, unless
//! `MOTO_SERVER`, `AZURITE` or `S3RVER` names the program.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "each test uses some of it, and all of it is tests"
)]

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::{
    AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder,
};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use tempfile::TempDir;

use crate::ports::free_ports;

/// The account of every Azurite.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const TEST_KEYS: (&str, &str) = ("testkey", "testsecret");
const CEPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/ceph-dev.sh");
const NODE_PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/node_modules/.bin");
const PYTHON_PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python");
/// It serves one request after the other: on its threads a condition and the write that it is for can be
/// torn apart.
const MOTO: &str = "
import sys
from moto.server import create_backend_app
from werkzeug.serving import run_simple
run_simple(sys.argv[2], int(sys.argv[4]), create_backend_app('s3'), threaded=False)
";
/// Runs a program until it ends or the input does, which it also does with the process behind it.
const WHILE_WANTED: &str = r#"
    exec 3<&0
    "$@" </dev/null 3<&- &
    program=$!
    { cat <&3; kill -9 $program; } &
    wait $program"#;
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    S3,
    Azure,
}

/// Something that keeps objects, for as long as this is there.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) protocol: Protocol,
    /// Each is a way to the same objects.
    pub(crate) urls: Vec<String>,
    /// Whom it lets in: an access key and its secret, or an account and its key.
    pub(crate) keys: (&'static str, &'static str),
    process: Child,
    folder: TempDir,
}

/// Ceph, whose daemons can be killed.
#[derive(Debug)]
pub(crate) struct Ceph(Engine);

/// Ceph with this many gateways, whose disk is `memstore` or `bluestore`.
pub(crate) fn ceph(gateways: u16, disk: &str) -> Ceph {
    for program in
        ["ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "ceph", "monmaptool", "bash", "curl"]
    {
        assert!(
            is_in_path(program),
            "missing: {program} (apt-get install ceph-mon ceph-mgr ceph-osd radosgw ceph-common \
             bash curl)"
        );
    }
    let folder = TempDir::with_prefix_in("ceph-", env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (monitor, first) = (free_ports(1), free_ports(gateways));
    let log = folder.path().join("stderr");
    let mut process = Command::new("bash")
        .args([CEPH.as_ref(), "run".as_ref(), folder.path(), disk.as_ref()])
        .arg(gateways.to_string())
        .env("MON_PORT", monitor.to_string())
        .env("RGW_PORT", first.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = first_line(process.stdout.take().unwrap());
    let engine = Engine {
        protocol: Protocol::S3,
        urls: (first..first + gateways).map(url).collect(),
        keys: TEST_KEYS,
        process,
        folder,
    };
    assert_eq!(said, "ready\n", "ceph does not start: {}", fs::read_to_string(log).unwrap());
    Ceph(engine)
}

/// S3, in Python's memory.
pub(crate) fn moto() -> Engine {
    let port = free_ports(1);
    let mut words = match env::var_os("MOTO_SERVER") {
        Some(program) => vec![program],
        None => {
            assert!(
                Path::new(PYTHON_PACKAGES).join("moto").is_dir(),
                "missing: moto (python3 -m pip install --target target/python 'moto[s3]' flask \
                 flask-cors, or MOTO_SERVER)"
            );
            ["python3", "-c", MOTO].map(OsString::from).to_vec()
        }
    };
    words.extend(["-H", "127.0.0.1", "-p"].map(OsString::from));
    words.push(port.to_string().into());
    Engine::start("moto", Protocol::S3, port, TEST_KEYS, |_| words)
}

/// Azure Blob Storage.
pub(crate) fn azurite() -> Engine {
    let port = free_ports(1);
    let keys = (AZURE_ACCOUNT, AZURE_KEY);
    Engine::start("azurite", Protocol::Azure, port, keys, |data| {
        let mut words = vec![node_program("AZURITE", "azurite-blob")];
        words.extend(["--silent", "--skipApiVersionCheck", "--disableTelemetry"].map(Into::into));
        words.extend(["--blobHost", "127.0.0.1", "--blobPort"].map(Into::into));
        words.extend([port.to_string().into(), "--location".into(), data.into()]);
        words
    })
}

/// S3 as of old, which does not know the conditions of a PUT and ignores them.
pub(crate) fn s3rver() -> Engine {
    let port = free_ports(1);
    let keys = ("S3RVER", "S3RVER");
    Engine::start("s3rver", Protocol::S3, port, keys, |data| {
        let mut words = vec![node_program("S3RVER", "s3rver")];
        words.extend(["--silent", "--no-vhost-buckets"].map(Into::into));
        words.extend(["--address", "127.0.0.1", "--port"].map(Into::into));
        words.extend([port.to_string().into(), "--directory".into(), data.into()]);
        words
    })
}

impl Engine {
    fn start(
        name: &str,
        protocol: Protocol,
        port: u16,
        keys: (&'static str, &'static str),
        words: impl FnOnce(&Path) -> Vec<OsString>,
    ) -> Self {
        let folder =
            TempDir::with_prefix_in(format!("{name}-"), env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new("sh")
            .args(["-c", WHILE_WANTED, name])
            .args(words(&data))
            .env("PYTHONPATH", PYTHON_PACKAGES)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut engine = Self { protocol, urls: vec![url(port)], keys, process, folder };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = engine.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{name} does not start: {}",
                engine.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
        engine
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A new bucket: a handle for each way to it.
    pub(crate) async fn bucket(&self) -> Vec<Arc<dyn ObjectStore>> {
        self.open(&self.new_bucket().await, &RetryConfig::default())
    }

    /// The name of a new bucket.
    pub(crate) async fn new_bucket(&self) -> String {
        provide_crypto();
        let bucket = format!("bucket-{:016x}", fastrand::u64(..));
        let request = match self.protocol {
            Protocol::S3 => {
                let s3 = self.s3(&self.urls[0], &bucket, &RetryConfig::default());
                let minute = Duration::from_secs(60);
                let url = s3.signed_url(http::Method::PUT, &"".into(), minute).await.unwrap();
                reqwest::Client::new().put(url)
            }
            Protocol::Azure => {
                let url = format!("{}/{}/{bucket}?restype=container", self.urls[0], self.keys.0);
                let mut request = HttpRequest::new(HttpRequestBody::empty());
                *request.method_mut() = http::Method::PUT;
                *request.uri_mut() = url.parse().unwrap();
                let key = AzureCredential::AccessKey(AzureAccessKey::try_new(self.keys.1).unwrap());
                AzureAuthorizer::new(&key, self.keys.0).try_authorize(&mut request).unwrap();
                reqwest::Client::new().put(url).headers(request.headers().clone())
            }
        };
        let answer = request.header("content-length", 0).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status} {}", answer.text().await.unwrap());
        bucket
    }

    /// A handle for each way to a bucket that exists.
    pub(crate) fn open(&self, bucket: &str, retry: &RetryConfig) -> Vec<Arc<dyn ObjectStore>> {
        provide_crypto();
        let handle = |url: &String| match self.protocol {
            Protocol::S3 => Arc::new(self.s3(url, bucket, retry)) as Arc<dyn ObjectStore>,
            Protocol::Azure => Arc::new(emulated_azure(url, bucket, retry)),
        };
        self.urls.iter().map(handle).collect()
    }

    fn s3(&self, url: &str, bucket: &str, retry: &RetryConfig) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_client_options(patient())
            .with_endpoint(url)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false)
            .with_region("us-east-1")
            .with_bucket_name(bucket)
            .with_access_key_id(self.keys.0)
            .with_secret_access_key(self.keys.1)
            .with_retry(retry.clone())
            .build()
            .unwrap()
    }
}

impl Drop for Engine {
    /// On return its processes are gone.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

impl Ceph {
    /// SIGKILL; on return the gateway is gone.
    pub(crate) fn kill_gateway(&self, gateway: usize) {
        self.script("kill", &Self::name_of_gateway(gateway));
    }

    /// On return it answers.
    pub(crate) fn restart_gateway(&self, gateway: usize) {
        self.script("again", &Self::name_of_gateway(gateway));
    }

    /// SIGKILL for the daemon with the disk, which outlives that if it is a `bluestore`. Requests
    /// wait meanwhile.
    pub(crate) fn kill_osd(&self) {
        self.script("kill", "osd.0");
    }

    pub(crate) fn restart_osd(&self) {
        self.script("again", "osd.0");
    }

    fn name_of_gateway(gateway: usize) -> String {
        format!("client.gw{}", gateway + 1)
    }

    fn script(&self, command: &str, daemon: &str) {
        let words = [CEPH.as_ref(), command.as_ref(), self.folder.path(), daemon.as_ref()];
        let status = Command::new("bash").args(words).status().unwrap();
        assert!(status.success(), "{command} {daemon}: {status}");
    }
}

impl Deref for Ceph {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

/// Lists as the emulator can. It would be looked for at one place only, whatever the endpoint; so that
/// is asked of a proxy.
fn emulated_azure(url: &str, bucket: &str, retry: &RetryConfig) -> MicrosoftAzure {
    MicrosoftAzureBuilder::new()
        .with_client_options(patient())
        .with_use_emulator(true)
        .with_proxy_url(url)
        .with_container_name(bucket)
        .with_retry(retry.clone())
        .build()
        .unwrap()
}

/// Of a client that waits as long as an engine may take on a busy machine. An engine that was killed
/// ends its connections.
fn patient() -> ClientOptions {
    ClientOptions::new().with_timeout(DEADLINE).with_connect_timeout(DEADLINE)
}

/// A client of HTTP asks for it even if it never sees TLS.
fn provide_crypto() {
    // It fails only if there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn node_program(variable: &str, name: &str) -> OsString {
    let program =
        env::var_os(variable).map_or_else(|| Path::new(NODE_PROGRAMS).join(name), PathBuf::from);
    assert!(
        program.is_file(),
        "missing: {} (npm install --prefix servers/tests/engines, or {variable})",
        program.display()
    );
    program.into()
}

fn first_line(stdout: ChildStdout) -> String {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
