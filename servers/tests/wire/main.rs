//! Plays the wire cases of `cases` over real sockets, against servers that it starts
//! itself: `WIRE_SERVER` (a command), or else the example `wire`. Takes libtest's arguments.

#![forbid(unsafe_code)]

mod args;
mod case;
mod conn;
mod data;
mod expect;
mod form;
mod play;
#[path = "../support/ports.rs"]
pub(crate) mod ports;
mod server;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use args::Args;
use case::{Case, Theme};
use play::{Outcome, play};
use server::Server;

fn main() -> ExitCode {
    match run(std::env::args().skip(1), None) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what libtest's arguments ask for, against another server than the usual one if a command is
/// given; says whether all is well.
pub(crate) fn run(
    args: impl Iterator<Item = String>,
    command: Option<Vec<String>>,
) -> Result<bool, String> {
    let args = Args::parse(args)?;
    let cases = load()?;
    let all = cases.len();
    let cases: Vec<_> = cases.into_iter().filter(|case| args.wants(&case.name)).collect();
    if args.list {
        for case in &cases {
            println!("{}: test", case.name);
        }
        if !args.terse {
            println!("\n{} tests, 0 benchmarks", cases.len());
        }
        return Ok(true);
    }
    // like libtest, so that a filter for another target's tests does no harm
    let none_wanted = cases.is_empty() && args.filters();
    let command = match command {
        Some(command) => command,
        None if cases.is_empty() => Vec::new(),
        None => server_command()?,
    };
    Ok(report(&cases, all - cases.len(), &args, &command) || none_wanted)
}

/// The package's folder; a test that was moved to another machine is told by the environment.
fn root() -> PathBuf {
    let moved = std::env::var_os("CARGO_MANIFEST_DIR");
    moved.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn load() -> Result<Vec<Case>, String> {
    let folder = std::env::var_os("WIRE_CASES");
    let folder = folder.map_or_else(|| root().join("tests/wire/cases"), PathBuf::from);
    let mut files = server::files(&folder);
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut cases, mut names) = (Vec::<Case>::new(), HashSet::new());
    for (path, _) in files.into_iter().filter(|(path, _)| path.extension() == Some("json".as_ref()))
    {
        let theme = std::fs::read(&path).map_err(|error| error.to_string());
        let theme = theme.and_then(|text| {
            serde_json::from_slice::<Theme>(&text).map_err(|error| error.to_string())
        });
        for case in theme.map_err(|error| format!("{}: {error}", path.display()))?.cases {
            if !names.insert(case.name.clone()) {
                return Err(format!("{}: the name {:?} is taken", path.display(), case.name));
            }
            cases.push(case);
        }
    }
    if cases.is_empty() {
        return Err(format!("no cases in {}", folder.display()));
    }
    Ok(cases)
}

/// The words of the command that starts a server.
fn server_command() -> Result<Vec<String>, String> {
    if let Ok(command) = std::env::var("WIRE_SERVER") {
        let whole = Path::new(&command).is_file();
        let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        return match words.len() {
            0 => Err("WIRE_SERVER is empty".to_owned()),
            _ => Ok(if whole { vec![command] } else { words }),
        };
    }
    // target/<profile>/deps/wire-<hash> and target/<profile>/examples/wire
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let example = profile.join("examples").join(format!("wire{}", std::env::consts::EXE_SUFFIX));
    let Ok(built) = example.metadata().and_then(|found| found.modified()) else {
        return Err(format!(
            "there is no {}; `cargo build --examples` in `servers` makes it (`cargo test` there \
             does so too), or name another server in WIRE_SERVER",
            example.display()
        ));
    };
    let sources =
        ["../src", "../serve/src", "examples"].map(|folder| server::files(&root().join(folder)));
    let newer = |file: &std::fs::Metadata| file.modified().is_ok_and(|time| time > built);
    if let Some((path, _)) = sources.iter().flatten().find(|(_, file)| newer(file)) {
        eprintln!("warning: {} is older than {}", example.display(), path.display());
    }
    Ok(vec![example.to_string_lossy().into_owned()])
}

type Played<'a> = (&'a Case, Outcome, Vec<String>);

/// Plays the cases, each config in a thread of its own, and prints as libtest does.
fn report(cases: &[Case], filtered: usize, args: &Args, command: &[String]) -> bool {
    let began = Instant::now();
    println!("\nrunning {} tests", cases.len());
    server::end_on_interrupt();
    let mut configs: Vec<&str> = Vec::new();
    for case in cases {
        if !configs.contains(&case.config.as_str()) {
            configs.push(&case.config);
        }
    }
    let (senders, receivers): (Vec<_>, Vec<_>) =
        configs.iter().map(|_| mpsc::channel::<Played<'_>>()).unzip();
    let queue = Mutex::new(configs.iter().zip(senders));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..configs.len().min(args.threads.unwrap_or(usize::MAX)) {
            scope.spawn(|| {
                while let Some((config, results)) = next() {
                    play_config(cases.iter().filter(|c| c.config == *config), command, &results);
                }
            });
        }
        for (case, outcome, seen) in receivers.into_iter().flatten() {
            let name = &case.name;
            match outcome {
                Outcome::Ok => {
                    passed += 1;
                    println!("test {name} ... ok");
                }
                Outcome::Skip(why) => {
                    skipped += 1;
                    println!("test {name} ... ignored, {why}");
                }
                Outcome::Fail(why) => {
                    println!("test {name} ... FAILED");
                    failed.push((name, why, seen.clone()));
                }
            }
            if args.show {
                seen.iter().for_each(|line| println!("       {line}"));
            }
        }
    });
    if !failed.is_empty() {
        println!("\nfailures:");
        for (name, why, seen) in &failed {
            println!("\n---- {name} ----\n{why}\n{}", seen.join("\n"));
        }
        println!("\nfailures:");
        failed.iter().for_each(|(name, ..)| println!("    {name}"));
    }
    let good = failed.is_empty() && passed > 0;
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {skipped} ignored; 0 measured; \
         {filtered} filtered out; finished in {:.2}s\n\n{passed} passed, {} failed",
        if good || cases.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        began.elapsed().as_secs_f64(),
        failed.len(),
    );
    good
}

fn play_config<'a>(
    cases: impl Iterator<Item = &'a Case>,
    command: &[String],
    results: &mpsc::Sender<Played<'a>>,
) {
    let mut server = None;
    for case in cases {
        let server = server.get_or_insert_with(|| Server::new(command, &case.config));
        let (outcome, seen) = match server {
            _ if server::interrupted() => (Outcome::Fail("interrupted".to_owned()), Vec::new()),
            Ok(server) => play(server, case),
            Err(why) => (Outcome::Fail(why.clone()), Vec::new()),
        };
        let _ = results.send((case, outcome, seen));
    }
}
