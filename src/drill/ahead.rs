//! Preparations for scratch servers while the repository is being opened.

use std::collections::BTreeSet;

use super::plan::Request;
use crate::{
    backup::Selector,
    config::Config,
    scratch::space::Space,
    source::verify::{Ahead, Verification},
    stream::cancel::Cancel,
};

/// Begins to make the files of a scratch server for each kind of source that will be drilled.
pub(super) fn begin(config: &Config, request: &Request, space: &Space, cancel: &Cancel) -> Ahead {
    let ahead = Ahead::new(cancel);
    if !space.is_ample() {
        return ahead;
    }
    let mut kinds = BTreeSet::new();
    for source in &config.sources {
        let named = |selector: &Selector| selector.source == source.name.as_str();
        let wanted = request.selectors.is_empty() || request.selectors.iter().any(named);
        let kind = source.kind.kind();
        if let (true, Verification::Restore(verifier)) = (wanted, kind.verification())
            && kinds.insert(kind.name())
        {
            ahead.begin(kind.name(), verifier, &config.drill, source.kind.client_dirs());
        }
    }
    ahead
}
