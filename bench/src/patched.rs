//! A request that is encoded once; each next one differs in fields of fixed width.

use sluice_protocol::RemotingCommand;

/// The smallest opaque: all have as many digits as it has.
pub const OPAQUE_BASE: i32 = 1_000_000_000;

/// A prepared frame.
#[derive(Debug, Clone)]
pub struct Patched {
    frame: Vec<u8>,
    opaque: Place,
}

/// Digits in a prepared frame.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    at: usize,
    width: usize,
}

impl Patched {
    /// Of a request, whatever its opaque.
    pub fn new(mut request: RemotingCommand) -> Patched {
        request.opaque = OPAQUE_BASE;
        let frame = request.encode().to_vec();
        let opaque = digits_behind(&frame, "\"opaque\":");
        Patched { frame, opaque }
    }

    /// The digits behind the first place of a text.
    ///
    /// # Panics
    /// The frame has no such text.
    pub fn digits_behind(&self, text: &str) -> Place {
        digits_behind(&self.frame, text)
    }

    /// Where each run of these bytes is.
    pub fn all(&self, mark: &[u8]) -> Vec<Place> {
        let width = mark.len();
        let found = memchr::memmem::find_iter(&self.frame, mark);
        found.map(|at| Place { at, width }).collect()
    }

    /// Writes a number with leading zeroes; what the place has no room for is cut off.
    pub fn put(&mut self, place: Place, mut number: u64) {
        for digit in self.frame[place.at..][..place.width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    /// The same in hexadecimal digits.
    pub fn put_hex(&mut self, place: Place, mut number: u64) {
        for digit in self.frame[place.at..][..place.width].iter_mut().rev() {
            *digit = b"0123456789ABCDEF"[(number & 15) as usize];
            number >>= 4;
        }
    }

    /// Writes the opaque, from [`OPAQUE_BASE`] on.
    pub fn put_opaque(&mut self, opaque: i32) {
        self.put(self.opaque, opaque as u64);
    }

    /// The frame as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.frame
    }
}

impl Place {
    /// Its first and its second half.
    pub fn halves(self) -> (Place, Place) {
        let width = self.width / 2;
        let second = Place {
            at: self.at + width,
            width,
        };
        (Place { width, ..self }, second)
    }
}

fn digits_behind(frame: &[u8], text: &str) -> Place {
    let at = memchr::memmem::find(frame, text.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{text} in a prepared frame")) + text.len();
    let digits = frame[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Place {
        at,
        width: digits.count(),
    }
}
