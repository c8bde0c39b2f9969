/// Limits on the parts of a form other than its file.
///
/// A form that exceeds one of these limits is refused immediately, with 400 and the code
/// `form-too-large`. The size of the file itself is not limited here.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormLimits {
    /// Number of parts, both fields and files. Default: 128.
    pub parts: usize,
    /// Bytes of one part's headers. Default: 16 KiB.
    pub part_header_bytes: usize,
    /// Bytes of one text field's value, before decoding. Default: 64 KiB.
    pub field_bytes: usize,
    /// Bytes of all text fields' names and values, before decoding. Default: 256 KiB.
    pub fields_bytes: usize,
    /// Bytes that are read and discarded: everything before the first part, and the content of
    /// parts that are neither the file nor a text field. Default: 1 MiB.
    pub ignored_bytes: u64,
}

impl FormLimits {
    /// Sets how many parts a form may have (default: 128).
    #[must_use]
    pub fn parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }

    /// Sets how many bytes one part's headers may have (default: 16 KiB).
    #[must_use]
    pub fn part_header_bytes(mut self, bytes: usize) -> Self {
        self.part_header_bytes = bytes;
        self
    }

    /// Sets how many bytes one text field's value may have (default: 64 KiB).
    #[must_use]
    pub fn field_bytes(mut self, bytes: usize) -> Self {
        self.field_bytes = bytes;
        self
    }

    /// Sets how many bytes the names and values of all text fields may have (default: 256 KiB).
    #[must_use]
    pub fn fields_bytes(mut self, bytes: usize) -> Self {
        self.fields_bytes = bytes;
        self
    }

    /// Sets how many ignored bytes are read and discarded (default: 1 MiB).
    #[must_use]
    pub fn ignored_bytes(mut self, bytes: u64) -> Self {
        self.ignored_bytes = bytes;
        self
    }
}

impl Default for FormLimits {
    fn default() -> Self {
        Self {
            parts: 128,
            part_header_bytes: 16 * 1024,
            field_bytes: 64 * 1024,
            fields_bytes: 256 * 1024,
            ignored_bytes: 1024 * 1024,
        }
    }
}
