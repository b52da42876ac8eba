//! What the programs of `make bench` share: a corpus of SSE blocks that can be played for ever.

pub mod corpus;
