//! Tokens that requests present instead of a session, and those that answers hand out. Without
//! feature `tokens` there are none.

#[cfg(feature = "tokens")]
mod on;
#[cfg(feature = "tokens")]
pub(crate) use on::*;

#[cfg(not(feature = "tokens"))]
mod off;
#[cfg(not(feature = "tokens"))]
pub(crate) use off::*;
