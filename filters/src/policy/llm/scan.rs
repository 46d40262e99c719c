//! Finds `usage` in a JSON document that goes by in pieces, whatever its length: at the top, or in the `message` or
//! `response` at the top. It keeps that value and nothing else, and is no validator.

use super::usage::Usage;

/// The longest `usage` that is read.
const LONGEST: usize = 4096;

/// Looks for `usage`.
#[derive(Debug, Default)]
pub struct Scan {
    depth: u32,
    /// Whether the containers at the first two depths are objects.
    objects: [bool; 2],
    in_string: bool,
    escaped: bool,
    /// The next string is a name.
    before_name: bool,
    /// A name is being read.
    in_name: bool,
    name: Name,
    /// Inside the `message` or `response`.
    wrapped: bool,
    captured: Vec<u8>,
    /// The depth at which what is captured began.
    capturing: Option<u32>,
    usage: Option<Usage>,
}

/// The beginning of a name: enough to know those that matter.
#[derive(Debug, Default)]
struct Name {
    bytes: [u8; 9],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.len) == Some(name)
    }
}

impl Scan {
    /// The next piece of the document.
    pub fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            self.step(*byte);
        }
    }

    /// What was found.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn step(&mut self, byte: u8) {
        if self.capturing.is_some() {
            self.captured.push(byte);
            if self.captured.len() > LONGEST {
                self.capturing = None;
                self.captured = Vec::new();
            }
        }
        if self.in_string {
            return self.in_string(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.in_name = self.before_name;
                if self.in_name {
                    self.name = Name::default();
                }
            }
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            b',' => self.before_name = self.is_object(),
            b':' => self.before_name = false,
            _ => {}
        }
    }

    fn in_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                return;
            }
            _ => {}
        }
        if self.in_name {
            self.name.push(byte);
        }
    }

    fn open(&mut self, byte: u8) {
        let object = byte == b'{';
        let named = self.is_object() && (self.depth == 1 || self.depth == 2 && self.wrapped);
        if object && named && self.capturing.is_none() && self.name.is(b"usage") {
            self.captured.clear();
            self.captured.push(byte);
            self.capturing = Some(self.depth);
        }
        if self.depth == 1 {
            self.wrapped = object && self.is_object() && (self.name.is(b"message") || self.name.is(b"response"));
        }
        if let Some(place) = self.objects.get_mut(self.depth as usize) {
            *place = object;
        }
        self.depth = self.depth.saturating_add(1);
        self.before_name = object && self.is_object();
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.before_name = false;
        if self.capturing == Some(self.depth) {
            self.capturing = None;
            if let Some(found) = Usage::read(&self.captured) {
                self.usage = Some(self.usage.map_or(found, |known| known.and(found)));
            }
        }
        if self.depth <= 1 {
            self.wrapped = false;
        }
    }

    /// Whether the innermost container is an object whose names are looked at.
    fn is_object(&self) -> bool {
        let innermost = self.depth.checked_sub(1).map(|depth| depth as usize);
        innermost
            .and_then(|depth| self.objects.get(depth))
            .is_some_and(|object| *object)
    }
}
