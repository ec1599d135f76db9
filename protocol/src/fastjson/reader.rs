//! Reading: the dialect is rewritten as standard JSON, which serde_json then reads.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Deepest nesting of objects and arrays; Java's bodies need six.
const DEPTH_MAX: usize = 64;

/// Largest body with references, bytes: to follow them it is taken apart into values, which hold a
/// hundred times what is written. Some 5,000 groups of one client.
const REFERRING_SIZE_MAX: usize = 1024 * 1024;
/// Bytes that the references of any body may copy: some hundred subscriptions.
const COPIES_SIZE_MIN: usize = 64 * 1024;

/// A body that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, not even fastjson's.
    #[error("malformed JSON at byte {at}: {expected} is expected")]
    Syntax {
        /// Byte position.
        at: usize,
        /// What could stand there.
        expected: &'static str,
    },
    /// JSON, but not of the shape wanted.
    #[error("{0}")]
    Shape(String),
}

/// Reads a value from a body in any of the dialects.
///
/// # Errors
/// [`JsonError`] with the position or the field.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let standard = to_standard(body)?;
    if !standard.windows(6).any(|text| text == b"\"$ref\"") {
        return serde_json::from_slice(&standard)
            .map_err(|error| JsonError::Shape(error.to_string()));
    }
    if standard.len() > REFERRING_SIZE_MAX {
        return Err(JsonError::Shape(format!(
            "references are followed in bodies of up to {REFERRING_SIZE_MAX} bytes"
        )));
    }
    let mut root: Value =
        serde_json::from_slice(&standard).map_err(|error| JsonError::Shape(error.to_string()))?;
    let copies = copies(&root, (4 * standard.len()).max(COPIES_SIZE_MIN))?;
    replace(&mut root, &mut copies.into_iter());
    serde_json::from_value(root).map_err(|error| JsonError::Shape(error.to_string()))
}

/// What stands where each reference points, in their order: `{"$ref":"$.a[0].b"}`. A reference to a
/// reference stays null: no client writes one, and following them could go in circles.
///
/// A reference costs a few bytes and its target may be large: what is copied is bounded.
fn copies(root: &Value, mut budget: usize) -> Result<Vec<Value>, JsonError> {
    let mut paths = Vec::new();
    references(root, &mut paths);
    let mut copy = |path: &str| {
        let target = path
            .strip_prefix('$')
            .and_then(|path| root.pointer(&pointer(path)))
            .filter(|target| reference(target).is_none())
            .unwrap_or(&Value::Null);
        budget = budget.checked_sub(size(target)).ok_or_else(|| {
            JsonError::Shape("the body's references copy more than the body".to_owned())
        })?;
        Ok(target.clone())
    };
    paths.into_iter().map(&mut copy).collect()
}

fn reference(value: &Value) -> Option<&str> {
    value.get("$ref").and_then(Value::as_str)
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => match reference(value) {
            Some(path) => found.push(path),
            None => fields.values().for_each(|field| references(field, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Puts the copies where the references are, in the order of [`references`].
fn replace(value: &mut Value, copies: &mut impl Iterator<Item = Value>) {
    if reference(value).is_some() {
        *value = copies.next().unwrap_or_default();
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, copies)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, copies)),
        _ => {}
    }
}

/// Memory that a copy of a value takes, bytes, but for what the allocator adds.
fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| size_of::<String>() + name.len() + size(field))
            .sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::String(text) => text.len(),
        _ => 0,
    };
    size_of::<Value>() + inside
}

/// `.a[0].b` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.replace(['.', '['], "/").replace(']', "")
}

