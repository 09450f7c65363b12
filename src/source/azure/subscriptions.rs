//! The subscriptions of a service principal, queried in parallel: a refusing one does not affect the others.

use crate::{
    azure::{Azure, Subscription},
    error::{Error, Problem, Result},
    source::{Discovery, Excluded, Item},
    stream::cancel::Cancel,
    workers,
};

/// The number of subscriptions that are queried in parallel.
const PARALLEL: usize = 8;
/// The prefix of the item of a subscription, which exists only while it cannot be listed.
const PREFIX: &str = "subscription:";

/// The answer of a subscription.
pub(super) struct Listed<T> {
    subscription: Subscription,
    /// The name of its item.
    item: String,
    /// What it has.
    found: Result<Vec<T>>,
}

/// Queries every subscription that the service principal sees.
///
/// # Errors
/// The subscriptions could not be listed, or the run is cancelled.
pub(super) fn list<T: Send>(
    azure: &Azure,
    cancel: &Cancel,
    ask: &(dyn Fn(&Subscription) -> Result<Vec<T>> + Sync),
) -> Result<Vec<Listed<T>>> {
    let subscriptions = azure.subscriptions(cancel)?;
    if subscriptions.is_empty() {
        return Err(Error::failed("the service principal sees no subscription")
            .hint("give it the role Reader on each subscription that is to be backed up"));
    }
    let answers = workers::map(&subscriptions, PARALLEL, ask);
    cancel.check()?;
    let names = item_names(&subscriptions);
    let whole = subscriptions.into_iter().zip(names).zip(answers);
    Ok(whole.map(|((subscription, item), found)| Listed { subscription, item, found }).collect())
}

/// Display names are not unique: the id is added if two are equal.
fn item_names(subscriptions: &[Subscription]) -> Vec<String> {
    let count = |name: &str| subscriptions.iter().filter(|other| other.name == name).count();
    let name = |subscription: &Subscription| match subscription.name.trim() {
        "" => format!("{PREFIX}{}", subscription.id),
        _ if count(&subscription.name) > 1 => format!("{PREFIX}{} ({})", subscription.name, subscription.id),
        _ => format!("{PREFIX}{}", subscription.name),
    };
    subscriptions.iter().map(name).collect()
}

impl<T> Listed<T> {
    /// The message about the subscription if it is disabled, whether it is readable or not.
    pub(super) fn disabled(&self) -> Option<String> {
        let Subscription { name, state, .. } = &self.subscription;
        // `Warned` and `PastDue` can still be read.
        let disabled = ["Disabled", "Deleted"].iter().any(|known| known.eq_ignore_ascii_case(state));
        disabled.then(|| format!("the subscription {name} is disabled (state {state})"))
    }

    /// Takes the answer apart into what the subscription has, and notes in `found` what is to be said of it: one that
    /// cannot be listed is an item with a problem. `what` are the things asked for, in the plural.
    pub(super) fn take(self, what: &str, found: &mut Discovery) -> Vec<T> {
        let disabled = self.disabled();
        let error = match self.found {
            Ok(listed) => {
                // An empty list is an answer too: the items of the subscription have vanished, which is reported. The rule that it is
                // disabled has the reason.
                if let Some(disabled) = disabled.filter(|_| listed.is_empty()) {
                    let rule = format!("{disabled} and shows no {what}");
                    found.excluded.push(Excluded { name: self.item.clone(), rule });
                }
                found.answered.push(self.item);
                return listed;
            }
            Err(error) => error,
        };
        let Subscription { name, id, .. } = &self.subscription;
        let problem = match disabled {
            Some(disabled) => Problem::new(format!(
                "{disabled} and refuses to list its {what}: they are NOT protected: {}",
                error.summary()
            ))
            .hint(
                "enable the subscription again, or remove the service principal's role on it if it is no longer needed",
            ),
            None => {
                let error = error
                    .context(format!("the {what} of the subscription {name} ({id}) could not be listed"));
                error.hint("give the service principal the role Reader on the subscription").into()
            }
        };
        found.items.push(Item { name: self.item, estimate: None, problem: Some(problem) });
        found.unknown.push(String::new());
        Vec::new()
    }
}

/// The first one of this kind in any subscription. An error only if it was not found and a subscription could not be asked.
pub(super) fn find<T: Send>(
    azure: &Azure,
    cancel: &Cancel,
    ask: &(dyn Fn(&Subscription) -> Result<Vec<T>> + Sync),
    wanted: &dyn Fn(&T) -> bool,
) -> Result<Option<T>> {
    let mut refused = None;
    for listed in list(azure, cancel, ask)? {
        let name = listed.subscription.name;
        match listed.found {
            Ok(all) => {
                if let Some(found) = all.into_iter().find(wanted) {
                    return Ok(Some(found));
                }
            }
            Err(error) => {
                let error = error.context(format!("the subscription {name} could not be queried"));
                refused.get_or_insert(error);
            }
        }
    }
    refused.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(id: &str, name: &str, state: &str) -> Subscription {
        Subscription { id: id.to_owned(), name: name.to_owned(), state: state.to_owned() }
    }

    fn listed(state: &str, found: Result<Vec<u8>>) -> Listed<u8> {
        let subscription = subscription("1", "Production", state);
        Listed { item: format!("{PREFIX}Production"), subscription, found }
    }

    #[test]
    fn subscriptions_of_the_same_name_are_told_apart() {
        let all = [subscription("1", "A", ""), subscription("2", "B", ""), subscription("3", "A", "")];
        let blank = [subscription("4", " ", "")];
        assert_eq!(item_names(&all), ["subscription:A (1)", "subscription:B", "subscription:A (3)"]);
        assert_eq!(item_names(&blank), ["subscription:4"]);
    }

    #[test]
    fn one_that_cannot_be_listed_is_an_item_and_leaves_everything_open() {
        let mut found = Discovery::default();
        assert_eq!(listed("Enabled", Ok(vec![1])).take("servers", &mut found), [1]);
        assert_eq!(
            (found.unknown.len(), found.items.len(), found.answered.as_slice()),
            (0, 0, &["subscription:Production".to_owned()][..])
        );
        let refused = || Err(Error::failed("refused"));
        assert!(listed("Enabled", refused()).take("servers", &mut found).is_empty());
        assert!(listed("disabled", refused()).take("servers", &mut found).is_empty());
        assert_eq!(found.unknown, ["", ""]);
        let problems: Vec<_> =
            found.items.iter().filter_map(|item| item.problem.as_ref().map(ToString::to_string)).collect();
        assert!(
            problems[0].contains("could not be listed: refused\n  → give the service principal"),
            "{problems:?}"
        );
        assert!(problems[1].contains("is disabled (state disabled)"), "{problems:?}");
        assert!(problems[1].contains("→ enable the subscription again"), "{problems:?}");
        assert!(listed("Warned", Ok(Vec::new())).disabled().is_none());
        // One that is disabled and shows nothing has answered: what it had is not there any more.
        found = Discovery::default();
        listed("Deleted", Ok(Vec::new())).take("servers", &mut found);
        assert_eq!((found.items.len(), found.unknown.len()), (0, 0));
        assert!(!found.is_unknown("acct/box") && !found.is_unknown("subscription:Production"));
        let said = "the subscription Production is disabled (state Deleted) and shows no servers";
        assert_eq!(found.excluded.first().map(|excluded| excluded.rule.as_str()), Some(said));
    }
}
