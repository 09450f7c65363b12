//! Values that dump tools do not write exactly: `FLOAT`, of which they write six digits, and text in character sets with several
//! codes for one character. Both are read in sessions beside the dump, and the stored script contains the exact values.
//!
//! Without locks two sessions cannot have the same snapshot. So there are two sessions, one whose transaction begins before the
//! tool's and one whose transaction begins after it: a row that is the same in the dump and in either session is used. Only a row
//! that changes between the two moments, in digits that the tool does not write, may have the value of the other moment.

mod feed;
mod plan;
mod reader;
mod rows;

pub(super) use self::{plan::Plan, rows::Exact};
