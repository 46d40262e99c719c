//! Everything that is refused about the form of a request, in one table: the case, where the standard says so, the answer and
//! its reason code. No answer to a violation is defined elsewhere. Nothing is looked for here.

/// A way in which a request breaks the rules. Its answer stands in [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the table says what each one is
pub enum Case {
    RequestLine,
    Method,
    MethodTooLong,
    TargetTooLong,
    TargetCharacter,
    TargetForm,
    Version,
    VersionUnsupported,
    Connect,
    Trace,
    LineEnd,
    BareCr,
    EmptyLines,
    SpaceFirst,
    ObsFold,
    FieldColon,
    SpaceBeforeColon,
    FieldName,
    FieldValue,
    TooManyFields,
    HeaderTooLarge,
    HostMissing,
    HostRepeated,
    HostInvalid,
    HostMismatch,
    LengthMalformed,
    LengthRepeated,
    CodingRepeated,
    CodingOverHttp10,
    CodingMalformed,
    CodingUnknown,
    LengthAndCoding,
    Expectation,
    ChunkSize,
    ChunkExtension,
    ChunkExtensionTooLong,
    ChunkEnd,
    Trailer,
    TrailerForbidden,
    TrailerTooLarge,
    BodyTooLarge,
    PathNotAbsolute,
    PathBrokenEscape,
    PathEncodedSlash,
    PathEncodedNul,
    PathNotUtf8,
    PathForbiddenCharacter,
    PathAmbiguousDotSegment,
    QueryForbiddenCharacter,
    HeaderTimeout,
    Malformed,
}

/// One violation and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The violation.
    pub case: Case,
    /// The stable reason code, for answers, logs and metrics. Cases may share one.
    pub reason: &'static str,
    /// The rule it breaks.
    pub rfc: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// Whether it leaves in doubt where the request ends, so that nothing behind it can be read. What is found while an
    /// HTTP/1 request is read ends the connection in any case.
    pub closes: bool,
    /// What the answer says.
    pub says: &'static str,
}

const fn row(case: Case, reason: &'static str, rfc: &'static str, status: u16, says: &'static str) -> Row {
    Row {
        case,
        reason,
        rfc,
        status,
        closes: false,
        says,
    }
}

/// A row whose case leaves the end of the request in doubt.
const fn doubt(case: Case, reason: &'static str, rfc: &'static str, status: u16, says: &'static str) -> Row {
    Row {
        case,
        reason,
        rfc,
        status,
        closes: true,
        says,
    }
}

