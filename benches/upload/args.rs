//! What is asked for.

use crate::row::{Row, Shape};
use crate::scenario::{self, Scenario};
use crate::setup::{Kind, Windows};

#[derive(Debug)]
pub(crate) struct Args {
    scenarios: Vec<String>,
    pub(crate) rounds: usize,
    only: Option<Shape>,
    md5: Option<bool>,
    servers: Vec<Kind>,
    durability: Option<bool>,
    pub(crate) windows: Windows,
    /// Only what is counted rather than measured.
    pub(crate) counts: bool,
    /// Little of everything, to see that it works.
    pub(crate) smoke: bool,
}

impl Args {
    /// `cargo bench` gives `--bench`; otherwise it is a test, whose other arguments are for others.
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let given: Vec<_> = given.collect();
        let mut args = Self {
            scenarios: Vec::new(),
            rounds: 5,
            only: None,
            md5: None,
            servers: scenario::SERVERS.to_vec(),
            durability: None,
            windows: WINDOWS,
            counts: false,
            smoke: false,
        };
        if !given.iter().any(|word| word == "--bench") {
            args.set_smoke();
            return Ok(args);
        }
        let mut words = given.iter();
        while let Some(word) = words.next() {
            match &**word {
                "--bench" => continue,
                "--counts" => {
                    args.counts = true;
                    continue;
                }
                "--smoke" => {
                    args.set_smoke();
                    continue;
                }
                _ => {}
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            args.set(word, value)?;
        }
        Ok(args)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("--scenario", names) => {
                self.scenarios = names.split(',').map(str::to_owned).collect();
            }
            ("--rounds", count) => self.rounds = number(count)?,
            ("--only", shape) => self.only = Some(Shape::parse(shape)?),
            ("--md5", "on") => self.md5 = Some(true),
            ("--md5", "off") => self.md5 = Some(false),
            ("--servers", names) => {
                self.servers = names.split(',').map(Kind::parse).collect::<Result<_, _>>()?;
            }
            ("--durability", "sync") => self.durability = Some(true),
            ("--durability", "process") => self.durability = Some(false),
            ("--windows", sizes) => self.windows = windows(sizes)?,
            _ => return Err(format!("not understood: {name} {value}")),
        }
        Ok(())
    }

    fn set_smoke(&mut self) {
        self.smoke = true;
        self.rounds = 1;
    }

    /// Whether a scenario is asked for: `--durability sync` turns `a` into `a-sync`.
    pub(crate) fn wants(&self, scenario: &Scenario) -> bool {
        let (name, sync) = match scenario.name.strip_suffix("-sync") {
            Some(name) => (name, true),
            None => (scenario.name, false),
        };
        let named = |name| self.scenarios.is_empty() || self.scenarios.iter().any(|n| n == name);
        match self.durability {
            Some(durability) => durability == sync && (named(name) || named(scenario.name)),
            None => named(scenario.name),
        }
    }

    /// Bodies that differ are only those of servers that have uploads.
    pub(crate) fn wants_row(&self, row: &Row) -> bool {
        let is_shape = self.only.is_none_or(|shape| shape == row.shape);
        self.servers.contains(&row.setup.server)
            && self.md5.is_none_or(|md5| md5 == row.setup.md5)
            && (is_shape || !row.setup.server.has_uploads())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

/// Three sizes in KiB: of a stream's window, a connection's, and of a frame.
fn windows(text: &str) -> Result<Windows, String> {
    let sizes: Vec<u32> = text.split(',').map(number).collect::<Result<_, _>>()?;
    let [stream, connection, frame] = sizes[..] else {
        return Err(format!("three sizes are needed: {text}"));
    };
    Ok(Windows { stream: stream << 10, connection: connection << 10, frame: frame << 10 })
}

const WINDOWS: Windows = Windows { stream: 2 << 20, connection: 4 << 20, frame: 256 << 10 };
