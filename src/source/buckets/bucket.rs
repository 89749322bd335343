//! A bucket: one document with many measurements.

use super::BucketError;
use super::column::{Column, Element, Fields, close, head_of};
use super::simple8b::Next;

/// Unpacked bytes of one bucket; a server closes a bucket long before.
const MAX_BYTES: usize = 256 << 20;

/// Names of the fields that a time series treats in a way of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// `timeField`.
    pub time_field: String,
    /// `metaField`, where there is one.
    pub meta_field: Option<String>,
}

impl Series {
    /// Reads the options of a time series (Extended JSON); none where they are not those of one.
    pub fn of(options: &serde_json::Value) -> Option<Self> {
        let series = options.get("timeseries")?;
        let text = |name: &str| series.get(name)?.as_str().map(str::to_owned);
        Some(Self { time_field: text("timeField")?, meta_field: text("metaField") })
    }
}

/// The measurements of one bucket, one after another.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

/// A field of the measurements, in either form.
struct Field<'b> {
    name: &'b [u8],
    values: Values<'b>,
}

enum Values<'b> {
    /// Keys count the measurements.
    Plain {
        fields: Fields<'b>,
        /// The value to come, and its measurement.
        next: Option<(usize, Element)>,
    },
    Compressed(Column<'b>),
}

impl Measurements {
    /// Unpacks a bucket. The documents are byte for byte those that the server gives: first time
    /// and meta, then the other fields in the order of the bucket.
    pub fn unpack(&mut self, bucket: &[u8], series: &Series) -> Result<(), BucketError> {
        self.buffer.clear();
        self.ends.clear();
        let unpacked = self.fill(bucket, series);
        if unpacked.is_err() {
            self.buffer.clear();
            self.ends.clear();
        }
        unpacked
    }

    /// The documents.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.buffer[start..*end])
    }

    fn fill(&mut self, bucket: &[u8], series: &Series) -> Result<(), BucketError> {
        let (mut control, mut meta, mut data) = (None, None, None);
        let mut fields = Fields::new(bucket).map_err(BucketError::Damaged)?;
        while let Some((kind, name, value)) = fields.next().map_err(BucketError::Damaged)? {
            match name {
                b"control" if kind == 0x03 => control = Some(value),
                b"meta" => meta = Some((kind, value)),
                b"data" if kind == 0x03 => data = Some(value),
                _ => {}
            }
        }
        let control = control.ok_or(BucketError::Missing("control"))?;
        let data = data.ok_or(BucketError::Missing("data"))?;
        let mut times = None;
        let mut others = Vec::new();
        let mut fields = Fields::new(data).map_err(BucketError::Damaged)?;
        while let Some((kind, name, value)) = fields.next().map_err(BucketError::Damaged)? {
            let field = Field::new(kind, name, value)?;
            if name == series.time_field.as_bytes() {
                times = Some(field);
            } else {
                others.push(field);
            }
        }
        let mut times = times.ok_or(BucketError::Missing("data, or no column of times in it"))?;
        let meta = series.meta_field.as_ref().zip(meta);
        for index in 0.. {
            let time = match times.value(index)? {
                Next::Value(time) => time,
                Next::Missing => return Err(times.error("a measurement has no time")),
                Next::End => break,
            };
            let start = self.buffer.len();
            self.buffer.extend_from_slice(&[0; 4]);
            self.push(times.name, &time);
            if let Some((name, (kind, value))) = meta {
                head_of(&mut self.buffer, kind, name.as_bytes());
                self.buffer.extend_from_slice(value);
            }
            for field in &mut others {
                match field.value(index)? {
                    Next::Value(value) => self.push(field.name, &value),
                    Next::End if matches!(field.values, Values::Compressed(_)) => {
                        return Err(field.error("it ends before the times do"));
                    }
                    Next::Missing | Next::End => {}
                }
            }
            close(&mut self.buffer, start);
            self.ends.push(self.buffer.len());
            if self.buffer.len() > MAX_BYTES {
                return Err(BucketError::TooLarge(MAX_BYTES >> 20));
            }
        }
        let count = self.ends.len();
        for field in &mut others {
            field.finish()?;
        }
        match stated_count(control)? {
            Some(stated) if stated != count as u64 => {
                Err(BucketError::Count { stated, found: count as u64 })
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, name: &[u8], element: &Element) {
        head_of(&mut self.buffer, element.kind, name);
        self.buffer.extend_from_slice(&element.value);
    }
}

/// `control.count`, which compressed buckets have.
fn stated_count(control: &[u8]) -> Result<Option<u64>, BucketError> {
    let mut fields = Fields::new(control).map_err(BucketError::Damaged)?;
    while let Some((kind, name, value)) = fields.next().map_err(BucketError::Damaged)? {
        if name != b"count" {
            continue;
        }
        let count = match (kind, value.first_chunk::<4>(), value.first_chunk::<8>()) {
            (0x10, Some(bytes), _) => u64::try_from(i32::from_le_bytes(*bytes)),
            (0x12, _, Some(bytes)) => u64::try_from(i64::from_le_bytes(*bytes)),
            _ => return Ok(None),
        };
        return count.map(Some).map_err(|_| BucketError::Damaged("control.count is negative"));
    }
    Ok(None)
}

impl<'b> Field<'b> {
    fn new(kind: u8, name: &'b [u8], value: &'b [u8]) -> Result<Self, BucketError> {
        let error = |reason| BucketError::Column {
            field: String::from_utf8_lossy(name).into_owned(),
            reason,
        };
        let values = match (kind, value) {
            (0x03, _) => Values::Plain { fields: Fields::new(value).map_err(error)?, next: None },
            (0x05, [_, _, _, _, 7, column @ ..]) => Values::Compressed(Column::new(column)),
            _ => return Err(error("it is neither a document nor a compressed column")),
        };
        Ok(Self { name, values })
    }

    fn error(&self, reason: &'static str) -> BucketError {
        BucketError::Column { field: String::from_utf8_lossy(self.name).into_owned(), reason }
    }

    /// The value of this measurement, where it has one.
    fn value(&mut self, index: usize) -> Result<Next<Element>, BucketError> {
        let read = match &mut self.values {
            Values::Compressed(column) => column.next(),
            Values::Plain { fields, next } => peek(fields, next).map(|()| match next.take() {
                Some((place, value)) if place == index => Next::Value(value),
                Some(later) => {
                    *next = Some(later);
                    Next::Missing
                }
                None => Next::End,
            }),
        };
        read.map_err(|reason| self.error(reason))
    }

    /// Checks that nothing is left behind the last measurement.
    fn finish(&mut self) -> Result<(), BucketError> {
        match self.value(usize::MAX)? {
            Next::End => Ok(()),
            Next::Value(_) | Next::Missing => {
                Err(self.error("it holds more values than the bucket has times"))
            }
        }
    }
}

/// Reads the value to come of a plain column.
fn peek(fields: &mut Fields<'_>, next: &mut Option<(usize, Element)>) -> Result<(), &'static str> {
    if next.is_none()
        && let Some((kind, name, value)) = fields.next()?
    {
        let place = str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let place = place.ok_or("a key does not count measurements")?;
        *next = Some((place, Element { kind, value: value.to_vec() }));
    }
    Ok(())
}
