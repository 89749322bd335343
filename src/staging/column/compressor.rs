//! Pages are compressed in buffers that are used again: memory that the system has to give anew for
//! every page costs as much as filling it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::Result;

use super::levels::Levels;

/// Compressors with their buffers, which wait for the next page.
static COMPRESSORS: Mutex<Vec<PageCompressor>> = Mutex::new(Vec::new());
/// Buffers that wait for the next column.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// There are as many compressors at work as threads, and some columns for each.
const COMPRESSORS_KEPT: usize = 8;
const BUFFERS_KEPT: usize = 32;
/// What had to grow beyond this for a large document is not kept.
const BYTES_KEPT: usize = 6 << 20;

pub(super) fn buffer() -> Vec<u8> {
    BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

pub(super) fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    if buffers.len() < BUFFERS_KEPT && buffer.capacity() <= BYTES_KEPT {
        buffers.push(buffer);
    }
}

/// The page of these values, compressed, and its size before.
pub(super) fn compress(
    level: i32,
    levels: Option<&mut Levels>,
    values: &[u8],
) -> Result<(Bytes, usize)> {
    let mut compressor = PageCompressor::take(level)?;
    let page = compressor.compress(levels, values)?;
    compressor.give_back();
    Ok(page)
}

struct PageCompressor {
    level: i32,
    zstd: zstd::bulk::Compressor<'static>,
    /// A page with its levels before its values, where it has any.
    page: Vec<u8>,
    compressed: Vec<u8>,
}

impl PageCompressor {
    fn take(level: i32) -> Result<Self> {
        let mut waiting = COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = waiting.iter().position(|one| one.level == level) {
            return Ok(waiting.swap_remove(at));
        }
        drop(waiting);
        let zstd = zstd::bulk::Compressor::new(level)?;
        Ok(Self { level, zstd, page: Vec::new(), compressed: Vec::new() })
    }

    fn give_back(self) {
        let mut waiting = COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.page.capacity().max(self.compressed.capacity());
        if waiting.len() < COMPRESSORS_KEPT && bytes <= BYTES_KEPT {
            waiting.push(self);
        }
    }

    fn compress(&mut self, levels: Option<&mut Levels>, values: &[u8]) -> Result<(Bytes, usize)> {
        let Self { zstd, page, compressed, .. } = self;
        let content = match levels {
            Some(levels) => {
                page.clear();
                levels.write(page);
                page.extend_from_slice(values);
                page
            }
            None => values,
        };
        compressed.clear();
        compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        zstd.compress_to_buffer(content, compressed)?;
        Ok((Bytes::copy_from_slice(compressed), content.len()))
    }
}
