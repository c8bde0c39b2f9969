use std::{error::Error, fmt};

use crate::code;

/// Why a form was refused.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// The content type is absent or not `multipart/form-data`.
    NotForm,
    /// The content type has no boundary, or a malformed one.
    Boundary,
    /// A boundary is followed by more whitespace than any gateway adds.
    BoundaryLine,
    /// The form has more than [`parts`](super::FormLimits::parts).
    TooManyParts,
    /// A part's headers exceed [`part_header_bytes`](super::FormLimits::part_header_bytes).
    HeaderTooLong,
    /// A part's headers are malformed.
    Header,
    /// A part has an unknown encoding, or it is the file and has any encoding: the stored bytes
    /// would not be those that were sent.
    Encoding,
    /// A text field is not valid in its encoding.
    Undecodable,
    /// A text field exceeds [`field_bytes`](super::FormLimits::field_bytes).
    FieldTooLong,
    /// The file's field has a part that is not a file and is too long for a text field.
    NoFilename,
    /// The file's field has a part with much content whose filename contains no name, like
    /// `folder/`.
    Unnamed,
    /// The text fields exceed [`fields_bytes`](super::FormLimits::fields_bytes).
    FieldsTooLong,
    /// The file's field has a second file.
    TwoFiles,
    /// The ignored content exceeds [`ignored_bytes`](super::FormLimits::ignored_bytes).
    TooMuchIgnored,
    /// The body ended before the form did.
    Truncated,
}

impl FormError {
    /// The word by which programs know the error.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::NotForm
            | Self::Boundary
            | Self::BoundaryLine
            | Self::Header
            | Self::Undecodable => code::MALFORMED_FORM,
            Self::TooManyParts
            | Self::HeaderTooLong
            | Self::FieldTooLong
            | Self::FieldsTooLong
            | Self::TooMuchIgnored => code::FORM_TOO_LARGE,
            Self::Encoding => code::UNSUPPORTED_ENCODING,
            Self::NoFilename | Self::Unnamed => code::NO_FILE,
            Self::TwoFiles => code::TWO_FILES,
            Self::Truncated => code::TRUNCATED_FORM,
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotForm => "the content type is not multipart/form-data",
            Self::Boundary => "the content type has no valid boundary",
            Self::BoundaryLine => "the form has a malformed boundary line",
            Self::TooManyParts => "the form has too many parts",
            Self::HeaderTooLong => "the headers of a part are too long",
            Self::Header => "the headers of a part are malformed",
            Self::Encoding => "a part has a content-transfer-encoding that is not supported",
            Self::Undecodable => {
                "a text field cannot be decoded from its content-transfer-encoding"
            }
            Self::NoFilename => {
                "the part with the file has no filename, so it is a text field, and too long for one"
            }
            Self::Unnamed => "the part with the file has a filename that names no file",
            Self::FieldTooLong => "a text field is too long",
            Self::FieldsTooLong => "the text fields are too long",
            Self::TwoFiles => "the form has two files",
            Self::TooMuchIgnored => "the form has too much content besides the file",
            Self::Truncated => "the form ended before its last boundary",
        })
    }
}

impl Error for FormError {}
