//! What kind of server is measured, and how it is set up.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `std::net`, a thread a connection: what the machine can do.
    Std,
    /// The smallest hyper server, which blocks its runtime's threads.
    Hyper,
    /// The same, but it gathers frames and has them written by a thread for work that blocks.
    HyperPool,
    /// A peer, if it is installed: PUT with its default buffers.
    Nginx,
    /// Peers over tus, if they are installed.
    Rustus,
    SalvoTus,
    /// The layer.
    Crate,
    /// The layer, with its calls on files where they stand.
    CrateInPlace,
}

impl Kind {
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == word);
        let kind = kind.ok_or_else(|| format!("no such server: {word}"))?;
        match kind.program() {
            Some((program, how)) if !is_installed(program) => {
                Err(format!("{program} is not on the PATH ({how})"))
            }
            _ => Ok(kind),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Hyper => "hyper",
            Self::HyperPool => "hyper-pool",
            Self::Nginx => "nginx",
            Self::Rustus => "rustus",
            Self::SalvoTus => "salvo-tus",
            Self::Crate => "crate",
            Self::CrateInPlace => "crate-in-place",
        }
    }

    /// The program that a peer is, and how it is installed.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nginx => Some(("nginx", "Debian: nginx-light")),
            Self::Rustus => Some(("rustus", "cargo install rustus --version ^0.5")),
            Self::SalvoTus => {
                Some(("salvo-tus-peer", "cargo install --path benches/peers/salvo-tus"))
            }
            _ => None,
        }
    }

    /// Whether it speaks of uploads, rather than of files that the client names.
    pub(crate) fn has_uploads(self) -> bool {
        self.is_tus_peer() || matches!(self, Self::Crate | Self::CrateInPlace)
    }

    /// Whether a whole file is found by its name or its upload's id.
    pub(crate) fn stores_whole_files(self) -> bool {
        !matches!(self, Self::Nginx | Self::SalvoTus)
    }

    /// Whether it is another's server that speaks only tus.
    pub(crate) fn is_tus_peer(self) -> bool {
        matches!(self, Self::Rustus | Self::SalvoTus)
    }

    const ALL: [Self; 8] = [
        Self::Std,
        Self::Hyper,
        Self::HyperPool,
        Self::Nginx,
        Self::Rustus,
        Self::SalvoTus,
        Self::Crate,
        Self::CrateInPlace,
    ];
}

/// Whether a program is on the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
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
