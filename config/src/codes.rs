//! The codes of diagnostics, in one flat table. A code is a promise: it is never renamed and never changes its meaning.

macro_rules! codes {
    ($($name:ident $code:literal $text:literal)*) => {
        $(#[doc = $text] pub const $name: &str = $code;)*

        /// Every code with a sentence that explains it.
        pub const CODES: &[(&str, &str)] = &[$(($name, $text)),*];
    };
}

codes! {
    // Reading
    UNREADABLE_FILE      "unreadable-file"      "A file could not be read."
    TOO_LARGE            "too-large"            "A document is larger, deeper or longer than the bound it is read under."
    NOT_UTF8             "not-utf8"             "A file is not UTF-8 text."
    YAML_SYNTAX          "yaml-syntax"          "The text is not well-formed YAML 1.2."
    YAML_FEATURE         "yaml-feature"         "The text uses a part of YAML that configuration does without: tags, merge keys, directives, several documents, keys that are not scalars."
    JSON_SYNTAX          "json-syntax"          "The text is not well-formed JSON (RFC 8259)."
    DUPLICATE_KEY        "duplicate-key"        "A key stands twice in one map."
    UNUSABLE_FILE        "unusable-file"        "A file that a setting names cannot be used: it is missing, unreadable, or not what the setting needs."
    INCLUDE              "include"              "An `include` pattern is malformed, matches nothing or leads to a file that itself includes."
    MERGE_CONFLICT       "merge-conflict"       "Two files give the same setting or the same name."
    // Shape
    UNKNOWN_KEY          "unknown-key"          "A key is not known where it stands."
    MISSING_KEY          "missing-key"          "A key that is needed is not there."
    WRONG_TYPE           "wrong-type"           "A value is of another type than its key takes."
    INVALID_VALUE        "invalid-value"        "A value has the right type and cannot be used: bad unit, bad syntax, not acceptable."
    OUT_OF_RANGE         "out-of-range"         "A number, size, time or list is smaller or larger than its key allows."
    UNKNOWN_VARIANT      "unknown-variant"      "A word is none of those that its key takes."
    LITERAL_SECRET       "literal-secret"       "A secret is written into the file; only `env:NAME` and `file:PATH` references are accepted."
    // Meaning
    UNKNOWN_REFERENCE    "unknown-reference"    "A name refers to something that the configuration does not define."
    DUPLICATE_NAME       "duplicate-name"       "Two things of one kind have the same name."
    ADDRESS_CONFLICT     "address-conflict"     "Two sockets would listen on the same address."
    CONFLICTING_KEYS     "conflicting-keys"     "Two keys exclude each other, or one needs another that is not there."
    UNREACHABLE_ROUTE    "unreachable-route"    "A route can never be chosen, because other routes take every request it matches."
    SHADOWED_HOST        "shadowed-host"        "Two sites on one listener claim the same host."
    INVALID_PATH         "invalid-path"         "A path does not begin with `/`, or is not in the normalised form that requests are compared in."
    INSECURE             "insecure"             "A setting would weaken security without saying so: plaintext where secrets travel, no trusted key."
}

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_kebab_case_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, text) in CODES {
            assert!(
                code.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{code}"
            );
            assert!(text.ends_with('.') && seen.insert(code), "{code}");
        }
    }
}