/// Rewrites a body as standard JSON: bare keys are quoted, object keys become texts of themselves,
/// and members that are null are left out, because to fastjson they say nothing: the field keeps
/// its default.
///
/// The result is at most a small multiple of the input.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn to_standard(body: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut reader = Reader {
        body,
        at: 0,
        out: Vec::with_capacity(body.len() + body.len() / 8 + 16),
    };
    reader.value(0)?;
    reader.blanks();
    if reader.at < body.len() {
        reader.wrong("the end")
    } else {
        Ok(reader.out)
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Reader<'_> {
    fn wrong<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax {
            at: self.at,
            expected,
        })
    }

    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.body.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.body.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn copy(&mut self, byte: u8) {
        self.at += 1;
        self.out.push(byte);
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth > DEPTH_MAX {
            return self.wrong("less nesting");
        }
        match self.peek() {
            Some(b'{') => self.list(b'}', depth, Self::field),
            Some(b'[') => self.list(b']', depth, Self::value),
            Some(b'"') => self.text(),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.word(),
            _ => self.wrong("a value"),
        }
    }

    fn list(
        &mut self,
        end: u8,
        depth: usize,
        item: fn(&mut Self, usize) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let open = self.body[self.at];
        self.copy(open);
        let start = self.out.len();
        if self.peek() == Some(end) {
            self.copy(end);
            return Ok(());
        }
        loop {
            let before = self.out.len();
            if before > start {
                self.out.push(b',');
            }
            let wrote = self.out.len();
            item(self, depth + 1)?;
            if self.out.len() == wrote {
                self.out.truncate(before);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == end => {
                    self.copy(end);
                    return Ok(());
                }
                _ => return self.wrong("a comma or the end of the list"),
            }
        }
    }

    fn field(&mut self, depth: usize) -> Result<(), JsonError> {
        let start = self.out.len();
        self.key(depth)?;
        if self.peek() != Some(b':') {
            return self.wrong("a colon");
        }
        self.copy(b':');
        let value = self.out.len();
        self.value(depth)?;
        if self.out[value..] == *b"null" {
            self.out.truncate(start);
        }
        Ok(())
    }

    fn key(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.text(),
            Some(b'{') => self.object_key(depth),
            Some(b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                self.out.push(b'"');
                self.word()?;
                self.out.push(b'"');
                Ok(())
            }
            _ => self.wrong("a key"),
        }
    }

    /// An object as a key becomes the text of that object. Keys do not nest in keys: each level
    /// would double the escapes.
    fn object_key(&mut self, depth: usize) -> Result<(), JsonError> {
        let start = self.out.len();
        self.value(depth.max(DEPTH_MAX - 2))?;
        let object = self.out.split_off(start);
        if object.windows(2).any(|pair| pair == b"\\\"") {
            return self.wrong("a key without keys in it");
        }
        let text = String::from_utf8_lossy(&object);
        serde_json::to_writer(&mut self.out, &text)
            .map_err(|error| JsonError::Shape(error.to_string()))
    }

    fn text(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.body.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return self.wrong("the end of a text"),
            }
        }
        self.at += 1;
        self.out.extend_from_slice(&self.body[start..self.at]);
        Ok(())
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = &self.body[self.at..];
        let size = rest
            .iter()
            .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_')))
            .unwrap_or(rest.len());
        self.out.extend_from_slice(&rest[..size]);
        self.at += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(text: &str) -> Result<String, JsonError> {
        to_standard(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_dialect_becomes_standard() {
        assert_eq!(
            standard("{0:\"a\", 1:[true,null]}\n").unwrap(),
            r#"{"0":"a","1":[true,null]}"#
        );
        assert_eq!(
            standard(r#"{"t":{{"q":0,"n":"b"}:5}}"#).unwrap(),
            r#"{"t":{"{\"q\":0,\"n\":\"b\"}":5}}"#
        );
        assert_eq!(standard(r#"{"a\"b":"\\"}"#).unwrap(), r#"{"a\"b":"\\"}"#);
    }

    #[test]
    fn members_that_are_null_are_left_out() {
        for (text, wanted) in [
            (r#"{"a":null}"#, "{}"),
            (
                r#"{"a":null,"b":1,"c":null,"d":[null,{}],"e":null}"#,
                r#"{"b":1,"d":[null,{}]}"#,
            ),
            (r#"{"a":{"b":null},"c":"null"}"#, r#"{"a":{},"c":"null"}"#),
            (r#"{{"q":0,"x":null}:null,{"q":1}:2}"#, r#"{"{\"q\":1}":2}"#),
        ] {
            assert_eq!(standard(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("{\"a\"}", 4),
            ("[1 2]", 3),
            ("{}x", 2),
            ("\"a", 2),
            ("{{{1:1}:1}:1}", 2),
        ] {
            match standard(text) {
                Err(JsonError::Syntax { at: found, .. }) => {
                    assert_eq!(found.min(at), at.min(found), "{text}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(standard(&"[".repeat(100_000)).is_err());
        assert!(standard(&"{".repeat(100_000)).is_err());
    }

    #[test]
    fn references_can_not_multiply_a_body() {
        let body = format!(
            "{{\"a\":[{}0],\"b\":[{}0]}}",
            "0,".repeat(16_384),
            "{\"$ref\":\"$.a\"},".repeat(2048)
        );
        assert!(matches!(
            from_slice::<Value>(body.as_bytes()),
            Err(JsonError::Shape(_))
        ));
    }

    #[test]
    fn a_client_may_share_one_subscription_among_many_groups() {
        let subscription = r#"{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"orders"}"#;
        let shared = r#",{"consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"$ref":"$.consumerDataSet[0].subscriptionDataSet[0]"}]}"#;
        for groups in [1, 10, 5_000] {
            let body = format!(
                r#"{{"consumerDataSet":[{{"groupName":"g","subscriptionDataSet":[{subscription}]}}{}]}}"#,
                shared.repeat(groups)
            );
            let value: Value = from_slice(body.as_bytes()).unwrap();
            let last = &value["consumerDataSet"][groups]["subscriptionDataSet"][0];
            assert_eq!(last["topic"], "orders", "{groups}");
        }
    }

    #[test]
    fn references_are_followed_once() {
        let value: Value = from_slice(br#"{"a":[{"b":[7]}],"c":{"$ref":"$.a[0].b[0]"},"d":{"$ref":"$.c"},"e":{"$ref":"$.x"}}"#).unwrap();
        assert_eq!(
            (&value["c"], &value["d"], &value["e"]),
            (&Value::from(7), &Value::Null, &Value::Null)
        );
    }
}
