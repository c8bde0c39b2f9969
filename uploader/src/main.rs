//! Sends files to a server that uses this crate, for use by services and scripts.
//!
//!     chunked-upload --url http://127.0.0.1:3000/api/chunked_upload big.iso photos/
//!     chunked-upload --help
//!
//! It sends a file in chunks, which it hashes while it reads them, and retries after temporary
//! failures: a lost connection, a busy server, a server that restarts. While a file is being sent,
//! `NAME.upload` beside it remembers the upload. Run the same command again after a crash or
//! Ctrl-C, and it resumes where the server's bytes end.
//!
//! It is also a load generator: `--random 64M --count 20` sends 20 files without reading a disk.
//!
//! Exit codes:
//!
//! - 0: all files have arrived
//! - 1: a file was refused, or could not be read; trying again would not help
//! - 2: the arguments were not understood
//! - 3: some files have not arrived yet, after all retries; run it again
//! - 130: it was stopped by Ctrl-C

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use self::args::Args;
use self::client::Client;
use self::outcome::Totals;
use self::progress::Progress;
use self::source::Source;
use self::transfer::{Settings, Transfer};

mod answer;
mod args;
mod backoff;
mod body;
mod client;
mod outcome;
mod prefix;
mod progress;
mod resume;
mod size;
mod source;
mod transfer;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args = Args::parse();
    // This fails only if there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = Runtime::new().map_err(BoxError::from).and_then(|runtime| {
        let ended = runtime.block_on(run(args));
        // After Ctrl-C, a thread may still be reading a large file.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        eprintln!("error: {}", answer::explain(&*error));
        ExitCode::FAILURE
    })
}

async fn run(args: Args) -> Result<ExitCode, BoxError> {
    let client = Client::new(&args)?;
    let (sources, unreadable) = source::find(&args);
    let count = args.count.get();
    let files = (sources.len() as u64).saturating_mul(count);
    let bytes = sources.iter().map(Source::size).sum::<u64>().saturating_mul(count);
    let progress = Progress::new(bytes, args.quiet);
    for problem in &unreadable {
        progress.complain(problem);
    }
    let settings = Arc::new(Settings::new(&args, client, progress.clone()));
    let start = Instant::now();
    let totals = tokio::select! {
        totals = send_all(&args, sources, &settings) => totals?,
        _ = tokio::signal::ctrl_c() => {
            progress.end();
            progress.complain(if settings.remembers {
                "stopped; run the same command again to go on"
            } else {
                "stopped"
            });
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    progress.end();
    println!("{}", totals.summary(files, start.elapsed()));
    Ok(totals.exit_code(!unreadable.is_empty()))
}

/// Sends each file as many times as asked for, a limited number in parallel.
async fn send_all(
    args: &Args,
    sources: Vec<Source>,
    settings: &Arc<Settings>,
) -> Result<Totals, tokio::task::JoinError> {
    let count = args.count.get();
    let mut waiting = sources
        .into_iter()
        .flat_map(|source| (1..=count).map(move |number| (number, source.clone())));
    let (mut under_way, mut totals) = (JoinSet::new(), Totals::default());
    loop {
        while under_way.len() < args.parallel.get()
            && let Some((number, source)) = waiting.next()
        {
            let source = if count > 1 { source.numbered(number) } else { source };
            under_way.spawn(Transfer::new(Arc::clone(settings), source).run());
        }
        match under_way.join_next().await {
            Some(outcome) => totals.add(outcome?),
            None => return Ok(totals),
        }
    }
}

const INTERRUPTED: u8 = 130;
