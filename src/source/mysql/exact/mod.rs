//! Values that dump tools do not write as they are: `FLOAT`, of which they write six digits, and text in character sets in
//! which several codes stand for one character. Both are read in sessions beside the dump, and stand in the stored script as
//! they are.
//!
//! No two sessions can be given the same moment without locks. So there are two, one that begins before the tool's transaction
//! and one that begins after it: a row that looks the same in the dump and in either of them is taken to be the same. Only a row
//! whose number changes between the two moments, in digits that the tool does not write, may be that of the other moment.

mod feed;
mod plan;
mod reader;
mod rows;

pub(super) use self::{plan::Plan, rows::Exact};
