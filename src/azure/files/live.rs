//! A look into a share itself, before something is restored into it.

use std::io::BufReader;

use reqwest::Method;

use super::{FileService, failed, list};
use crate::{error::Result, stream::cancel::Cancel};

impl FileService {
    /// Whether a share holds a file or a directory.
    ///
    /// # Errors
    /// It is not there, the service refuses, or sends what cannot be understood.
    pub fn has_content(&self, share: &str, cancel: &Cancel) -> Result<bool> {
        let ask = || {
            let request = self.request(Method::GET, share, "")?.query("restype", "directory");
            let request = request.query("comp", "list").query("maxresults", "1");
            self.exchange(&request, cancel, &mut |answer| list::entries(BufReader::new(answer.into_body())))
        };
        let page =
            ask().map_err(|failure| failed(failure, format!("cannot look into the share {share:?}")))?;
        Ok(!page.items.is_empty())
    }
}
