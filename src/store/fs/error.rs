//! Errors of the system, with what was tried and where.

use std::io;
use std::path::Path;

use crate::store::{Result, StoreError};

pub(super) trait Context<T> {
    /// Adds what was tried, and with which file.
    fn context(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| StoreError::io(format!("{action} {}", path.display()), error))
    }
}
