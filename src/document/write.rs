//! A writer of BSON bytes, for rows of tables that become documents. The format is that of the
//! BSON specification, version 1.1, section "element".

/// A value that a column of a table can hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Null.
    Null,
    /// Boolean.
    Boolean(bool),
    /// Whole number.
    Int64(i64),
    /// Number with a fraction.
    Double(f64),
    /// Text.
    String(&'a str),
    /// Bytes.
    Binary {
        /// Binary subtype.
        subtype: u8,
        /// Content.
        bytes: &'a [u8],
    },
}

/// Begins a document at the end of a buffer; gives the place that [`end`] needs.
pub fn begin(buffer: &mut Vec<u8>) -> usize {
    buffer.extend_from_slice(&[0; 4]);
    buffer.len() - 4
}

/// Begins a subdocument in a field.
pub fn begin_field(buffer: &mut Vec<u8>, name: &str) -> usize {
    head(buffer, 0x03, name);
    begin(buffer)
}

/// Ends the document that began at `start`.
pub fn end(buffer: &mut Vec<u8>, start: usize) {
    buffer.push(0);
    let length = length(buffer.len() - start);
    buffer[start..start + 4].copy_from_slice(&length);
}

/// Appends a field.
pub fn field(buffer: &mut Vec<u8>, name: &str, value: Scalar<'_>) {
    match value {
        Scalar::Null => head(buffer, 0x0a, name),
        Scalar::Boolean(flag) => {
            head(buffer, 0x08, name);
            buffer.push(u8::from(flag));
        }
        Scalar::Int64(number) => {
            head(buffer, 0x12, name);
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        Scalar::Double(number) => {
            head(buffer, 0x01, name);
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        Scalar::String(text) => {
            head(buffer, 0x02, name);
            buffer.extend(length(text.len() + 1));
            buffer.extend(text.as_bytes());
            buffer.push(0);
        }
        Scalar::Binary { subtype, bytes } => {
            head(buffer, 0x05, name);
            buffer.extend(length(bytes.len()));
            buffer.push(subtype);
            buffer.extend(bytes);
        }
    }
}

fn head(buffer: &mut Vec<u8>, tag: u8, name: &str) {
    buffer.push(tag);
    // A field name cannot hold the byte that ends it.
    buffer.extend(name.bytes().filter(|byte| *byte != 0));
    buffer.push(0);
}

/// Rows of databases are below 2^31 bytes.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_driver() {
        let mut buffer = Vec::new();
        let start = begin(&mut buffer);
        let inner = begin_field(&mut buffer, "_id");
        field(&mut buffer, "a", Scalar::Int64(-1));
        end(&mut buffer, inner);
        field(&mut buffer, "n", Scalar::Null);
        field(&mut buffer, "b", Scalar::Boolean(true));
        field(&mut buffer, "d", Scalar::Double(0.5));
        field(&mut buffer, "s", Scalar::String("é"));
        field(&mut buffer, "x", Scalar::Binary { subtype: 4, bytes: &[7; 16] });
        end(&mut buffer, start);
        let binary = Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] };
        let expected = doc! {
            "_id": {"a": -1_i64}, "n": Bson::Null, "b": true, "d": 0.5, "s": "é", "x": binary,
        };
        assert_eq!(Document::from_reader(buffer.as_slice()).unwrap(), expected);
        assert_eq!(buffer, expected.to_vec().unwrap());
    }
}
