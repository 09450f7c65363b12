//! Listing the live share before a restore into it.

use std::io::BufReader;

use reqwest::Method;

use super::{FileService, failed, list};
use crate::{
    azure::{failure::Failure, markers::Markers},
    error::Result,
    stream::cancel::Cancel,
};

impl FileService {
    /// Whether a share holds a file or a directory. False only if a complete list says so.
    ///
    /// # Errors
    /// It does not exist, or the service refuses or sends an invalid answer.
    pub fn has_content(&self, share: &str, cancel: &Cancel) -> Result<bool> {
        let look = || -> Result<bool, Failure> {
            let mut markers = Markers::default();
            while let Some(marker) = markers.next() {
                let request = self.request(Method::GET, share, "")?.query("restype", "directory");
                let request = request.query("comp", "list").query("maxresults", "1").query("marker", marker);
                let page = self.exchange(&request, cancel, &mut |answer| {
                    list::entries(BufReader::new(answer.into_body()))
                })?;
                if !page.items.is_empty() {
                    return Ok(true);
                }
                markers.turn("the list of the share's root", page.items.len(), page.next)?;
            }
            Ok(false)
        };
        look().map_err(|failure| failed(failure, format!("cannot list the share {share:?}")))
    }
}
