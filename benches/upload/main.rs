//! Whole uploads over loopback, against reference servers; `benches/README.md` says how to run it and
//! how to read its tables.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")
)]

#[cfg(target_os = "linux")]
mod args;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod content;
#[cfg(target_os = "linux")]
mod counts;
#[cfg(target_os = "linux")]
mod dialect;
#[cfg(target_os = "linux")]
mod drive;
#[cfg(target_os = "linux")]
mod http1;
#[cfg(target_os = "linux")]
mod http2;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod row;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod scenario;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod setup;
#[cfg(target_os = "linux")]
mod slow;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    // The benchmark starts itself once more as the server.
    if words.next().as_deref() == Some(process::SERVE) {
        let (setup, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match server::serve(&serde_json::from_str(&setup)?, data.as_ref())? {}
    }
    let args = args::Args::parse(std::env::args().skip(1))?;
    if !args.counts {
        run::all(&args)?;
    }
    if args.counts || args.smoke {
        counts::all(args.smoke)?;
    }
    Ok(())
}

/// It asks `/proc` what a server costs.
#[cfg(not(target_os = "linux"))]
fn main() {}
