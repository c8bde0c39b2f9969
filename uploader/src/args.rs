//! The command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use crate::size;

/// Sends files in chunks to a server that takes chunked uploads.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Files and folders to send; folders are sent with all their contents, without following links
    #[arg(value_name = "PATH", required_unless_present = "random")]
    pub(crate) paths: Vec<PathBuf>,

    /// The URL for chunks
    #[arg(long, value_parser = url, default_value = "http://127.0.0.1:3000/api/chunked_upload")]
    pub(crate) url: Url,

    /// The URL for completions [default: <URL>_complete]
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) complete_url: Option<Url>,

    /// Size of a chunk in bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", value_parser = size::parse_nonzero, default_value = "8M")]
    pub(crate) chunk_size: NonZeroU64,

    /// How many files are sent at the same time
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) parallel: NonZeroUsize,

    /// How many times in a row a file may fail temporarily before it is given up
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) retries: u32,

    /// How long a request may make no progress before it counts as failed
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub(crate) timeout: Duration,

    /// Send forms, as a browser does, instead of raw bodies
    #[arg(long)]
    pub(crate) multipart: bool,

    /// A header for every request, such as 'Authorization: Bearer …'; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    /// A field for every chunk and completion; may be given several times
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
    pub(crate) fields: Vec<(String, String)>,

    /// How many times to send each file
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) count: NonZeroU64,

    /// Instead of files from a disk, send a generated one of this size
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "paths")]
    pub(crate) random: Option<u64>,

    /// Show no progress, only errors and the summary
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other} is neither http nor https")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: NonZeroU64 = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Duration::from_secs(seconds.get()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("there is no colon")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let mut value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no equals sign")?;
    // In the header of a form's part, these characters would end the name.
    if name.is_empty() || name.contains(|char: char| char == '"' || char.is_control()) {
        return Err("the name is empty, or has a character that no name has".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all files have arrived
  1    a file was refused, or could not be read; trying again would not help
  2    the arguments were not understood
  3    some files have not arrived yet, after all retries; run it again
  130  it was stopped by Ctrl-C

While a file is being sent, NAME.upload beside it remembers the upload. Run the same
command again to resume it.";
