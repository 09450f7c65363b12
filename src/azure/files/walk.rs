//! Listing the directories of the live share.

use std::io::BufReader;

use reqwest::Method;

use super::{Entry, FileService, failed, list};
use crate::{
    azure::{failure::Failure, markers::Markers},
    error::Result,
    stream::cancel::Cancel,
};

impl FileService {
    /// Passes on every entry of a directory of the live share, one level; an empty path is the root.
    ///
    /// # Errors
    /// It does not exist, or the service refuses or sends an invalid answer.
    pub fn each_live_entry(
        &self,
        share: &str,
        directory: &str,
        cancel: &Cancel,
        visit: &mut dyn FnMut(&Entry),
    ) -> Result<()> {
        let mut walk = || -> Result<(), Failure> {
            let mut markers = Markers::default();
            while let Some(marker) = markers.next() {
                let request = self.request(Method::GET, share, directory)?.query("restype", "directory");
                let request = request.query("comp", "list").query("marker", marker);
                let page = self.exchange(&request, cancel, &mut |answer| {
                    list::entries(BufReader::new(answer.into_body()))
                })?;
                page.items.iter().for_each(&mut *visit);
                markers.turn("the list", page.items.len(), page.next)?;
            }
            Ok(())
        };
        walk().map_err(|failure| {
            failed(failure, format!("cannot list the directory {directory:?} of the share {share:?}"))
        })
    }
}
