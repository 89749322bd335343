//! Keys, indexes, checks and foreign keys of tables, in one form for those that a pipeline makes
//! and those that a database has, so that both can be compared: "the name exists" does not mean
//! that the object does.

mod expected;
mod object;
mod occupied;
mod read;

pub use expected::expected_objects;
pub use object::{Object, ObjectKind};
pub use occupied::{Occupant, Wanted, occupied_names, wanted_names};
pub use read::read_objects;
