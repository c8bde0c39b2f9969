//! What feature `metrics` counts.

#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Response};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use support::*;
use tokio::sync::watch;
use tower_chunked_upload::store::MemoryStore;
use tower_chunked_upload::{ChunkedUploadLayer, LongCompletions, Tus, Uploads, UploadsBuilder};

/// Keeps the values of a thread.
#[derive(Clone, Default)]
struct Values(Arc<Mutex<BTreeMap<String, f64>>>);

struct Value {
    values: Values,
    name: String,
}

impl Values {
    fn value(&self, key: &Key) -> Arc<Value> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.name().trim_start_matches("chunked_upload_").to_owned();
        Arc::new(Value { values: self.clone(), name: name + &labels.collect::<String>() })
    }

    /// Those that have changed, and whatever takes time only as how often it was measured.
    fn told(&self) -> BTreeMap<String, f64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Value {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.values.0.lock().unwrap().entry(self.name.clone()).or_default());
    }
}

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.change(|sum| *sum += value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("a counter is only incremented");
    }
}

impl GaugeFn for Value {
    fn increment(&self, _: f64) {
        panic!("a gauge is only set");
    }

    fn decrement(&self, _: f64) {
        panic!("a gauge is only set");
    }

    fn set(&self, value: f64) {
        self.change(|last| *last = value);
    }
}

impl HistogramFn for Value {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{} took {seconds}", self.name);
        self.change(|count| *count += 1.0);
    }
}

impl Recorder for Values {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.0.lock().unwrap().insert(format!("described {}", key.as_str()), 1.0);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe_counter(key, unit, text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}

#[track_caller]
fn assert_told(values: &Values, expected: &[(&str, f64)], why: &str) {
    let mut told = values.told();
    // How often calls change the thread depends on what the store remembers.
    told.retain(|name, _| name != "hops_total");
    let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    assert_eq!(told, expected, "{why}");
}

/// On one thread, with a recorder of its own.
fn measured<F: Future<Output = ()>>(test: impl FnOnce(Values) -> F) {
    let values = Values::default();
    let _recorder = metrics::set_default_local_recorder(&values);
    run_alone(test(values.clone()));
}

fn served(builder: UploadsBuilder) -> (Uploads, Client) {
    let uploads = builder.build().unwrap();
    (uploads.clone(), Client::new(ChunkedUploadLayer::new(uploads).tus(Tus::new("/tus"))))
}

fn stores(test: impl Fn(&'static str, UploadsBuilder)) {
    test("memory", Uploads::builder(MemoryStore::new()));
    let (_folder, store) = folder();
    test("folder", Uploads::builder(store));
}

#[test]
fn the_life_of_an_upload_is_counted() {
    stores(|name, builder| {
        measured(|values| async move {
            let clock = Clock::new();
            let (uploads, client) = served(builder.clock(clock.read()));
            let described = values.told();
            assert!(described.keys().all(|key| key.starts_with("described ")), "{described:?}");
            assert_eq!(described.len(), 17, "{described:?}");

            let id = client.begin(7, b"abc").await;
            let chunk = [
                ("append_duration_seconds", 1.0),
                ("commit_duration_seconds", 1.0),
                ("committed_bytes_total", 3.0),
                ("received_bytes_total", 3.0),
            ];
            assert_told(&values, &[&chunk[..], &[("begun_total", 1.0)]].concat(), name);
            client.chunk(Some(&id), 3, 7, b"def").await;
            assert_told(&values, &chunk, name);
            client.chunk(Some(&id), 6, 7, b"g").await;
            values.told();
            assert_eq!(client.complete(&id, &md5(b"abcdefg")).await.status, 200);
            let completed =
                [("completion_duration_seconds", 1.0), ("ended_total as=completed", 1.0)];
            assert_told(&values, &completed, name);

            let cancelled = client.begin(7, b"abc").await;
            client.begin(7, b"abc").await;
            values.told();
            client.cancel(&cancelled).await;
            assert_told(&values, &[("ended_total as=cancelled", 1.0)], name);

            uploads.delete_expired().await.unwrap();
            let swept = [
                ("sweep_duration_seconds", 1.0),
                ("sweep_skipped_total", 0.0),
                ("unfinished", 1.0),
            ];
            assert_told(&values, &swept, name);
            clock.advance(Duration::from_secs(30 * 24 * 60 * 60));
            uploads.delete_expired().await.unwrap();
            let told = values.told();
            // One of them is complete.
            assert_eq!(told["ended_total as=expired"], 2.0, "{name}: {told:?}");
        });
    });
}

#[test]
fn calls_on_files_are_counted() {
    stores(|name, builder| {
        measured(|values| async move {
            let (_, client) = served(builder);
            client.begin(7, b"abc").await;
            let hops = values.told().get("hops_total").copied();
            assert_eq!(hops.is_some(), name == "folder", "{name}: {hops:?}");
        });
    });
}

#[test]
fn refusals_are_counted_by_protocol_and_code() {
    measured(|values| async move {
        let (_, client) = served(Uploads::builder(MemoryStore::new()).max_bytes(10));
        let id = client.begin(7, b"abc").await;
        values.told();
        client.chunk(Some(&id), 2, 7, b"def").await.refused(400);
        let mismatch = ("refusals_total dialect=chunked code=offset-mismatch", 1.0);
        assert_told(&values, &[mismatch], "chunked");
        client.chunk(None, 0, 70, b"def").await.refused(400);
        assert_told(&values, &[("refusals_total dialect=chunked code=too-large", 1.0)], "chunked");
        let unknown = http::Request::head(format!("/tus/{}", "0".repeat(32)));
        let unknown = unknown.header("tus-resumable", "1.0.0").body(TestBody::empty()).unwrap();
        assert_eq!(client.send(unknown).await.status, 404);
        assert_told(&values, &[("refusals_total dialect=tus code=not-found", 1.0)], "tus");
        // What is no upload is not counted.
        let other = http::Request::builder().method(Method::GET).uri("/else");
        client.send(other.body(TestBody::empty()).unwrap()).await;
        assert_told(&values, &[], "another path");
    });
}

#[test]
fn answers_that_were_kept_are_counted() {
    measured(|values| async move {
        let uploads = Uploads::builder(MemoryStore::new()).build().unwrap();
        let long = LongCompletions::new("/done").after(Duration::ZERO);
        let layer = ChunkedUploadLayer::new(uploads).long_completions(long);
        let gate = watch::Sender::new(false);
        let open = gate.clone();
        let client = Client::around(layer, move |_| {
            let mut gate = open.subscribe();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                Response::default()
            }
        });
        let id = client.upload(b"abc").await;
        let ask = || {
            let request = http::Request::get(format!("/done/{id}"));
            client.send(request.body(TestBody::empty()).unwrap())
        };
        let accepted = ("answers_total dialect=chunked as=accepted", 1.0);
        values.told();
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 202);
        assert_told(&values, &[accepted], "the handler runs");
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 202);
        assert_told(&values, &[accepted], "it still does");
        assert_eq!(ask().await.status, 202);
        assert_told(&values, &[("answers_total dialect=other as=accepted", 1.0)], "at its address");
        gate.send_replace(true);
        until("it is answered", async || ask().await.status == 200).await;
        values.told();
        assert_eq!(client.complete(&id, &md5(b"abc")).await.status, 200);
        assert_told(&values, &[("answers_total dialect=chunked as=kept", 1.0)], "again");
    });
}

