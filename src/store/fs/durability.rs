//! What an upload survives.

/// What an acknowledged byte survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, `kill -9` included: the bytes and the record are with the kernel.
    /// A power cut may take what was acknowledged in the last half minute or so. On Linux, which
    /// tells that the machine was restarted, this is noticed: such a file is compared with its
    /// checksum before it is handed over, and refused if it is not whole.
    #[default]
    Process,
    /// A power cut: the bytes are synced, then the record, then, for a new upload, the folders,
    /// before a chunk is acknowledged. A chunk then costs at least one round trip to the disk.
    Sync,
}
