//! Values that dump tools do not write as they are: `FLOAT`, of which they write six digits, and text in character sets in
//! which several codes stand for one character. Both are read in sessions beside the dump, and stand in the stored script as
//! they are.
//!
//! No two sessions can be given the same moment without locks. So there are two, one that begins before the tool's transaction
//! and one that begins after it: a row that is the same in either of them is the row of the dump.

mod plan;
mod reader;
mod rows;

pub(super) use self::{plan::Plan, rows::Exact};
