//! docferry moves document databases to PostgreSQL through checksummed Parquet files, and proves
//! that nothing was lost.
//!
//! Each module is a room with one concern. Arrows point one way: `commands` call the stages
//! (`export`, `transform`, `load`, `verify`, `restore`), and stages use `pipeline`, `source`, `staging`,
//! `document`, `pgcopy` and `postgres`. Stages never import one another.

pub mod audit;
pub mod cli;
pub mod commands;
pub mod conninfo;
pub mod doctor;
pub mod document;
pub mod dump;
pub mod escape;
pub mod export;
pub mod failure;
pub mod generate;
pub mod interrupt;
pub mod load;
pub mod pgcopy;
pub mod pipeline;
pub mod plan;
pub mod postgres;
pub mod progress;
pub mod proof;
pub mod redact;
pub mod report;
pub mod restore;
pub mod source;
pub mod sql;
pub mod staging;
pub mod trace;
pub mod transform;
pub mod verify;
