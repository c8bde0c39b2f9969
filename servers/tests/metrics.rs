//! The example `metrics` as Prometheus and Grafana see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        // The client wants one, even where it uses no TLS. Another test may have been faster.
        drop(rustls::crypto::ring::default_provider().install_default());
        let own = std::env::current_exe().unwrap();
        let program = own.parent().and_then(Path::parent).unwrap().join("examples/metrics");
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .env("ADDR", "127.0.0.1:0")
            .env("UPLOADS", folder.path().join("uploads/%Y"))
            .env("MEDIA", folder.path().join("media"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned(), folder }
    }

    async fn metrics(&self) -> String {
        let answer = reqwest::get(format!("{}/metrics", self.address)).await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../examples/metrics/grafana.json")).unwrap()
}

/// Uploads a file of five bytes, and has one chunk refused.
async fn use_it(server: &Server) {
    let client = reqwest::Client::new();
    let chunk = |id: String, range: &'static str, bytes: &'static str| {
        let url = format!("{}/api/chunked_upload{id}", server.address);
        let request = client.post(url).header("Content-Range", range).body(bytes);
        request.header("Content-Disposition", "attachment; filename=\"a.txt\"").send()
    };
    let begun = chunk(String::new(), "bytes 0-2/5", "abc").await.unwrap();
    let begun: Value = begun.error_for_status().unwrap().json().await.unwrap();
    let id = format!("?upload_id={}", begun["upload_id"].as_str().unwrap());
    assert_eq!(chunk(id.clone(), "bytes 0-2/5", "abc").await.unwrap().status(), 400);
    chunk(id.clone(), "bytes 3-4/5", "de").await.unwrap().error_for_status().unwrap();
    let complete = client.post(format!("{}/api/chunked_upload_complete", server.address));
    let form = format!("upload_id={}&md5=ab56b4d92b40713acc5af89985d4b786", &id[11..]);
    let form = complete.header("Content-Type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(form.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn prometheus_gets_what_has_happened() {
    let server = Server::start();
    use_it(&server).await;
    let text = server.metrics().await;
    for line in [
        "# TYPE chunked_upload_begun_total counter",
        "# HELP chunked_upload_begun_total Uploads that were created.",
        "chunked_upload_begun_total 1",
        "chunked_upload_ended_total{as=\"completed\"} 1",
        "chunked_upload_received_bytes_total 5",
        "chunked_upload_committed_bytes_total 5",
        "chunked_upload_refusals_total{dialect=\"chunked\",code=\"offset-mismatch\"} 1",
        "# TYPE chunked_upload_commit_duration_seconds histogram",
        "chunked_upload_commit_duration_seconds_count 2",
        "chunked_upload_completion_duration_seconds_bucket{le=\"+Inf\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    let health = reqwest::get(format!("{}/health", server.address)).await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn an_orchestrator_hears_of_a_store_that_cannot_be_written() {
    let server = Server::start();
    let uploads = server.folder.path().join("uploads");
    drop(std::fs::remove_dir_all(&uploads));
    std::fs::write(&uploads, "a file in the place of the folder").unwrap();
    let health = reqwest::get(format!("{}/health", server.address)).await.unwrap();
    assert_eq!(health.status(), 503);
}

/// Grafana is not here, so this holds what it needs to import and draw the dashboard.
#[test]
fn the_dashboard_can_be_loaded() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(!dashboard["title"].as_str().unwrap().is_empty());
    assert!(dashboard["id"].is_null(), "Grafana gives the id");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<_> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + width <= 24, "{panel}");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another one", panel["title"]);
        }
        let shown = panel["type"] == "row";
        assert!(shown || !panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    let text = dashboard.to_string();
    let used = Regex::new(r"\$\{?([a-z_]+)\}?").unwrap();
    for name in used.captures_iter(&text).map(|found| found[1].to_owned()) {
        let builtin = name.starts_with("__");
        assert!(builtin || variables.contains(name.as_str()), "there is no variable {name}");
    }
}

#[test]
fn the_dashboard_shows_each_metric_of_the_guide_and_no_other() {
    let name = Regex::new(r"chunked_upload_[a-z_]+").unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let names = name.find_iter(expression).map(|found| found.as_str());
            shown.extend(names.map(|name| name.trim_end_matches("_bucket").to_owned()));
            assert_eq!(
                expression.matches(['(', '{', '[']).count(),
                expression.matches([')', '}', ']']).count(),
                "{expression}",
            );
        }
    }
    let guide = include_str!("../../src/guide/observe.rs");
    let row = Regex::new(r"(?m)^//! \| `(chunked_upload_[a-z_]+)`").unwrap();
    let told: BTreeSet<_> = row.captures_iter(guide).map(|found| found[1].to_owned()).collect();
    assert_eq!(shown, told);
}
