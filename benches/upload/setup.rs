//! What kind of server is measured, and how it is set up.

use serde::{Deserialize, Serialize};

use crate::server::nginx;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `std::net`, a thread a connection: what the machine can do.
    Std,
    /// The smallest hyper server, which blocks its runtime's threads.
    Hyper,
    /// A peer, if it is installed: PUT with its default buffers.
    Nginx,
    /// The layer.
    Crate,
}

impl Kind {
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        match word {
            "std" => Ok(Self::Std),
            "hyper" => Ok(Self::Hyper),
            "nginx" if nginx::is_installed() => Ok(Self::Nginx),
            "nginx" => Err("no nginx is installed (Debian: nginx-light)".to_owned()),
            "crate" => Ok(Self::Crate),
            _ => Err(format!("no such server: {word}")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Hyper => "hyper",
            Self::Nginx => "nginx",
            Self::Crate => "crate",
        }
    }

    /// Whether it speaks of uploads, rather than of files that the client names.
    pub(crate) fn has_uploads(self) -> bool {
        self == Self::Crate
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) server: Kind,
    pub(crate) http: Http,
    pub(crate) md5: bool,
    /// Each chunk is synced before it is answered.
    pub(crate) sync: bool,
    /// `max_buf_size` of hyper's HTTP/1.
    pub(crate) read_buffer: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Http {
    One,
    /// With hyper's windows, or with these.
    Two(Option<Windows>),
}

/// What an HTTP/2 server offers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
    pub(crate) frame: u32,
}