#[test]
fn requests_that_are_taken_over_are_counted() {
    measured(|values| async move {
        let builder = Uploads::builder(MemoryStore::new()).takeover_timeout(PATIENCE);
        let (_, client) = served(builder);
        let id = client.begin(7, b"abc").await;
        let (pieces, body) = TestBody::live();
        pieces.send(Piece::Data("de"[..].into())).unwrap();
        let mut probe = body.probe();
        let stalled = client.spawn(raw(Some(&id), Some("bytes 3-6/7"), body));
        probe.waiting().await;
        values.told();
        assert_eq!(client.chunk(Some(&id), 3, 7, b"defg").await.status, 200);
        stalled.await.unwrap().refused(409);
        let told = values.told();
        assert_eq!(told["takeovers_total by=request"], 1.0, "{told:?}");
        assert_eq!(told["refusals_total dialect=chunked code=superseded"], 1.0, "{told:?}");
    });
}

#[test]
fn quotas_are_measured() {
    measured(|values| async move {
        let builder = Uploads::builder(MemoryStore::new()).max_bytes_in_all(100);
        let (_, client) = served(builder.max_uploads_per_owner(5));
        let told = values.told();
        assert_eq!(told["quota_limit quota=all_bytes"], 100.0, "{told:?}");
        assert_eq!(told["quota_limit quota=owner_uploads"], 5.0, "{told:?}");
        assert!(!told.contains_key("quota_limit quota=owner_bytes"), "{told:?}");
        let id = client.begin(70, b"abc").await;
        let told = values.told();
        assert_eq!((told["quota_uploads"], told["quota_bytes"]), (1.0, 70.0));
        client.cancel(&id).await;
        let told = values.told();
        assert_eq!((told["quota_uploads"], told["quota_bytes"]), (0.0, 0.0));
    });
}
