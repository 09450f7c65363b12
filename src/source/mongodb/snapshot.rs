//! Whether all collections of a database can be read from one snapshot.

use std::time::{Duration, Instant};

use mongodb::{
    bson::{Bson, Document, Timestamp, doc},
    error::ErrorKind,
};

use super::{
    catalog::{Entry, Place},
    connect::{Deployment, Topology, error_code},
    scan::{Fault, Patience, Scan, take_snapshot},
};
use crate::{
    error::{Error, Result},
    source::mongodb::config::MongodbConsistency,
};

/// The default length of the history of servers.
const DEFAULT_WINDOW: Duration = Duration::from_secs(300);
/// Databases below this size, in bytes, are dumped within any window.
const SMALL: u64 = 1 << 30;
/// The duration of the measurement of the server's speed.
const PROBE: Duration = Duration::from_secs(2);
/// The maximum assumed speed in bytes per second, as the repository may be slower than the server.
const FASTEST: u64 = 60_000_000;
/// Error codes of servers without snapshots for a read: illegal operation, invalid options, not
/// supported, not a member of a replica set, unavailable, and a provider's refusal.
const NO_SNAPSHOTS: [i32; 6] = [20, 72, 115, 123, 246, 8000];

/// The maximum number of attempts to request a snapshot if the connection breaks.
const ATTEMPTS: u32 = 3;
/// Wait between these.
const PAUSE: Duration = Duration::from_secs(1);

/// How a database is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The cluster time of the snapshot; if there is none, each collection is read without one.
    pub(super) at: Option<Timestamp>,
    /// Why there is none.
    pub(super) reason: Option<String>,
}

impl Plan {
    fn without(reason: impl Into<String>) -> Self {
        Self { at: None, reason: Some(reason.into()) }
    }
}

/// Decides how a database is read; `unsteady`: the snapshot was lost in an earlier attempt.
pub(super) fn plan(
    deployment: &Deployment,
    entries: &[(Entry, Place)],
    wanted: MongodbConsistency,
    unsteady: bool,
    patience: &Patience,
) -> Result<Plan> {
    let Some((_, place)) = entries.first() else { return Ok(Plan::default()) };
    let plan = match wanted {
        MongodbConsistency::None => return Ok(Plan::without("consistency = \"none\" is configured")),
        _ if deployment.topology == Topology::Standalone => Plan::without(
            "a server that is not a member of a replica set has no snapshots: run it as a replica set of one member",
        ),
        MongodbConsistency::Snapshot => take(deployment, place, patience)?,
        MongodbConsistency::Auto if unsteady => {
            Plan::without("the server discarded the snapshot of the last attempt before its end")
        }
        MongodbConsistency::Auto => match too_long(deployment, entries, patience)? {
            Some(reason) => Plan::without(reason),
            None => take(deployment, place, patience)?,
        },
    };
    match (&plan.reason, wanted) {
        (Some(reason), MongodbConsistency::Snapshot) => {
            Err(Error::failed("a snapshot is required, but none is available")
                .because_text(reason)
                .hint("set consistency = \"auto\" to back up without one, or enable snapshots on the server"))
        }
        _ => Ok(plan),
    }
}

fn take(deployment: &Deployment, place: &Place, patience: &Patience) -> Result<Plan> {
    let mut asked = deployment.handle().block_on(take_snapshot(deployment, place, patience));
    for _ in 1..ATTEMPTS {
        if !asked.as_ref().is_err_and(Fault::is_passing) {
            break;
        }
        std::thread::sleep(PAUSE);
        patience.cancel.check()?;
        asked = deployment.handle().block_on(take_snapshot(deployment, place, patience));
    }
    match asked {
        Ok(Some(at)) => Ok(Plan { at: Some(at), reason: None }),
        Ok(None) => Ok(Plan::without("the server accepted the request for a snapshot but returned none")),
        Err(fault) => match refusal(&fault) {
            Some(code) => {
                let said = fault.into_error(deployment).summary();
                Ok(Plan::without(format!("the server refuses snapshots{code}: {said}")))
            }
            None => Err(fault.into_error(deployment).context("cannot take a snapshot")),
        },
    }
}

