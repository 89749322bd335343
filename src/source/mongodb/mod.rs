//! A running MongoDB. Documents are taken as the raw bytes of the server's replies.
//!
//! A name says nothing of what is behind it: a collection can be renamed, dropped or replaced
//! between two commands, and a cursor on a name that is gone is empty, not an error. Collections are
//! therefore read by the number that the server gave them, or by their name together with it, as
//! the server and the user's rights allow; where neither does, and for time series, the listing at
//! the end shows what changed.

/// What an export reads in a second at the least, to tell ahead how long a snapshot must last.
pub const CAUTIOUS_BYTES_PER_SECOND: u64 = 50_000_000;
/// Seconds a snapshot lasts unless the server says otherwise.
pub const SNAPSHOT_SECONDS: u64 = 300;

mod collection;
mod range;
mod read;
mod server;

pub use collection::{Difference, ListedCollection, Size, differences, extended};
pub use range::{IdRange, range_count};
pub use read::{Reader, Wanted};
pub use server::{Identity, Moment, Server, read_uri};
