//! The arguments of libtest that `cargo test` and `cargo nextest` hand over.

#[derive(Debug, Default)]
pub(crate) struct Args {
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    ignored: bool,
    pub(crate) list: bool,
    pub(crate) terse: bool,
    /// Show every answer.
    pub(crate) show: bool,
    pub(crate) threads: Option<usize>,
}

impl Args {
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        let mut given = given.flat_map(|word| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                vec![name.to_owned(), value.to_owned()]
            }
            _ => vec![word],
        });
        while let Some(word) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{word} needs a value"));
            match &*word {
                "--list" => args.list = true,
                "--exact" => args.exact = true,
                "--ignored" => args.ignored = true,
                "--nocapture" | "--no-capture" | "--show-output" => args.show = true,
                "--skip" => args.skip.push(value()?),
                "--format" => args.terse = value()? == "terse",
                "--test-threads" => args.threads = value()?.parse().ok().filter(|n| *n > 0),
                "--color" | "-Z" | "--logfile" | "--shuffle-seed" => drop(value()?),
                "-q" | "--quiet" | "--include-ignored" | "--test" | "--bench" => {}
                option if option.starts_with('-') => return Err(format!("unknown: {option}")),
                name => args.names.push(name.to_owned()),
            }
        }
        Ok(args)
    }

    pub(crate) fn wants(&self, case: &str) -> bool {
        let fits = |name: &String| {
            if self.exact { case == name } else { case.contains(&**name) }
        };
        // no case is marked as ignored
        !self.ignored
            && (self.names.is_empty() || self.names.iter().any(fits))
            && !self.skip.iter().any(fits)
    }

    /// Whether fewer cases than all were asked for.
    pub(crate) fn filters(&self) -> bool {
        self.ignored || !self.names.is_empty() || !self.skip.is_empty()
    }
}