/// Whether a fault says that there are no snapshots.
fn refusal(fault: &Fault) -> Option<String> {
    let Fault::Driver(error) = fault else { return None };
    match (&*error.kind, error_code(error)) {
        (ErrorKind::IncompatibleServer { .. } | ErrorKind::SessionsNotSupported, _) => Some(String::new()),
        (_, Some(code)) if NO_SNAPSHOTS.contains(&code) => Some(format!(" (code {code})")),
        _ => None,
    }
}

/// Why the dump would take longer than the server's history, if it would.
fn too_long(
    deployment: &Deployment,
    entries: &[(Entry, Place)],
    patience: &Patience,
) -> Result<Option<String>> {
    let bytes: u64 = entries.iter().map(|(entry, _)| entry.size).sum();
    let Some((_, largest)) = entries.iter().max_by_key(|(entry, _)| entry.size) else { return Ok(None) };
    if bytes < SMALL {
        return Ok(None);
    }
    let window = window(deployment, patience)?;
    let speed = deployment
        .handle()
        .block_on(speed(deployment, largest, patience))
        .map_err(|fault| fault.into_error(deployment).context("cannot measure the server's speed"))?;
    Ok(outlasts(bytes, speed, window))
}

fn outlasts(bytes: u64, speed: u64, window: Duration) -> Option<String> {
    let needed = bytes / speed.clamp(1, FASTEST);
    // A reserve of 20 percent: the window starts before the first byte, and speeds vary.
    (needed > window.as_secs() * 4 / 5).then(|| {
        format!(
            "{} MB would take about {needed} s to read, and the server keeps its history for {} s: raise \
             minSnapshotHistoryWindowInSeconds there",
            bytes / 1_000_000,
            window.as_secs()
        )
    })
}

/// The length of the server's history, or the default if unknown.
fn window(deployment: &Deployment, patience: &Patience) -> Result<Duration> {
    let ask = doc! { "getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1 };
    let told = deployment.run(&patience.cancel, patience.limit, deployment.reply("admin", ask))?;
    let seconds = told.ok().and_then(|reply| whole(&reply, "minSnapshotHistoryWindowInSeconds"));
    Ok(seconds.map_or(DEFAULT_WINDOW, Duration::from_secs))
}

fn whole(reply: &Document, key: &str) -> Option<u64> {
    match reply.get(key)? {
        Bson::Int32(number) => (*number).try_into().ok(),
        Bson::Int64(number) => (*number).try_into().ok(),
        Bson::Double(number) if *number >= 0.0 => Some(*number as u64),
        _ => None,
    }
}

/// Bytes a second that the server delivers of a collection.
async fn speed(deployment: &Deployment, place: &Place, patience: &Patience) -> Result<u64, Fault> {
    let start = Instant::now();
    let mut bytes = 0;
    let mut scan = Scan::open(deployment, place, None, patience).await?;
    while start.elapsed() < PROBE {
        let Some(batch) = scan.next(patience).await? else { break };
        bytes += batch.as_raw_document().as_bytes().len() as u64;
    }
    Ok((bytes as f64 / start.elapsed().as_secs_f64().max(0.001)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_that_outlasts_the_history_is_foreseen() {
        let window = Duration::from_secs(300);
        assert_eq!(outlasts(10_000_000_000, 50_000_000, window), None, "200 s of 300 s");
        let reason = outlasts(15_000_000_000, 50_000_000, window).unwrap_or_default();
        assert!(reason.contains("300 s") && reason.contains("15000 MB"), "{reason}");
        assert!(
            outlasts(20_000_000_000, 900_000_000, window).is_some(),
            "the repository is slower than that"
        );
        assert!(outlasts(1 << 30, 0, window).is_some());
    }
}
