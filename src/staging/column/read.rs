//! Plain pages, read back where they were unpacked.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// The pages of a column that has no NULLs and is stored plain, with the numbers of their values.
pub(crate) struct PlainPages {
    file: SerializedFileReader<Bytes>,
    column: usize,
    /// The next row group.
    group: usize,
    pages: Option<Box<dyn PageReader>>,
}

impl PlainPages {
    /// Of the column of this number in a file.
    pub(crate) fn new(file: Bytes, column: usize) -> Result<Self> {
        Ok(Self { file: SerializedFileReader::new(file)?, column, group: 0, pages: None })
    }

    fn next_page(&mut self) -> Result<Option<(Bytes, usize)>> {
        loop {
            let page = self.pages.as_mut().map(|pages| pages.get_next_page()).transpose()?;
            match page.flatten() {
                Some(Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. }) => {
                    return Ok(Some((buf, num_values as usize)));
                }
                Some(_) => {
                    return Err(ParquetError::General("a page that is not plain".to_owned()));
                }
                None if self.group == self.file.num_row_groups() => return Ok(None),
                None => {
                    let group = self.file.get_row_group(self.group)?;
                    self.pages = Some(group.get_column_page_reader(self.column)?);
                    self.group += 1;
                }
            }
        }
    }
}

impl Iterator for PlainPages {
    type Item = Result<(Bytes, usize)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}

/// Where the values of any length of a page begin and end; nothing when it is cut off.
pub(crate) fn places(page: &[u8], values: usize) -> Option<Vec<(usize, usize)>> {
    let mut places = Vec::with_capacity(values.min(page.len()));
    let mut at = 0;
    for _ in 0..values {
        let length = page.get(at..)?.first_chunk::<4>()?;
        let from = at + 4;
        at = from + u32::from_le_bytes(*length) as usize;
        if at > page.len() {
            return None;
        }
        places.push((from, at));
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::places;

    proptest! {
        #[test]
        fn values_are_found_and_a_page_that_is_cut_off_is_refused(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut page = Vec::new();
            for value in &values {
                page.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
                page.extend(value);
            }
            let found = places(&page, values.len()).unwrap();
            let found: Vec<_> = found.into_iter().map(|(from, to)| page[from..to].to_vec()).collect();
            prop_assert_eq!(&found, &values);
            prop_assert!(places(&page[..cut.index(page.len())], values.len()).is_none());
        }

        #[test]
        fn no_bytes_make_it_fail(page in prop::collection::vec(any::<u8>(), 0..200), values in 0..9_usize) {
            if let Some(places) = places(&page, values) {
                prop_assert!(places.iter().all(|(from, to)| page.get(*from..*to).is_some()));
            }
        }
    }
}
