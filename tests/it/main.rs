//! Tests of the program as a user runs it, on real servers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod addresses;
mod agreement;
mod arrays;
mod audit;
mod backup;
mod catalogue;
mod clients;
mod complaints;
mod connections;
mod corpus;
mod damage;
mod doctor;
mod extensions;
mod faults;
mod homes;
mod hostile_files;
mod id;
mod identity;
mod incremental;
mod inventory;
mod json_files;
mod killed_modes;
mod limits;
mod live;
mod load;
mod many_tables;
mod meanwhile;
mod mutations;
mod nights;
mod object_names;
mod oracle;
mod others;
mod pipeline;
mod plan;
mod planted;
mod prisma;
mod privileges;
mod rejects;
mod restore;
mod restore_check;
mod secrets;
mod series;
mod source_again;
mod sources;
mod sqlite;
mod sqlite_schemas;
mod stages;
mod support;
mod systems;
mod terminal;
mod trace;
mod unattended;
mod verdicts;
mod waiting;
mod way_back;
mod writers;
