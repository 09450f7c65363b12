//! The directories of a share itself, to look at what it has now.

use std::{collections::HashSet, io::BufReader};

use reqwest::Method;

use super::{Entry, FileService, list};
use crate::{
    azure::failure::Failure,
    error::{Error, Result},
    stream::cancel::Cancel,
};

impl FileService {
    /// Shows every entry of a directory of the live share, one level; an empty path is the root.
    ///
    /// # Errors
    /// It is not there, the service refuses, or sends what cannot be understood.
    pub fn each_live_entry(
        &self,
        share: &str,
        directory: &str,
        cancel: &Cancel,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<()> {
        let (mut marker, mut seen) = (String::new(), HashSet::new());
        loop {
            let page = |marker: &str| -> Result<_, Failure> {
                let request = self.request(Method::GET, share, directory)?.query("restype", "directory");
                let request = request.query("comp", "list").query("marker", marker);
                self.exchange(&request, cancel, &mut |answer| {
                    list::entries(BufReader::new(answer.into_body()))
                })
            };
            let page = page(&marker).map_err(|failure| {
                let what = format!("cannot list the directory {directory:?} of the share {share:?}");
                Error::from(failure).context(what)
            })?;
            page.items.iter().for_each(&mut *visit);
            let Some(next) = page.next.filter(|next| !next.is_empty()) else { return Ok(()) };
            if !seen.insert(next.clone()) {
                return Err(Error::failed(format!(
                    "the pages of the directory {directory:?} of the share {share:?} go in a circle"
                )));
            }
            marker = next;
        }
    }
}
