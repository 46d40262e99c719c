//! Everything that is refused about the form of a server's answer, in one table: the case, where the standard says so, and its
//! reason code. Each is answered 502, and the connection it came on is closed. Nothing is looked for here.

/// A way in which an answer breaks the rules. What is said of it stands in [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the table says what each one is
pub enum Fault {
    StatusLine,
    Version,
    Status,
    SwitchUnasked,
    TooManyInterim,
    LineEnd,
    ObsFold,
    FieldColon,
    FieldName,
    FieldValue,
    TooManyFields,
    HeaderTooLarge,
    LengthMalformed,
    LengthRepeated,
    CodingRepeated,
    CodingUnknown,
    CodingOverHttp10,
    LengthAndCoding,
    FramingWithoutBody,
    ConnectionOptions,
    BodyForbidden,
    Excess,
    Unasked,
    Truncated,
    ChunkSize,
    ChunkExtension,
    ChunkExtensionTooLong,
    ChunkEnd,
    Trailer,
    TrailerTooLarge,
    Protocol,
}

/// One violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The violation.
    pub fault: Fault,
    /// The stable reason code, for answers, logs and metrics. Cases may share one.
    pub reason: &'static str,
    /// The rule it breaks.
    pub rfc: &'static str,
    /// What is wrong.
    pub says: &'static str,
}

const fn row(fault: Fault, reason: &'static str, rfc: &'static str, says: &'static str) -> Row {
    Row {
        fault,
        reason,
        rfc,
        says,
    }
}

/// All cases, in the order of [`Fault`].
#[rustfmt::skip]
pub const TABLE: [Row; 31] = [
    row(Fault::StatusLine, "upstream_status_line", "RFC 9112, 4", "the answer does not begin with a version and a status"),
    row(Fault::Version, "upstream_http_version", "RFC 9112, 2.3", "the answer is neither HTTP/1.0 nor HTTP/1.1"),
    row(Fault::Status, "upstream_status", "RFC 9110, 15", "the status is not between 100 and 599"),
    row(Fault::SwitchUnasked, "upstream_switch_unasked", "RFC 9110, 15.2.2", "the answer changes to a protocol that nobody asked for"),
    row(Fault::TooManyInterim, "upstream_too_many_interim", "RFC 9110, 15.2", "there are too many interim answers before the final one"),
    row(Fault::LineEnd, "upstream_line_malformed", "RFC 9112, 2.2", "a line does not end in a carriage return and a line feed, or has one of them inside"),
    row(Fault::ObsFold, "upstream_obs_fold", "RFC 9112, 5.2", "a field is folded over several lines"),
    row(Fault::FieldColon, "upstream_field_malformed", "RFC 9112, 5", "a line of the header has no colon"),
    row(Fault::FieldName, "upstream_field_malformed", "RFC 9110, 5.1", "a field's name is not a token"),
    row(Fault::FieldValue, "upstream_field_malformed", "RFC 9110, 5.5", "a field's value has a control character"),
    row(Fault::TooManyFields, "upstream_header_too_large", "RFC 9110, 5.4", "the header has more fields than are read"),
    row(Fault::HeaderTooLarge, "upstream_header_too_large", "RFC 9110, 5.4", "the header is longer than is read"),
    row(Fault::LengthMalformed, "upstream_framing", "RFC 9112, 6.3", "Content-Length is not one number"),
    row(Fault::LengthRepeated, "upstream_framing", "RFC 9110, 8.6", "Content-Length is repeated"),
    row(Fault::CodingRepeated, "upstream_framing", "RFC 9112, 6.1", "Transfer-Encoding is repeated"),
    row(Fault::CodingUnknown, "upstream_framing", "RFC 9112, 6.1", "the transfer coding is not `chunked`"),
    row(Fault::CodingOverHttp10, "upstream_framing", "RFC 9112, 6.1", "Transfer-Encoding is not for HTTP/1.0"),
    row(Fault::LengthAndCoding, "upstream_framing", "RFC 9112, 6.3", "Content-Length and Transfer-Encoding stand side by side"),
    row(Fault::FramingWithoutBody, "upstream_framing", "RFC 9112, 6.1", "a length or a coding is given for an answer that has no body"),
    row(Fault::ConnectionOptions, "upstream_connection_options", "RFC 9110, 7.6.1", "Connection names more fields than are read"),
    row(Fault::BodyForbidden, "upstream_body_forbidden", "RFC 9110, 6.4.1", "an answer that has no body is followed by one"),
    row(Fault::Excess, "upstream_excess", "RFC 9112, 6.3", "there are bytes behind the end of the answer"),
    row(Fault::Unasked, "upstream_excess", "RFC 9112, 9.2", "the server sends bytes although nothing was asked"),
    row(Fault::Truncated, "upstream_truncated", "RFC 9112, 8", "the connection ended before the body did"),
    row(Fault::ChunkSize, "upstream_chunk_malformed", "RFC 9112, 7.1", "a chunk does not begin with its size"),
    row(Fault::ChunkExtension, "upstream_chunk_malformed", "RFC 9112, 7.1.1", "a chunk extension is malformed"),
    row(Fault::ChunkExtensionTooLong, "upstream_chunk_malformed", "RFC 9112, 7.1.1", "chunk extensions are longer than is read"),
    row(Fault::ChunkEnd, "upstream_chunk_malformed", "RFC 9112, 7.1", "a chunk is longer than its size, or has no line end behind it"),
    row(Fault::Trailer, "upstream_trailer_malformed", "RFC 9112, 7.1.2", "a line of the trailer section is no field"),
    row(Fault::TrailerTooLarge, "upstream_trailer_malformed", "RFC 9112, 7.1.2", "the trailer section is longer than is read"),
    row(Fault::Protocol, "upstream_protocol", "RFC 9113, 3.2", "the server does not speak the protocol that was agreed on"),
];

impl Fault {
    /// Its row.
    pub fn row(self) -> &'static Row {
        // Every case has its row, at its own place: a test holds it.
        TABLE.get(self as usize).unwrap_or(&TABLE[0])
    }

    /// The stable reason code.
    pub fn reason(self) -> &'static str {
        self.row().reason
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.row();
        write!(f, "{} ({})", row.says, row.rfc)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_stands_in_its_place() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.fault as usize, place, "{row:?}");
            assert_eq!(row.fault.row(), row);
            assert!(
                row.rfc.starts_with("RFC ") && row.reason.starts_with("upstream_"),
                "{row:?}"
            );
        }
        assert_eq!(TABLE.last().map(|row| row.fault), Some(Fault::Protocol));
    }
}
