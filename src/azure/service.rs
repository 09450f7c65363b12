//! The services of Azure.

/// Which of Azure's services an address belongs to: hints about rights differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Blobs of a storage account.
    Blob,
    /// File shares of a storage account.
    File,
    /// Azure Resource Manager: subscriptions, accounts, keys.
    Management,
    /// Entra ID, which issues tokens.
    Authority,
}
