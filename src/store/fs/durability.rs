//! What an upload survives.

/// The failures that an acknowledged byte survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, including `kill -9`: the kernel has the bytes and the record. A
    /// power cut may lose what was acknowledged in the last half minute or so. On Linux, the store
    /// detects that the machine was restarted: it compares such a file with its checksum before
    /// handing it over, and refuses one that is not whole.
    #[default]
    Process,
    /// A power cut: the bytes are synced, then the record, then, for a new upload, the folders,
    /// before a chunk is acknowledged. A chunk then costs at least one round trip to the disk.
    Sync,
}
