//! Reports on the whole installation: status, metrics, dashboard, runbook.

#[cfg(feature = "dashboard")]
pub mod dashboard;
pub mod metrics;
pub mod runbook;
pub mod status;