/// All cases, in the order of [`Case`].
#[rustfmt::skip]
pub const TABLE: [Row; 51] = [
    doubt(Case::RequestLine, "request_line_malformed", "RFC 9112, 3", 400, "the request line is not a method, a target and a version with one space between them"),
    doubt(Case::Method, "method_malformed", "RFC 9110, 9.1", 400, "the method is not a token"),
    doubt(Case::MethodTooLong, "method_too_long", "RFC 9112, 3", 501, "the method is longer than any that is known"),
    doubt(Case::TargetTooLong, "target_too_long", "RFC 9110, 15.5.15", 414, "the request line is longer than this server reads"),
    doubt(Case::TargetCharacter, "target_forbidden_character", "RFC 9112, 3.2", 400, "the target has a control character"),
    row(Case::TargetForm, "target_form", "RFC 9112, 3.2", 400, "the request target has no allowed form"),
    doubt(Case::Version, "http_version_malformed", "RFC 9112, 2.3", 400, "the request line does not end in an HTTP version"),
    doubt(Case::VersionUnsupported, "http_version_unsupported", "RFC 9110, 15.6.6", 505, "only HTTP/1.0 and HTTP/1.1 are spoken in this form"),
    row(Case::Connect, "method_not_allowed", "RFC 9110, 9.3.6", 405, "CONNECT is for proxies that open tunnels, which this is not"),
    row(Case::Trace, "method_not_served", "RFC 9110, 9.3.8", 405, "the method is not served here"),
    doubt(Case::LineEnd, "line_malformed", "RFC 9112, 2.2", 400, "a line of the header ends in a bare line feed"),
    doubt(Case::BareCr, "line_malformed", "RFC 9112, 2.2", 400, "a line of the header has a bare carriage return"),
    doubt(Case::EmptyLines, "line_malformed", "RFC 9112, 2.2", 400, "there are too many empty lines before the request"),
    doubt(Case::SpaceFirst, "line_malformed", "RFC 9112, 2.2", 400, "the line behind the request line begins with white space"),
    doubt(Case::ObsFold, "obs_fold", "RFC 9112, 5.2", 400, "a field is folded over several lines"),
    doubt(Case::FieldColon, "field_malformed", "RFC 9112, 5", 400, "a line of the header has no colon"),
    doubt(Case::SpaceBeforeColon, "field_name_malformed", "RFC 9112, 5.1", 400, "there is white space between a field's name and its colon"),
    doubt(Case::FieldName, "field_name_malformed", "RFC 9110, 5.1", 400, "a field's name is not a token"),
    doubt(Case::FieldValue, "field_value_malformed", "RFC 9110, 5.5", 400, "a field's value has a control character"),
    row(Case::TooManyFields, "too_many_headers", "RFC 6585, 5", 431, "the header has more fields than this server reads"),
    row(Case::HeaderTooLarge, "header_too_large", "RFC 6585, 5", 431, "the header is longer than this server reads"),
    row(Case::HostMissing, "host_missing", "RFC 9112, 3.2", 400, "the request has no Host"),
    row(Case::HostRepeated, "host_invalid", "RFC 9112, 3.2", 400, "the request has more than one Host"),
    row(Case::HostInvalid, "host_invalid", "RFC 9112, 3.2", 400, "the request's Host is no host"),
    row(Case::HostMismatch, "host_mismatch", "RFC 9112, 3.2.2", 400, "Host and request target name different hosts"),
    doubt(Case::LengthMalformed, "framing_ambiguous", "RFC 9112, 6.3", 400, "Content-Length is not one number"),
    doubt(Case::LengthRepeated, "framing_ambiguous", "RFC 9110, 8.6", 400, "Content-Length is repeated"),
    doubt(Case::CodingRepeated, "framing_ambiguous", "RFC 9112, 6.1", 400, "Transfer-Encoding is repeated"),
    doubt(Case::CodingOverHttp10, "framing_ambiguous", "RFC 9112, 6.1", 400, "Transfer-Encoding is not for HTTP/1.0"),
    doubt(Case::CodingMalformed, "framing_ambiguous", "RFC 9112, 6.1", 400, "Transfer-Encoding is not a list of codings, or applies `chunked` twice"),
    doubt(Case::CodingUnknown, "transfer_coding_unknown", "RFC 9112, 6.1", 501, "the transfer coding is not known; only `chunked` is"),
    doubt(Case::LengthAndCoding, "framing_ambiguous", "RFC 9112, 6.3", 400, "Content-Length and Transfer-Encoding stand side by side"),
    doubt(Case::Expectation, "expectation_failed", "RFC 9110, 10.1.1", 417, "only `100-continue` can be expected"),
    doubt(Case::ChunkSize, "chunk_malformed", "RFC 9112, 7.1", 400, "a chunk does not begin with its size"),
    doubt(Case::ChunkExtension, "chunk_extension_malformed", "RFC 9112, 7.1.1", 400, "a chunk extension is malformed"),
    doubt(Case::ChunkExtensionTooLong, "chunk_extension_too_long", "RFC 9112, 7.1.1", 400, "there is more of chunk extensions than of data"),
    doubt(Case::ChunkEnd, "chunk_malformed", "RFC 9112, 7.1", 400, "a chunk is longer than its size, or has no line end behind it"),
    doubt(Case::Trailer, "trailer_malformed", "RFC 9112, 7.1.2", 400, "a line of the trailer section is no field"),
    doubt(Case::TrailerForbidden, "trailer_forbidden", "RFC 9110, 6.5.1", 400, "a field stands in the trailer section that frames, routes or authenticates the request"),
    doubt(Case::TrailerTooLarge, "trailer_too_large", "RFC 6585, 5", 431, "the trailer section is longer than this server reads"),
    row(Case::BodyTooLarge, "body_too_large", "RFC 9110, 15.5.14", 413, "the body is longer than this server reads"),
    row(Case::PathNotAbsolute, "path_not_absolute", "RFC 9112, 3.2.1", 400, "the path does not begin with `/`"),
    row(Case::PathBrokenEscape, "path_broken_escape", "RFC 3986, 2.1", 400, "the path has a `%` that two hexadecimal digits do not follow"),
    row(Case::PathEncodedSlash, "path_encoded_slash", "RFC 3986, 2.2", 400, "the path has an encoded slash (`%2F`)"),
    row(Case::PathEncodedNul, "path_encoded_nul", "RFC 3986, 7.3", 400, "the path has an encoded NUL (`%00`)"),
    row(Case::PathNotUtf8, "path_not_utf8", "RFC 3986, 2.5", 400, "the path is not UTF-8 once it is decoded"),
    row(Case::PathForbiddenCharacter, "path_forbidden_character", "RFC 3986, 3.3", 400, "the path has a character that RFC 3986 does not allow"),
    row(Case::PathAmbiguousDotSegment, "path_ambiguous_dot_segment", "RFC 3986, 3.3", 400, "the path has a dot segment with a parameter (`..;`)"),
    row(Case::QueryForbiddenCharacter, "query_forbidden_character", "RFC 3986, 3.4", 400, "the query has a character that RFC 3986 does not allow"),
    doubt(Case::HeaderTimeout, "header_timeout", "RFC 9110, 15.5.9", 408, "the header did not come in time"),
    doubt(Case::Malformed, "malformed_request", "RFC 9112, 2.2", 400, "this is no HTTP request"),
];

impl Case {
    /// Its row.
    pub fn row(self) -> &'static Row {
        // Every case has its row, at its own place: a test holds it.
        TABLE.get(self as usize).unwrap_or(&TABLE[50])
    }

    /// The case at this place of the table.
    pub fn at(place: u8) -> Option<Self> {
        TABLE.get(usize::from(place)).map(|row| row.case)
    }

    /// The stable reason code.
    pub fn reason(self) -> &'static str {
        self.row().reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_stands_in_its_place() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.case as usize, place, "{row:?}");
            assert_eq!(row.case.row(), row);
        }
        assert_eq!(TABLE.last().map(|row| row.case), Some(Case::Malformed));
    }

    #[test]
    fn a_reason_has_one_status() {
        for row in &TABLE {
            let same = TABLE.iter().filter(|other| other.reason == row.reason);
            assert!(
                same.clone()
                    .all(|other| (other.status, other.closes) == (row.status, row.closes)),
                "{row:?}"
            );
            assert!(
                row.reason
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
            assert!(
                row.rfc.starts_with("RFC ") && (400..=505).contains(&row.status),
                "{row:?}"
            );
        }
    }
}
