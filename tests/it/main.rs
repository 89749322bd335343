//! Tests of the program as a user runs it, on real servers.

mod id;
mod load;
mod pipeline;
mod stages;
mod support;
