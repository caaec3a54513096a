//! Followers, listeners and both forms of an answer, over a feed in memory.

mod joint;
mod listening;
mod memory_feed;
mod tail;
mod turns;
